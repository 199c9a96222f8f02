"""The edge of a service: identity, span, metrics and one log line for each request, in plain ASGI."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from observability.context import RequestContext, accept_correlation_id, enter_request, is_client_id
from observability.problems import error_type_of, problem_response
from observability.propagation import TRACE_HEADERS, incoming_context, traceparent_of
from observability.signals import (
    CORRELATION_HEADER,
    HEALTH_ROUTE,
    METHODS,
    UNMATCHED_ROUTE,
    Attribute,
    ErrorType,
)
from observability.telemetry import Telemetry

logger = logging.getLogger(__name__)

HEALTH_PATHS: Final = frozenset({HEALTH_ROUTE})
# As numbers: comparing with members of an enumeration costs ten times as much.
_REFUSED: Final = HTTPStatus.BAD_REQUEST.value
_FAILED: Final = HTTPStatus.INTERNAL_SERVER_ERROR.value
_CORRELATION_HEADER: Final = CORRELATION_HEADER.lower()
_READ_HEADERS: Final = {name.encode(): name for name in (_CORRELATION_HEADER, *TRACE_HEADERS)}
CLIENT_CLOSED_REQUEST: Final = 499  # nginx's status for a client that went away before the answer
_IDS: Final = RandomIdGenerator()
# What a path may hold in these places to be recorded: anything else that a client puts there may be private.
_PLACE: Final = re.compile(r"\{(\w+)\}")
# A number as long as a card's, 13 digits or more, may be one.
_PLACED: Final[dict[str, Callable[[str], object]]] = {
    "client_id": is_client_id,
    "doc_id": re.compile("[0-9]{1,12}").fullmatch,
}
_WAITED: Final = "robin.waited"  # in the scope, seconds
_PROTOCOL_VERSIONS: Final = frozenset({"1.0", "1.1", "2", "3"})


def note_waited(scope: Scope, seconds: float) -> None:
    """Let the request's span and duration begin so much before it reaches the middleware."""
    scope[_WAITED] = seconds


class _Exchange:
    """What is known of a request and of the answer that went out."""

    __slots__ = (
        "broken_off",
        "headers",
        "method",
        "quiet",
        "request",
        "scope",
        "started",
        "status",
        "waited",
    )

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.headers = _read(scope["headers"])
        self.method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        self.quiet = scope["path"] in HEALTH_PATHS
        self.request = RequestContext(accept_correlation_id(self.headers.get(_CORRELATION_HEADER)))
        self.waited: float = scope.get(_WAITED, 0.0)
        self.started = time.perf_counter() - self.waited
        self.status = 0  # none sent yet
        self.broken_off = False

    @property
    def route(self) -> str:
        """The template of the path, never the path itself: labels and span names stay few."""
        route = self.scope.get("route")
        return getattr(route, "path_format", None) or getattr(route, "path", None) or UNMATCHED_ROUTE

    @property
    def path(self) -> str:
        """The path in the shape of the route; what does not belong there stays a place of the template."""
        path, values = self.route, self.scope.get("path_params", {})
        for place, name, may_be_told in _places(path):
            value = values.get(name)
            if value and may_be_told(value):
                path = path.replace(place, value)
        return path

    @property
    def error_type(self) -> str | None:
        """The closed-list reason of an answer of 400 or more, or of one that broke off."""
        if self.status < _REFUSED and not self.broken_off:
            return None
        return self.request.error_type or error_type_of(self.status)

    def break_off(self, reason: ErrorType) -> None:
        """Note that the server did not finish: the status that was sent, if any, promised more than came."""
        self.broken_off = True
        self.status = self.status or HTTPStatus.SERVICE_UNAVAILABLE
        self.request.error_type = reason


class ObservabilityMiddleware:
    """Wraps an ASGI app: correlation ID in and out, SERVER span, http_* metrics, one INFO line at the end.

    Health requests count in the metrics and make neither span nor line. `trust_baggage` is for services that nothing
    outside can call: it keeps the caller's baggage, and lets the caller decide that a trace is not recorded.
    `client_label` bounds the label of a tenant; without it, requests are not counted by tenant.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        telemetry: Telemetry,
        slow_request_seconds: float,
        trust_baggage: bool = False,
        client_label: Callable[[str], str] | None = None,
    ) -> None:
        self.app = app
        self._telemetry = telemetry
        self._slow_request_seconds = slow_request_seconds
        self._trust_caller = trust_baggage
        self._client_label = client_label

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; everything but HTTP passes untouched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope)
        enter_request(exchange.request)
        in_progress = self._telemetry.metrics.http_in_progress
        # Outside the span: what is in progress is no measurement of a request, and takes no exemplar.
        context = incoming_context(exchange.headers, trusted=self._trust_caller)
        span = self._span(exchange, context)
        in_progress(1, method=exchange.method)
        token = otel_context.attach(trace.set_span_in_context(span, context))
        try:
            await self._answer(exchange, span, receive, send)
        finally:
            self._finish(exchange, span)
            otel_context.detach(token)
            in_progress(-1, method=exchange.method)

    async def _answer(self, exchange: _Exchange, span: trace.Span, receive: Receive, send: Send) -> None:
        """Run the app; an exception that nothing handled becomes a 500, unless the answer has begun."""

        async def send_with_identity(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                _identify(message, exchange.request, span.get_span_context())
            await send(message)

        try:
            await self.app(exchange.scope, receive, send_with_identity)
        except ClientDisconnect:
            exchange.status = CLIENT_CLOSED_REQUEST
        except asyncio.CancelledError:
            # Not the client: uvicorn cancels what still runs when the time for shutting down is over.
            exchange.break_off(ErrorType.UNAVAILABLE)
            raise
        except Exception as error:
            span.record_exception(error)
            logger.exception("Unhandled exception")
            if exchange.status:
                exchange.break_off(ErrorType.INTERNAL_ERROR)
                raise  # half an answer is out: only closing the connection tells the client
            response = problem_response(
                500, "The server failed; the correlation ID finds the reason in its logs."
            )
            await response(exchange.scope, receive, send_with_identity)

    def _span(self, exchange: _Exchange, context: Context) -> trace.Span:
        """Start the request's span; health requests get one that records nothing."""
        if exchange.quiet:
            return _unsampled_span()
        return self._telemetry.tracer.start_span(
            exchange.method,
            kind=SpanKind.SERVER,
            attributes=_request_attributes(exchange),
            context=context,
            start_time=time.time_ns() - round(exchange.waited * 1e9) if exchange.waited else None,
        )

    def _finish(self, exchange: _Exchange, span: trace.Span) -> None:
        """Record the request's metrics and its line, and end its span, however it ended."""
        exchange.status = exchange.status or CLIENT_CLOSED_REQUEST
        seconds = time.perf_counter() - exchange.started
        route, error_type = exchange.route, exchange.error_type
        metrics = self._telemetry.metrics
        labels = {"method": exchange.method, "path": route, "status": str(exchange.status)}
        metrics.http_requests(1, **labels)
        metrics.http_request_duration(seconds, **labels)
        if error_type:
            metrics.http_errors(1, **labels, error_type=error_type)
        client_id = exchange.request.client_id
        if client_id is not None and self._client_label is not None:
            metrics.tenant_requests(
                1, client=self._client_label(client_id), status=f"{exchange.status // 100}xx"
            )
        if not exchange.quiet:
            self._log(exchange, route, seconds)
        _end(span, exchange, route, error_type)

    def _log(self, exchange: _Exchange, route: str, seconds: float) -> None:
        slow = seconds > self._slow_request_seconds
        logger.log(
            logging.WARNING if slow else logging.INFO,
            "%s %s %s%s",
            exchange.method,
            route,
            exchange.status,
            " (slow)" if slow else "",
            extra={
                "context_data": {
                    "method": exchange.method,
                    "path": route,
                    "status": exchange.status,
                    "duration": round(seconds, 6),
                    **({"waited": round(exchange.waited, 6)} if exchange.waited else {}),
                }
            },
        )


@lru_cache(maxsize=64)
def _places(route: str) -> list[tuple[str, str, Callable[[str], object]]]:
    """Return the places of a route's template that may be filled in, with their names and with what."""
    return [
        (place[0], place[1], _PLACED[place[1]]) for place in _PLACE.finditer(route) if place[1] in _PLACED
    ]


def _read(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers that matter here; of several with one name the first counts."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name in _READ_HEADERS:
            found.setdefault(_READ_HEADERS[name], value.decode("latin-1"))
    return found


def _identify(message: Message, request: RequestContext, span: SpanContext) -> None:
    """Put the correlation ID and the trace on the answer (W3C Trace Context level 2, `traceresponse`)."""
    headers = [*message.get("headers", ()), (_CORRELATION_HEADER.encode(), request.correlation_id.encode())]
    if span.trace_flags & TraceFlags.SAMPLED:
        headers.append((b"traceresponse", traceparent_of(span).encode()))
    message["headers"] = headers


def _request_attributes(exchange: _Exchange) -> dict[str, Any]:
    """Return what is known before the route; nothing of the client's own text, such as its path or user agent."""
    scope = exchange.scope
    attributes: dict[str, Any] = {
        http_attributes.HTTP_REQUEST_METHOD: exchange.method,
        url_attributes.URL_SCHEME: "https" if scope.get("scheme") == "https" else "http",
    }
    version = scope.get("http_version", "1.1")
    if version in _PROTOCOL_VERSIONS:
        attributes[network_attributes.NETWORK_PROTOCOL_VERSION] = version
    if exchange.waited:
        attributes[Attribute.ADMISSION_WAIT] = exchange.waited
    address, port = scope.get("server") or (None, None)
    if address is not None:
        attributes[server_attributes.SERVER_ADDRESS] = address
    if port is not None:  # a Unix socket has none
        attributes[server_attributes.SERVER_PORT] = port
    return attributes


def _end(span: trace.Span, exchange: _Exchange, route: str, error_type: str | None) -> None:
    """Name the span by its route and say how the request ended; only a 5xx is an error of the server."""
    if route != UNMATCHED_ROUTE:
        span.update_name(f"{exchange.method} {route}")
        span.set_attribute(http_attributes.HTTP_ROUTE, route)
        span.set_attribute(url_attributes.URL_PATH, exchange.path)
    span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, exchange.status)
    if error_type:
        span.set_attribute(error_attributes.ERROR_TYPE, error_type)
    if exchange.status >= _FAILED or exchange.broken_off:
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _unsampled_span() -> NonRecordingSpan:
    """Return a span that makes every child of it, here and in the services called, record nothing."""
    return NonRecordingSpan(
        SpanContext(
            _IDS.generate_trace_id(),  # of its own: log lines of two requests must not look like one
            _IDS.generate_span_id(),
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.DEFAULT),
        )
    )

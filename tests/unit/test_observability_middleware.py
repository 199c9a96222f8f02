"""The edge of a service, on a tiny application: identity, span, metrics and the one line of each request."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from opentelemetry import baggage
from opentelemetry.trace import SpanKind, StatusCode
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from observability import (
    ClientId,
    NotFound,
    ObservabilityMiddleware,
    Problem,
    Unavailable,
    current_correlation_id,
    install_problem_handlers,
)
from observability.exceptions import WITHHELD
from observability.signals import (
    HTTP_ERRORS,
    HTTP_IN_PROGRESS,
    HTTP_REQUEST_DURATION,
    HTTP_REQUESTS,
)
from tests.canaries import ADDRESS, API_KEY, CANARIES, CARD, JWT, MAIL, NAME
from tests.telemetry_spy import TelemetrySpy

KEPT = "0f8fad5b-d9cb-469f-a165-70867728950e"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "the password is swordfish"


def application(spy: TelemetrySpy, **options: Any) -> FastAPI:
    """Return an application with one route for each way a request can end, observed as the services are."""
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
    router = APIRouter(prefix="/clients/{client_id}")

    @router.get("/things/{doc_id}")
    async def get_thing(client_id: ClientId, doc_id: int) -> dict[str, Any]:
        return {"client": client_id, "thing": doc_id, "baggage": dict(baggage.get_all())}

    @app.get("/refused")
    async def refused() -> None:
        raise NotFound("There is no such thing.")

    @app.get("/away")
    async def away() -> None:
        raise Unavailable("The store does not answer.")

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError(SECRET)

    @app.get("/unreadable")
    async def unreadable() -> None:
        raise Problem("The store answered nonsense.", status=502)

    @app.get("/health")
    async def health() -> dict[str, str]:
        logging.getLogger("health").warning("a component is ill")
        return {"status": "healthy"}

    @app.put("/body")
    async def body(request: Request) -> int:
        return len(await request.body())

    app.include_router(router)
    install_problem_handlers(app)
    app.add_middleware(
        ObservabilityMiddleware, telemetry=spy.telemetry, **{"slow_request_seconds": 10.0, **options}
    )
    return app


def observed(app: ASGIApp, spy: TelemetrySpy) -> ObservabilityMiddleware:
    """Put the middleware under test around a bare ASGI application."""
    return ObservabilityMiddleware(app, telemetry=spy.telemetry, slow_request_seconds=10.0)


@asynccontextmanager
async def client_of(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """Lend a client that speaks to an application in memory."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://robin") as client:
        yield client


@pytest.fixture
async def client(telemetry: TelemetrySpy) -> AsyncIterator[httpx.AsyncClient]:
    """Client of the observed application."""
    async with client_of(application(telemetry)) as client:
        yield client


def request_scope(path: str = "/", method: str = "GET") -> Scope:
    """Return the ASGI scope of a request without headers."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "server": ("robin", 80),
        "client": ("test", 1),
    }


async def drive(app: ASGIApp, scope: Scope, *events: Message) -> list[Message]:
    """Run one request by hand: the application receives these events, then a disconnect for ever."""
    incoming, sent = list(events), []

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_the_answer_carries_the_correlation_id_that_came(client: httpx.AsyncClient) -> None:
    """A UUID4 from nginx goes through."""
    answer = await client.get("/clients/acme/things/1", headers={"X-Correlation-ID": KEPT})

    assert answer.headers["X-Correlation-ID"] == KEPT


async def test_a_correlation_id_of_another_form_is_replaced(client: httpx.AsyncClient) -> None:
    """Garbage of a client appears nowhere."""
    answer = await client.get("/clients/acme/things/1", headers={"X-Correlation-ID": "mine"})

    assert answer.headers["X-Correlation-ID"] != "mine"


async def test_the_span_is_named_by_the_route(client: httpx.AsyncClient, telemetry: TelemetrySpy) -> None:
    """A SERVER span by the template, with the stable HTTP attributes, the ID and the tenant."""
    await client.get("/clients/acme/things/7?secret=1", headers={"X-Correlation-ID": KEPT})

    span = telemetry.span("GET /clients/{client_id}/things/{doc_id}")
    assert span.kind is SpanKind.SERVER
    assert span.status.status_code is StatusCode.UNSET
    attributes = dict(span.attributes or {})
    assert attributes == {
        **attributes,
        "http.request.method": "GET",
        "http.route": "/clients/{client_id}/things/{doc_id}",
        "http.response.status_code": 200,
        "url.path": "/clients/acme/things/7",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "robin",
        "correlation_id": KEPT,
        "client_id": "acme",
    }
    assert "secret" not in str(attributes)
    assert "error.type" not in attributes


async def test_the_text_of_an_unhandled_exception_is_withheld(
    client: httpx.AsyncClient, telemetry: TelemetrySpy
) -> None:
    """It may quote what was sent; span and line tell type and frames."""
    await client.get("/broken")

    (event,) = telemetry.span("GET /broken").events
    (record,) = telemetry.logs("ERROR")
    for attributes in (event.attributes or {}, record.log_record.attributes or {}):
        assert attributes["exception.type"] == "RuntimeError"
        assert attributes["exception.message"] == WITHHELD
        assert "in broken\n" in str(attributes["exception.stacktrace"])
    assert SECRET not in telemetry.everything()


# What a client may put where a document's number or a client's ID belongs, or where nothing is served.
STRANGE_PATHS = {
    f"/clients/{MAIL}/things/7": "/clients/{client_id}/things/7",
    f"/clients/acme/things/{API_KEY}": "/clients/acme/things/{doc_id}",
    f"/clients/acme/things/{MAIL}?mail={MAIL}": "/clients/acme/things/{doc_id}",
    f"/clients/{MAIL}/things/{JWT}": "/clients/{client_id}/things/{doc_id}",
    f"/clients/{API_KEY}/things/7": "/clients/{client_id}/things/7",
    f"/clients/x{API_KEY.upper()}/things/7": "/clients/{client_id}/things/7",
    f"/clients/acme/things/7/{MAIL}": None,
    f"/{MAIL}": None,
    f"/clients/{MAIL}/things/7/": None,
}


@pytest.mark.parametrize(("path", "recorded"), STRANGE_PATHS.items())
async def test_a_path_is_recorded_in_the_shape_of_its_route(
    client: httpx.AsyncClient, telemetry: TelemetrySpy, path: str, recorded: str | None
) -> None:
    """A path that is not served is told to the client, and to nobody else."""
    answer = await client.get(path, follow_redirects=False)

    assert answer.status_code in {307, 404, 422}
    (span,) = telemetry.spans()
    assert (span.attributes or {}).get("url.path") == recorded
    assert_clean(telemetry)


async def test_a_number_as_long_as_a_cards_is_not_recorded(
    client: httpx.AsyncClient, telemetry: TelemetrySpy
) -> None:
    """13 digits or more, though a document could have it."""
    for number in (CARD.replace(" ", ""), "4111111111111", "411111111111"):
        assert (await client.get(f"/clients/acme/things/{number}")).status_code == 200

    recorded = [(span.attributes or {})["url.path"] for span in telemetry.spans()]
    assert recorded == [*["/clients/acme/things/{doc_id}"] * 2, "/clients/acme/things/411111111111"]


PRIVATE_HEADERS = {
    "User-Agent": f"{NAME} <{MAIL}>",
    "Authorization": f"Bearer {JWT}",
    "X-API-Key": API_KEY,
    "Cookie": f"session={JWT}",
    "Referer": f"https://robin/{MAIL}",
    "X-Forwarded-For": ADDRESS,
    "X-Forwarded-Proto": MAIL,
    "X-Correlation-ID": MAIL,
    "traceparent": TRACEPARENT,
    "tracestate": f"mail={MAIL}",
    "baggage": f"client_id={MAIL},{MAIL}",
    "Host": "203.0.113.77",
}


@pytest.mark.parametrize("path", ["/clients/acme/things/1", "/refused", "/broken", "/nowhere"])
async def test_no_header_of_a_client_is_recorded(
    client: httpx.AsyncClient, telemetry: TelemetrySpy, path: str
) -> None:
    """However the request ends."""
    await client.get(path, headers=PRIVATE_HEADERS, params={"q": CARD})

    assert telemetry.spans()
    assert_clean(telemetry)


async def test_what_a_server_says_of_a_connection_is_one_of_few_words(telemetry: TelemetrySpy) -> None:
    """A proxy's header can be the scheme, and a parser's text the version."""
    scope = request_scope() | {"scheme": MAIL, "http_version": MAIL, "method": MAIL}
    await drive(application(telemetry), scope)

    attributes = telemetry.attributes("_OTHER")
    assert attributes["url.scheme"] == "http"
    assert "network.protocol.version" not in attributes
    assert_clean(telemetry)


def assert_clean(telemetry: TelemetrySpy) -> None:
    """Look for every canary in all that was recorded."""
    told = telemetry.everything()
    assert [canary for canary in CANARIES if canary in told] == []


async def test_a_request_makes_one_span(client: httpx.AsyncClient, telemetry: TelemetrySpy) -> None:
    """No receive and send spans."""
    await client.put("/body", content=b"abc")

    assert telemetry.tree() == {"PUT /body": {}}


async def test_metrics_are_labelled_by_the_route(client: httpx.AsyncClient, telemetry: TelemetrySpy) -> None:
    """A thousand documents are one time series."""
    for thing in range(3):
        await client.get(f"/clients/c{thing}/things/{thing}")

    labels = ("GET", "/clients/{client_id}/things/{doc_id}", "200")
    assert telemetry.series(HTTP_REQUESTS) == {labels: 3}
    assert telemetry.series(HTTP_REQUEST_DURATION) == {labels: 3}
    assert telemetry.series(HTTP_ERRORS) == {}
    assert telemetry.series(HTTP_IN_PROGRESS) == {("GET",): 0}


async def test_paths_without_a_route_share_one_label(
    client: httpx.AsyncClient, telemetry: TelemetrySpy
) -> None:
    """A scanner makes neither time series nor span names."""
    for path in ("/wp-admin", "/.env"):
        assert (await client.get(path)).status_code == 404

    assert telemetry.series(HTTP_REQUESTS) == {("GET", "unmatched", "404"): 2}
    assert [span.name for span in telemetry.spans()] == ["GET", "GET"]
    assert "http.route" not in (telemetry.spans()[0].attributes or {})


async def test_a_method_that_a_route_does_not_allow_is_labelled_by_the_route(
    client: httpx.AsyncClient, telemetry: TelemetrySpy
) -> None:
    """A 405 belongs to the path it was sent to."""
    answer = await client.delete("/clients/acme/things/1")

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET"
    assert telemetry.series(HTTP_ERRORS) == {
        ("DELETE", "/clients/{client_id}/things/{doc_id}", "405", "method_not_allowed"): 1
    }


async def test_methods_of_a_clients_own_share_one_label(telemetry: TelemetrySpy) -> None:
    """The label `method` has a closed list."""
    await drive(application(telemetry), request_scope(method="BREW"))

    assert {labels[0] for labels in telemetry.series(HTTP_REQUESTS)} == {"_OTHER"}


async def test_a_refusal_is_no_error_of_the_server(
    client: httpx.AsyncClient, telemetry: TelemetrySpy
) -> None:
    """A 4xx counts with its reason, and leaves span status and exceptions alone."""
    assert (await client.get("/refused")).status_code == 404

    span = telemetry.span("GET /refused")
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert (span.attributes or {})["error.type"] == "not_found"
    assert telemetry.series(HTTP_ERRORS) == {("GET", "/refused", "404", "not_found"): 1}
    assert telemetry.messages("ERROR") == []


@pytest.mark.parametrize(
    ("path", "status", "error_type"),
    [
        ("/away", 503, "unavailable"),
        ("/unreadable", 502, "upstream_error"),
        ("/broken", 500, "internal_error"),
    ],
)
async def test_a_failure_is_recorded_once(
    client: httpx.AsyncClient, telemetry: TelemetrySpy, path: str, status: int, error_type: str
) -> None:
    """A 5xx marks the span, and its exception is on one span and in one ERROR line."""
    assert (await client.get(path)).status_code == status

    span = telemetry.span(f"GET {path}")
    assert span.status.status_code is StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]
    assert (span.attributes or {})["error.type"] == error_type
    assert telemetry.series(HTTP_ERRORS) == {("GET", path, str(status), error_type): 1}
    assert len(telemetry.messages("ERROR")) == 1


async def test_an_unhandled_exception_tells_the_client_nothing_but_the_id(
    client: httpx.AsyncClient,
) -> None:
    """No stack trace and no message leaves the service."""
    answer = await client.get("/broken", headers={"X-Correlation-ID": KEPT})

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["X-Correlation-ID"] == KEPT
    assert answer.json()["correlation_id"] == KEPT
    assert answer.json()["status"] == 500
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text


async def half_an_answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Begin to answer, and fail."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("in the middle")


async def test_an_answer_that_breaks_off_is_not_answered_twice(telemetry: TelemetrySpy) -> None:
    """The exception goes on to the server, which closes the connection: the client notices."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError, match="in the middle"):
        await observed(half_an_answer, telemetry)(request_scope(), _never, send)

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


async def test_an_answer_that_breaks_off_is_an_error_all_the_same(telemetry: TelemetrySpy) -> None:
    """A 200 was sent, and yet span and metrics know that the server failed."""
    with pytest.raises(RuntimeError, match="in the middle"):
        await drive(observed(half_an_answer, telemetry), request_scope())

    span = telemetry.span("GET")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "internal_error"
    assert [event.name for event in span.events] == ["exception"]
    assert telemetry.series(HTTP_ERRORS) == {("GET", "unmatched", "200", "internal_error"): 1}


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_client_that_hangs_up_is_a_499(telemetry: TelemetrySpy) -> None:
    """The status of nginx for it; no error of the server, and nothing is sent into the void."""
    sent = await drive(
        application(telemetry),
        request_scope("/body", "PUT"),
        {"type": "http.request", "body": b"half", "more_body": True},
    )

    assert sent == []
    span = telemetry.span("PUT /body")
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert telemetry.series(HTTP_ERRORS) == {("PUT", "/body", "499", "client_disconnected"): 1}
    assert telemetry.messages("ERROR") == []


async def test_a_request_that_the_server_cancels_is_the_servers_failure(telemetry: TelemetrySpy) -> None:
    """Shutting down cuts the request off: that is not blamed on the client."""

    async def endless(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(drive(observed(endless, telemetry), request_scope()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert telemetry.span("GET").status.status_code is StatusCode.ERROR
    assert telemetry.series(HTTP_ERRORS) == {("GET", "unmatched", "503", "unavailable"): 1}
    assert telemetry.series(HTTP_IN_PROGRESS) == {("GET",): 0}


async def test_requests_in_progress_are_counted_while_they_run(telemetry: TelemetrySpy) -> None:
    """The gauge is up during the request."""
    seen: list[float] = []

    async def looks(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(telemetry.series(HTTP_IN_PROGRESS)[("GET",)])
        await half_an_answer(scope, receive, send)

    with pytest.raises(RuntimeError):
        await drive(observed(looks, telemetry), request_scope())

    assert seen == [1]


async def test_health_requests_count_and_leave_no_span_and_no_line(
    client: httpx.AsyncClient, telemetry: TelemetrySpy
) -> None:
    """Probes would drown everything else."""
    answer = await client.get("/health")

    assert telemetry.series(HTTP_REQUESTS) == {("GET", "/health", "200"): 1}
    assert telemetry.spans() == []
    assert telemetry.messages("INFO") == []
    assert "traceresponse" not in answer.headers
    assert answer.headers["X-Correlation-ID"]


async def test_log_lines_of_two_health_requests_share_no_trace(
    client: httpx.AsyncClient, telemetry: TelemetrySpy
) -> None:
    """What is said during a probe belongs to that probe."""
    await client.get("/health")
    await client.get("/health")

    first, second = telemetry.logs("WARN")
    assert first.log_record.trace_id != second.log_record.trace_id


async def test_the_answer_names_its_trace(client: httpx.AsyncClient, telemetry: TelemetrySpy) -> None:
    """nginx takes trace and span for its log line out of `traceresponse`."""
    answer = await client.get("/refused")

    context = telemetry.span("GET /refused").context
    assert answer.headers["traceresponse"] == (f"00-{context.trace_id:032x}-{context.span_id:016x}-03")


async def test_the_span_continues_the_callers_trace(
    client: httpx.AsyncClient, telemetry: TelemetrySpy
) -> None:
    """A W3C traceparent is the parent."""
    await client.get("/refused", headers={"traceparent": TRACEPARENT})

    span = telemetry.span("GET /refused")
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == TRACEPARENT[36:52]


async def test_a_stranger_cannot_switch_tracing_off(
    client: httpx.AsyncClient, telemetry: TelemetrySpy
) -> None:
    """A sampling flag of 00 from outside starts a trace of our own."""
    await client.get("/refused", headers={"traceparent": TRACEPARENT[:-2] + "00"})

    assert telemetry.span("GET /refused").parent is None


@pytest.mark.parametrize(("trust", "kept"), [(False, {}), (True, {"tenant": "victim"})])
async def test_baggage_is_taken_from_our_own_services_only(
    telemetry: TelemetrySpy, *, trust: bool, kept: dict[str, str]
) -> None:
    """A client's baggage is dropped at the edge."""
    async with client_of(application(telemetry, trust_baggage=trust)) as client:
        answer = await client.get("/clients/acme/things/1", headers={"baggage": "tenant=victim"})

    assert answer.json()["baggage"] == kept


@pytest.mark.parametrize("metric", [HTTP_REQUESTS, HTTP_REQUEST_DURATION, HTTP_ERRORS])
async def test_the_correlation_id_is_in_the_exemplar_and_not_in_the_series(
    client: httpx.AsyncClient, telemetry: TelemetrySpy, metric: Any
) -> None:
    """An ID for a label would make one time series for each request; the exemplar leads to ID, trace and span."""
    await client.get("/refused", headers={"X-Correlation-ID": KEPT})

    (point,) = telemetry.points(metric)
    assert set(point.attributes or {}) == set(metric.labels)
    (exemplar,) = point.exemplars
    assert exemplar.filtered_attributes == {"correlation_id": KEPT}
    context = telemetry.span("GET /refused").context
    assert (exemplar.trace_id, exemplar.span_id) == (context.trace_id, context.span_id)


async def test_what_is_in_progress_takes_no_exemplar(
    client: httpx.AsyncClient, telemetry: TelemetrySpy
) -> None:
    """It would lead to whichever request began or ended last, and to no measurement."""
    await client.get("/refused", headers={"X-Correlation-ID": KEPT})

    (point,) = telemetry.points(HTTP_IN_PROGRESS)
    assert list(point.exemplars) == []


async def test_each_request_has_one_line_at_its_end(
    client: httpx.AsyncClient, telemetry: TelemetrySpy
) -> None:
    """INFO, in the trace, with method, route, status and duration."""
    await client.get("/clients/acme/things/1", headers={"X-Correlation-ID": KEPT})

    (line,) = telemetry.logs("INFO")
    assert line.log_record.body == "GET /clients/{client_id}/things/{doc_id} 200"
    attributes = dict(line.log_record.attributes or {})
    assert attributes["correlation_id"] == KEPT
    assert attributes["client_id"] == "acme"
    assert (attributes["context_data.method"], attributes["context_data.status"]) == ("GET", 200)
    assert attributes["context_data.path"] == "/clients/{client_id}/things/{doc_id}"
    duration: Any = attributes["context_data.duration"]
    assert duration > 0
    assert line.log_record.trace_id == telemetry.spans()[0].context.trace_id


async def test_a_slow_request_is_a_warning(telemetry: TelemetrySpy) -> None:
    """The threshold is the caller's."""
    async with client_of(application(telemetry, slow_request_seconds=0.0)) as client:
        await client.get("/refused")

    assert telemetry.messages("WARN") == ["GET /refused 404 (slow)"]


async def test_two_requests_at_once_keep_their_own_ids(telemetry: TelemetrySpy) -> None:
    """The identity belongs to the request, not to the process."""
    barrier = asyncio.Barrier(2)
    seen: dict[str, str | None] = {}

    async def meets(scope: Scope, _receive: Receive, send: Send) -> None:
        await barrier.wait()
        seen[scope["path"]] = current_correlation_id()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with client_of(observed(meets, telemetry)) as client:
        answers = await asyncio.gather(client.get("/a"), client.get("/b"))

    assert seen == {answer.url.path: answer.headers["X-Correlation-ID"] for answer in answers}
    assert len(set(seen.values())) == 2


async def test_what_is_not_http_passes_untouched(telemetry: TelemetrySpy) -> None:
    """The lifespan and WebSockets are not requests."""
    passed: list[str] = []

    async def inner(scope: Scope, _receive: Receive, _send: Send) -> None:
        passed.append(scope["type"])

    await drive(observed(inner, telemetry), {"type": "lifespan"})

    assert passed == ["lifespan"]
    assert telemetry.series(HTTP_REQUESTS) == {}


async def test_a_server_on_a_unix_socket_has_no_port(telemetry: TelemetrySpy) -> None:
    """An address without a port is no reason to fail or to warn."""
    scope = {**request_scope("/refused"), "server": ("/run/robin.sock", None)}

    await drive(application(telemetry), scope)

    attributes = telemetry.span("GET /refused").attributes or {}
    assert attributes["server.address"] == "/run/robin.sock"
    assert "server.port" not in attributes


async def test_a_disconnect_inside_of_a_step_is_a_cancelled_step(telemetry: TelemetrySpy) -> None:
    """The client went away: no step of the server failed."""
    with pytest.raises(ClientDisconnect), telemetry.telemetry.step("reading", outcome=True):
        raise ClientDisconnect

    span = telemetry.span("reading")
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {"outcome": "cancelled", "error.type": "client_disconnected"}

"""Trace context and correlation ID across HTTP: W3C traceparent and baggage, and X-Correlation-ID."""

from collections.abc import Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from observability.context import current_request
from observability.signals import CORRELATION_HEADER, Attribute

_TRACE_CONTEXT: Final = TraceContextTextMapPropagator()
_BAGGAGE: Final = W3CBaggagePropagator()
TRACE_HEADERS: Final = ("traceparent", "tracestate", "baggage")


def incoming_context(headers: Mapping[str, str], *, trusted: bool) -> Context:
    """Return the caller's trace context, with nothing of our own in it; its baggage too when the caller is one of ours.

    A stranger's context that says "not recorded" is none: nobody outside switches tracing off.
    """
    context = Context()
    if "traceparent" in headers:
        context = _TRACE_CONTEXT.extract(headers, context)
        if not trusted and not trace.get_current_span(context).get_span_context().trace_flags.sampled:
            context = Context()
    return _BAGGAGE.extract(headers, context) if trusted and "baggage" in headers else context


def outgoing_headers() -> dict[str, str]:
    """Return the headers that carry the current trace and request to the next service."""
    headers: dict[str, str] = {}
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        headers["traceparent"] = traceparent_of(span)
        if span.trace_state:
            headers["tracestate"] = span.trace_state.to_header()
    request = current_request()
    if request is not None:
        headers[CORRELATION_HEADER] = request.correlation_id
        # Neither of the two has a character that baggage encodes.
        headers["baggage"] = f"{Attribute.CORRELATION_ID.value}={request.correlation_id}"
        if request.client_id is not None:
            headers["baggage"] += f",{Attribute.CLIENT_ID.value}={request.client_id}"
    return headers


def traceparent_of(span: SpanContext) -> str:
    """Return a span's context as W3C traceparent."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def traceparent() -> str | None:
    """Return the current span's W3C traceparent, None outside of a trace."""
    span = trace.get_current_span().get_span_context()
    return traceparent_of(span) if span.is_valid else None

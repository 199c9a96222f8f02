"""Trace context and correlation ID across HTTP: W3C traceparent and baggage, and X-Correlation-ID."""

from collections.abc import Mapping
from typing import Final

from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, get_current
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
    context = get_current()
    _TRACE_CONTEXT.inject(headers, context)
    request = current_request()
    if request is not None:
        headers[CORRELATION_HEADER] = request.correlation_id
        context = baggage.set_baggage(Attribute.CORRELATION_ID, request.correlation_id, context)
        if request.client_id is not None:
            context = baggage.set_baggage(Attribute.CLIENT_ID, request.client_id, context)
    _BAGGAGE.inject(headers, context)
    return headers


def traceparent_of(span: SpanContext) -> str:
    """Return a span's context as W3C traceparent."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def traceparent() -> str | None:
    """Return the current span's W3C traceparent, None outside of a trace."""
    span = trace.get_current_span().get_span_context()
    return traceparent_of(span) if span.is_valid else None

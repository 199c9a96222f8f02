"""Trace context and correlation ID across HTTP: W3C traceparent and baggage, and X-Correlation-ID."""

from collections.abc import Mapping
from typing import Final

from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, get_current
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from observability.context import current_request
from observability.signals import CORRELATION_HEADER, Attribute

_TRACE_CONTEXT: Final = TraceContextTextMapPropagator()
_BAGGAGE: Final = W3CBaggagePropagator()


def incoming_context(headers: Mapping[str, str], *, trusted: bool) -> Context:
    """Return the caller's trace context; its baggage too when the caller is one of ours.

    A stranger's context that says "not recorded" is none: nobody outside switches tracing off.
    """
    context = _TRACE_CONTEXT.extract(headers, Context())
    if trusted:
        return _BAGGAGE.extract(headers, context)
    return context if trace.get_current_span(context).get_span_context().trace_flags.sampled else Context()


def outgoing_headers() -> dict[str, str]:
    """Return the headers that carry the current trace and request to the next service."""
    headers: dict[str, str] = {}
    context = get_current()
    request = current_request()
    if request is not None:
        headers[CORRELATION_HEADER] = request.correlation_id
        context = baggage.set_baggage(Attribute.CORRELATION_ID, request.correlation_id, context)
        if request.client_id is not None:
            context = baggage.set_baggage(Attribute.CLIENT_ID, request.client_id, context)
    _TRACE_CONTEXT.inject(headers, context)
    _BAGGAGE.inject(headers, context)
    return headers


def traceparent() -> str | None:
    """Return the current span's W3C traceparent, None outside of a trace."""
    headers: dict[str, str] = {}
    _TRACE_CONTEXT.inject(headers)
    return headers.get("traceparent")

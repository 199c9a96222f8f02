"""Spans of OpenTelemetry's API that cost a request little: written as OTLP when they end, and kept no longer.

They stand where the SDK's would in the API's context, so `trace.get_current_span()` and every propagator know them. The
SDK's own cost five times as much (docs/adr/0009).
"""

import random
import time
from collections.abc import Callable, Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.semconv.attributes import exception_attributes
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes, AttributeValue

from observability import otlp
from observability.context import RequestContext, current_request
from observability.exceptions import attributes_of
from observability.signals import Attribute

Sink = Callable[[bytes], None]
_RANDOM: Final = 0x02  # W3C Trace Context level 2: the trace ID is random
_CORRELATION_ID: Final = Attribute.CORRELATION_ID.value
_CLIENT_ID: Final = Attribute.CLIENT_ID.value
_KINDS: Final = {kind: kind.value + 1 for kind in SpanKind}  # OTLP has an UNSPECIFIED before INTERNAL


class RecordingSpan(trace.Span):
    """A sampled span. Attributes are those of the request it belongs to and its own; the last value of a name counts."""

    __slots__ = (
        "_attributes",
        "_context",
        "_ended",
        "_kind",
        "_parent_id",
        "_parent_is_remote",
        "_request",
        "_rest",
        "_sink",
        "_started_ns",
        "_status",
        "name",
    )

    def __init__(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        *,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue] | None,
        sink: Sink,
        start_time: int | None,
    ) -> None:
        self.name = name
        self._context = context
        self._parent_id = parent.span_id if parent else None
        self._parent_is_remote = parent is not None and parent.is_remote
        self._kind = kind
        self._attributes: dict[str, AttributeValue] = dict(attributes) if attributes else {}
        self._request: RequestContext | None = current_request()
        self._sink = sink
        self._status = b""
        self._rest = b""
        self._ended = False
        self._started_ns = start_time or time.time_ns()

    def get_span_context(self) -> SpanContext:
        """Return the IDs."""
        return self._context

    def is_recording(self) -> bool:
        """Return whether the span still takes anything."""
        return not self._ended

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set an attribute."""
        self._attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Set several attributes."""
        self._attributes.update(attributes)

    def update_name(self, name: str) -> None:
        """Name the span anew: an HTTP span knows its route only at its end."""
        self.name = name

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Note what happened, now or at `timestamp` (Unix ns)."""
        self._rest += otlp.event(name, timestamp or time.time_ns(), attributes or {})

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Refer to a span of another trace."""
        self._rest += otlp.link(context.trace_id, context.span_id, attributes or {})

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how the span ended."""
        if isinstance(status, StatusCode):
            status = Status(status, description)
        self._status = otlp.status(status.status_code.value, status.description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002  the API's signature
    ) -> None:
        """Add the event `exception` of the semantic conventions, without a text that may quote what was sent."""
        self.add_event(
            "exception",
            {
                **attributes_of(exception),
                **({exception_attributes.EXCEPTION_ESCAPED: True} if escaped else {}),
                **(attributes or {}),
            },
            timestamp,
        )

    def end(self, end_time: int | None = None) -> None:
        """Send the span; only the first call counts."""
        if self._ended:
            return
        self._ended = True
        context, attribute = self._context, otlp.span_attribute
        encoded = [attribute(key, value) for key, value in self._attributes.items()]
        request = self._request
        if request is not None:
            encoded.append(attribute(_CORRELATION_ID, request.correlation_id))
            if request.client_id is not None:
                encoded.append(attribute(_CLIENT_ID, request.client_id))
        self._sink(
            otlp.span(
                trace_id=context.trace_id,
                span_id=context.span_id,
                parent_id=self._parent_id,
                parent_is_remote=self._parent_is_remote,
                name=self.name,
                kind=_KINDS[self._kind],
                start_ns=self._started_ns,
                end_ns=end_time or time.time_ns(),
                attributes=encoded,
                rest=self._rest + self._status,
            )
        )


class Tracer:
    """Starts spans. Where a trace begins or comes in from outside, the sampler decides; below, what was decided."""

    def __init__(self, sink: Sink, sampler: Sampler) -> None:
        self._sink = sink
        self._sampler = sampler

    def start_span(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, AttributeValue] | None = None,
        context: Context | None = None,
        start_time: int | None = None,
    ) -> trace.Span:
        """Start a span, now or at `start_time` (Unix ns), below the current one or that of `context`; it is not made current."""
        parent: SpanContext | None = trace.get_current_span(context).get_span_context()
        if parent is None or not parent.is_valid:
            parent = None
        trace_id = parent.trace_id if parent else random.getrandbits(128)
        flags = parent.trace_flags & _RANDOM if parent else _RANDOM
        if parent is not None and not parent.is_remote:
            flags |= parent.trace_flags & TraceFlags.SAMPLED
        elif (
            self._sampler.should_sample(context, trace_id, name, kind, attributes).decision
            is Decision.RECORD_AND_SAMPLE
        ):
            flags |= TraceFlags.SAMPLED
        own = SpanContext(
            trace_id,
            random.getrandbits(64),
            is_remote=False,
            trace_flags=TraceFlags(flags),
        )
        if not flags & TraceFlags.SAMPLED:
            return NonRecordingSpan(own)
        return RecordingSpan(
            name, own, parent, kind=kind, attributes=attributes, sink=self._sink, start_time=start_time
        )

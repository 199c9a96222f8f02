"""What the back ends know of a request, in one form whichever server it came from."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One span as stored."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    service: str
    start_us: int
    duration_us: int
    failed: bool = False
    attributes: Mapping[str, object] = field(default_factory=dict)
    resource: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace:
    """All spans of one trace, in order of their start."""

    trace_id: str
    spans: tuple[SpanRecord, ...]

    def children(self, parent_id: str | None) -> Iterator[SpanRecord]:
        """Spans whose parent is this one."""
        return (span for span in self.spans if span.parent_id == parent_id)

    def roots(self) -> Iterator[SpanRecord]:
        """Spans without a parent, or whose parent is not stored."""
        known = {span.span_id for span in self.spans}
        return (span for span in self.spans if span.parent_id not in known)

    def below(self, span: SpanRecord) -> Iterator[SpanRecord]:
        """This span and all that hang below it."""
        yield span
        for child in self.children(span.span_id):
            yield from self.below(child)

    def without(self, spans: Collection[SpanRecord]) -> "Trace":
        """The trace without these spans."""
        gone = {span.span_id for span in spans}
        return Trace(self.trace_id, tuple(span for span in self.spans if span.span_id not in gone))

    def named(self, name: str) -> Iterator[SpanRecord]:
        """Spans of this name, wherever they hang."""
        return (span for span in self.spans if span.name == name)


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One log record as stored; keys of `fields` have underscores for dots, as Loki stores them."""

    time_ns: int
    service: str
    level: str
    message: str
    correlation_id: str
    trace_id: str
    span_id: str
    fields: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, time_ns: int, message: str, fields: Mapping[str, str]) -> Self:
        """Pick what every record has out of its fields."""
        return cls(
            time_ns=time_ns,
            service=fields.get("service_name", ""),
            level=fields.get("severity_text", ""),
            message=message,
            correlation_id=fields.get("correlation_id", ""),
            trace_id=fields.get("trace_id", ""),
            span_id=fields.get("span_id", ""),
            fields=fields,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of an instant query."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One measurement that Prometheus kept with the IDs of its request."""

    series: Mapping[str, str]
    labels: Mapping[str, str]
    value: float
    timestamp: float


@dataclass(frozen=True, slots=True)
class RangeSeries:
    """One series of a range query: points of unix seconds and value; what is no number is left out."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that is pending or firing."""

    name: str
    severity: str
    service: str
    state: str
    since: str
    summary: str

"""The story of one request: what traces, logs and metrics know of a correlation ID, joined into one structure."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, TypeVar

import httpx
from opentelemetry.semconv.attributes import db_attributes as db

from observability import signals
from observability.signals import SERVICE_NAMESPACE, Attribute
from observability.signals import Span as SpanName
from telemetry_queries.back_ends import BackEnds
from telemetry_queries.failures import describe
from telemetry_queries.models import LogRecord, SpanRecord, Trace
from telemetry_queries.sources import SERVICES, Source

Found = TypeVar("Found")
_LOOKBACK_SECONDS = 7 * 86400
# Exemplars are asked for around the request only: Prometheus answers with all of a span of time. The rest is for clocks
# that differ.
_EXEMPLAR_SLACK_SECONDS = 5
_MOST_SPANS = 2000


@dataclass(frozen=True, slots=True)
class StorySpan:
    """One span, how deep it stands in the tree, and when it began after the request did."""

    depth: int
    offset_ms: float
    duration_ms: float
    name: str
    service: str
    kind: str
    failed: bool
    span_id: str
    parent_id: str | None
    attributes: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class StoryLine:
    """One log line, and when it was written after the request began (None without a trace)."""

    offset_ms: float | None
    trace_id: str | None
    time: float
    service: str
    level: str
    message: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement; its text has placeholders."""

    summary: str
    service: str
    duration_ms: float
    text: str | None
    comment: str


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One measurement of this request that Prometheus kept as an exemplar."""

    metric: str
    labels: Mapping[str, str]
    value: float
    time: float


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that is known of one request. `gaps` says what was not found."""

    correlation_id: str
    trace_ids: tuple[str, ...]
    spans: tuple[StorySpan, ...]
    lines: tuple[StoryLine, ...]
    statements: tuple[Statement, ...]
    metric_points: tuple[MetricPoint, ...]
    links: Mapping[str, str]
    gaps: tuple[str, ...]
    lines_expected: bool = True  # the log store answers queries

    @property
    def found(self) -> bool:
        """Whether any back end knows this request."""
        return bool(self.spans or self.lines)

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {"found": self.found, **asdict(self)}


class StoryTeller:
    """Joins the three back ends."""

    def __init__(self, back_ends: BackEnds) -> None:
        self._jaeger = back_ends.jaeger
        self._prometheus = back_ends.prometheus
        self._logs = back_ends.logs

    def tell(self, correlation_id: str) -> Story:
        """Ask all back ends for this correlation ID; one that does not answer leaves a gap."""
        failures: list[str] = []
        traces = _or_gap(failures, lambda: self._traces(correlation_id))
        records = _or_gap(
            failures, lambda: self._logs.find(correlation_id, since=time.time() - _LOOKBACK_SECONDS)
        )
        points = _or_gap(failures, lambda: self._metric_points(correlation_id, traces))
        return join(
            correlation_id,
            traces,
            records,
            points,
            self._links(correlation_id, traces),
            log_silence=self._logs.silence,
            failures=failures,
        )

    def _traces(self, correlation_id: str) -> list[Trace]:
        """The trace is found through whichever service took part."""
        for service in SERVICES:
            if traces := self._jaeger.find(correlation_id, service):
                return traces
        return []

    def _metric_points(self, correlation_id: str, traces: Sequence[Trace]) -> list[MetricPoint]:
        begin, end = _begin_us(traces), _end_us(traces)
        if begin is None or end is None:
            return []
        found = self._prometheus.exemplars(
            f'{{__name__=~"{_exemplar_metrics()}",job=~"{SERVICE_NAMESPACE}/.*"}}',
            begin / 1_000_000 - _EXEMPLAR_SLACK_SECONDS,
            end / 1_000_000 + _EXEMPLAR_SLACK_SECONDS,
        )
        return [
            MetricPoint(each.series["__name__"], _labels(each.series), each.value, each.timestamp)
            for each in found
            if each.labels.get(Attribute.CORRELATION_ID) == correlation_id
        ]

    def _links(self, correlation_id: str, traces: Sequence[Trace]) -> dict[str, str]:
        links = {}
        for trace in traces:
            links["trace (Jaeger's page, in its official image)"] = self._jaeger.link(trace.trace_id)
            links["trace (JSON)"] = self._jaeger.api_link(trace.trace_id)
        return {**links, f"logs ({self._logs.name})": self._logs.link(correlation_id)}


def _or_gap(failures: list[str], ask: Callable[[], list[Found]]) -> list[Found]:
    """Return what a back end knows; nothing, and why, where it does not answer."""
    try:
        return ask()
    except httpx.HTTPError as error:
        failures.append(describe(error))
        return []


def unsettled(story: Story) -> list[str]:
    """Say what must still arrive: a request of a moment ago is seen in parts."""
    if not story.found:
        return ["no back end knows it"]
    if not story.spans:
        return ["no spans yet"] if any(line.trace_id for line in story.lines) else []
    if not story.lines_expected:
        return []
    expected = {span.service for span in story.spans}
    if Source.DOCUMENT_API in expected:
        expected.add(Source.NGINX)  # makes no spans, and stands before it
    return sorted(
        f"no line of {service} yet" for service in expected - {line.service for line in story.lines}
    )


def join(
    correlation_id: str,
    traces: Sequence[Trace],
    records: Sequence[LogRecord],
    metric_points: Sequence[MetricPoint],
    links: Mapping[str, str],
    *,
    log_silence: str = "",
    failures: Sequence[str] = (),
) -> Story:
    """Put what the back ends answered in the order in which it happened. Pure."""
    traces = sorted(
        traces, key=lambda trace: _begin_us([trace]) or 0
    )  # what was done later, after its request
    begin = _begin_us(traces)
    every_span = (span for trace in traces for span in _ordered(trace, begin or 0))
    spans = tuple(islice(every_span, _MOST_SPANS))
    return Story(
        correlation_id=correlation_id,
        trace_ids=tuple(trace.trace_id for trace in traces),
        spans=spans,
        lines=tuple(_line(record, begin) for record in sorted(records, key=lambda record: record.time_ns)),
        statements=tuple(_statements(traces, correlation_id)),
        metric_points=tuple(sorted(metric_points, key=lambda point: (point.metric, point.time))),
        links=dict(links),
        gaps=(*failures, *_gaps(spans, records, metric_points, log_silence)),
        lines_expected=not log_silence,
    )


def _gaps(
    spans: Sequence[StorySpan],
    records: Sequence[LogRecord],
    points: Sequence[MetricPoint],
    log_silence: str,
) -> Iterator[str]:
    if not spans:
        yield "no trace has this correlation ID"
    if not records:
        yield log_silence or "no log line has this correlation ID"
    if len(spans) == _MOST_SPANS:
        yield f"only the first {_MOST_SPANS} spans are told"
    if not points:
        yield "no exemplar has this correlation ID (they take a few seconds, and one is kept for each series and interval)"


def _begin_us(traces: Sequence[Trace]) -> int | None:
    return min((span.start_us for trace in traces for span in trace.spans), default=None)


def _end_us(traces: Sequence[Trace]) -> int | None:
    return max((span.start_us + span.duration_us for trace in traces for span in trace.spans), default=None)


def _ordered(trace: Trace, begin: int) -> Iterator[StorySpan]:
    for root in trace.roots():
        yield from _descend(trace, root, begin, 0)


def _descend(trace: Trace, span: SpanRecord, begin: int, depth: int) -> Iterator[StorySpan]:
    yield StorySpan(
        depth=depth,
        offset_ms=(span.start_us - begin) / 1000,
        duration_ms=span.duration_us / 1000,
        name=span.name,
        service=span.service,
        kind=span.kind,
        failed=span.failed,
        span_id=span.span_id,
        parent_id=span.parent_id,
        attributes=span.attributes,
    )
    for child in trace.children(span.span_id):
        yield from _descend(trace, child, begin, depth + 1)


def _line(record: LogRecord, begin: int | None) -> StoryLine:
    offset = None if begin is None else round(record.time_ns / 1_000_000 - begin / 1000, 3)
    return StoryLine(
        offset,
        record.trace_id,
        record.time_ns / 1e9,
        record.service,
        record.level,
        record.message,
        record.fields,
    )


def _statements(traces: Sequence[Trace], correlation_id: str) -> Iterator[Statement]:
    for trace in traces:
        for span in trace.named(SpanName.SQL_EXECUTION):
            yield Statement(
                summary=str(span.attributes.get(db.DB_QUERY_SUMMARY, span.name)),
                service=span.service,
                duration_ms=span.duration_us / 1000,
                text=str(span.attributes[db.DB_QUERY_TEXT]) if db.DB_QUERY_TEXT in span.attributes else None,
                comment=f"correlation_id='{correlation_id}',traceparent='00-{span.trace_id}-{span.span_id}-..'",
            )


def _exemplar_metrics() -> str:
    """Pattern of all series that carry exemplars."""
    return "|".join(
        f"{metric.prometheus_name}_bucket" if metric.kind == "histogram" else metric.prometheus_name
        for metric in signals.METRICS
        if metric.exemplars
    )


def _labels(series: Mapping[str, str]) -> dict[str, str]:
    """The labels of the contract and of the instance, without those that repeat the resource."""
    own = {label.replace(".", "_") for metric in signals.METRICS for label in metric.labels}
    return {name: value for name, value in series.items() if name in {"job", "instance", *own}}

"""The instruments of the contract: counted here, and handed to the SDK's reader when it collects.

A value costs a request one to two microseconds; through the SDK's instruments, views and reservoirs it cost 10 to 20
(docs/adr/0009). What comes out is what the SDK would make of it: cumulative points from the first value on, with the
latest exemplar of each series, of a histogram one for each bucket.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Meter, NoOpMeter, Observation
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.metrics.view import View

from observability import signals
from observability.context import current_correlation_id
from observability.sampling import KeptTraces
from observability.signals import Attribute, MetricSpec

# value, Unix ns, trace ID, span ID, correlation ID
_Exemplar = tuple[float, int, int, int, str | None]
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
_SAMPLED: Final = trace.TraceFlags.SAMPLED


class _Labelled(Protocol):
    def __call__(self, amount: float, /, **labels: str) -> None: ...


def views() -> list[View]:
    """Return a view for each metric of the process: its instrumentor gives every label twice, by an old and a new name."""
    return [
        View(instrument_name=metric.name, attribute_keys=set(metric.labels))
        for metric in signals.PROCESS_METRICS
    ]


@dataclass(slots=True)
class _Series:
    """The values of one set of labels; `counts` and `exemplars` are by bucket, a counter has one."""

    labels: Mapping[str, str]
    counts: list[int]
    started_ns: int = field(default_factory=time.time_ns)
    sum: float = 0
    least: float = float("inf")
    most: float = float("-inf")
    exemplars: dict[int, _Exemplar] = field(default_factory=dict)


class _Instrument:
    """One metric: takes values from any thread, and gives its points."""

    def __init__(self, metric: MetricSpec, kept: KeptTraces | None) -> None:
        self._metric = metric
        self._kept = kept
        self._bounds = tuple(metric.buckets or ())
        self._series: dict[frozenset[tuple[str, str]], _Series] = {}
        # Reentrant: what the garbage collector ends inside may log, and a full queue of log records counts that here.
        self._lock = threading.RLock()

    def record(self, amount: float, /, **labels: str) -> None:
        """Count a value; inside of a recorded span it becomes an exemplar that leads there."""
        exemplar = self._exemplar(amount, labels) if self._metric.exemplars else None
        key = frozenset(labels.items())
        bucket = bisect_left(self._bounds, amount) if self._bounds else 0
        with self._lock:
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = _Series(labels, [0] * (len(self._bounds) + 1))
            series.sum += amount
            series.counts[bucket] += 1
            if exemplar:
                series.exemplars[bucket] = exemplar
            if self._bounds:
                series.least = min(series.least, amount)
                series.most = max(series.most, amount)

    def collect(self) -> Metric | None:
        """Return the points so far, and the exemplars since the last time; None before the first value."""
        with self._lock:
            now = time.time_ns()
            points = [self._point(series, now) for series in self._series.values()]
        if not points:
            return None
        metric = self._metric
        data = (
            Histogram([point for point in points if isinstance(point, HistogramDataPoint)], _CUMULATIVE)
            if metric.kind == "histogram"
            else Sum(
                [point for point in points if isinstance(point, NumberDataPoint)],
                _CUMULATIVE,
                is_monotonic=metric.kind == "counter",
            )
        )
        return Metric(metric.name, metric.description, metric.unit, data)

    def _exemplar(self, amount: float, labels: Mapping[str, str]) -> _Exemplar | None:
        span = trace.get_current_span()
        context = span.get_span_context()
        if not context.trace_flags & _SAMPLED:
            return None
        if self._kept is not None:
            if not self._kept.may_point_to(context.trace_id, self._metric, amount, labels):
                return None
            span.set_attribute(Attribute.EXEMPLAR_KEEP, True)
        return amount, time.time_ns(), context.trace_id, context.span_id, current_correlation_id()

    def _point(self, series: _Series, now: int) -> NumberDataPoint | HistogramDataPoint:
        exemplars = [_found(exemplar) for exemplar in series.exemplars.values()]
        series.exemplars = {}
        if self._metric.kind != "histogram":
            return NumberDataPoint(series.labels, series.started_ns, now, series.sum, exemplars)
        return HistogramDataPoint(
            series.labels,
            series.started_ns,
            now,
            sum(series.counts),
            series.sum,
            tuple(series.counts),
            self._bounds,
            series.least,
            series.most,
            exemplars,
        )


def _ignore(_amount: float, /, **_labels: str) -> None:
    """Take a value while telemetry is switched off."""


def _found(exemplar: _Exemplar) -> Exemplar:
    value, time_ns, trace_id, span_id, correlation_id = exemplar
    labels = {Attribute.CORRELATION_ID.value: correlation_id} if correlation_id else {}
    return Exemplar(labels, value, time_ns, span_id, trace_id)


class Instruments:
    """Records the metrics of the contract; labels are keyword arguments named as in signals."""

    def __init__(self, meter: Meter, kept: KeptTraces | None = None) -> None:
        self._meter = meter
        self._kept = kept  # None where all are
        self._instruments: list[_Instrument] = []
        self.http_requests = self._made(signals.HTTP_REQUESTS)
        self.http_request_duration = self._made(signals.HTTP_REQUEST_DURATION)
        self.http_errors = self._made(signals.HTTP_ERRORS)
        self.http_in_progress = self._made(signals.HTTP_IN_PROGRESS)
        self.requests_shed = self._made(signals.REQUESTS_SHED)
        self.database_operations = self._made(signals.DATABASE_OPERATIONS)
        self.database_operation_duration = self._made(signals.DATABASE_OPERATION_DURATION)
        self.database_pool_wait = self._made(signals.DATABASE_POOL_WAIT)
        self.database_pool_exhausted = self._made(signals.DATABASE_POOL_EXHAUSTED)
        self.health_checks = self._made(signals.HEALTH_CHECKS)
        self.health_check_duration = self._made(signals.HEALTH_CHECK_DURATION)
        self.tenant_requests = self._made(signals.TENANT_REQUESTS)
        self.tenant_limit_exceeded = self._made(signals.TENANT_LIMIT_EXCEEDED)
        self.data_store_retries = self._made(signals.DATA_STORE_RETRIES)
        self.data_store_refusals = self._made(signals.DATA_STORE_REFUSALS)
        self.documents_uploaded = self._made(signals.DOCUMENTS_UPLOADED)
        self.document_size = self._made(signals.DOCUMENT_SIZE)
        self.documents_downloaded = self._made(signals.DOCUMENTS_DOWNLOADED)
        self.document_changes = self._made(signals.DOCUMENT_CHANGES)
        self.storage_leftovers = self._made(signals.STORAGE_LEFTOVERS)
        self.virus_scan_duration = self._made(signals.VIRUS_SCAN_DURATION)
        self.text_extraction_duration = self._made(signals.TEXT_EXTRACTION_DURATION)
        self.contents_removed = self._made(signals.CONTENTS_REMOVED)
        self.summaries = self._made(signals.SUMMARIES)
        self.later_summaries = self._made(signals.LATER_SUMMARIES)
        self.later_summary_delay = self._made(signals.LATER_SUMMARY_DELAY)
        self.gen_ai_operation_duration = self._made(signals.GEN_AI_OPERATION_DURATION)
        self.gen_ai_token_usage = self._made(signals.GEN_AI_TOKEN_USAGE)
        self.telemetry_dropped = self._made(signals.TELEMETRY_DROPPED)

    def _made(self, metric: MetricSpec) -> _Labelled:
        if isinstance(self._meter, NoOpMeter):
            return _ignore
        instrument = _Instrument(metric, self._kept)
        self._instruments.append(instrument)
        return instrument.record

    def observe(self, metric: MetricSpec, read: Callable[[], Iterable[tuple[float, dict[str, str]]]]) -> None:
        """Read a gauge whenever metrics are collected; `read` returns (value, labels) pairs."""

        def callback(_options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, labels) for value, labels in read()]

        self._meter.create_observable_gauge(
            metric.name, [callback], unit=metric.unit, description=metric.description
        )

    def collect(self) -> list[Metric]:
        """Return every metric that has a value."""
        return [metric for instrument in self._instruments if (metric := instrument.collect())]

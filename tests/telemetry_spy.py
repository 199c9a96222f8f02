"""Telemetry that stays in memory: what a test asks instead of the back ends."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricsData,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import ReadableSpan

from observability.otlp import Envelope
from observability.signals import MetricSpec
from observability.telemetry import Identity, Telemetry, build
from tests.otlp_wire import log_records_of, spans_of

_POINTS: Final = (NumberDataPoint, HistogramDataPoint)
Tree = dict[str, "Tree"]


class Kept:
    """An outlet that keeps what it is given, as it would go over the wire."""

    def __init__(self, envelope: Envelope, _dropped: object) -> None:
        self._envelope = envelope
        self._items: list[bytes] = []

    def put(self, item: bytes) -> None:
        """Keep an item."""
        self._items.append(item)

    def shutdown(self) -> None:
        """Nothing is left to send."""

    def request(self) -> bytes:
        """Return the request that sends all items."""
        return self._envelope.around(self._items)


@dataclass(frozen=True)
class TelemetrySpy:
    """A service's telemetry, and all that was recorded through it."""

    telemetry: Telemetry
    _metrics: InMemoryMetricReader

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """Return the ended spans, all or those of one name, in the order of their start."""
        ended = [span for span in spans_of(self._request("traces")) if name in (None, span.name)]
        return sorted(ended, key=lambda span: span.start_time or 0)

    def span(self, name: str) -> ReadableSpan:
        """Return the only span of this name."""
        (span,) = self.spans(name)
        return span

    def attributes(self, name: str) -> dict[str, Any]:
        """Return the attributes of the only span of this name."""
        return dict(self.span(name).attributes or {})

    def tree(self) -> Tree:
        """Return the names of all ended spans, each with those of its children in the order of their start."""
        return self._below(None)

    def _below(self, parent: ReadableSpan | None) -> Tree:
        known = {span.context.span_id for span in self.spans()}
        mine = parent.context.span_id if parent else None

        def parent_of(span: ReadableSpan) -> int | None:
            return span.parent.span_id if span.parent and span.parent.span_id in known else None

        return {span.name: self._below(span) for span in self.spans() if parent_of(span) == mine}

    def metrics_data(self) -> MetricsData:
        """Collect all metrics, as an exporter is given them."""
        data = self._metrics.get_metrics_data()
        assert data is not None
        return data

    def metrics(self) -> list[Metric]:
        """Return all metrics. Exemplars are in the first collection after their measurement only."""
        return [
            metric
            for resource in self.metrics_data().resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def collected(self) -> dict[str, list[NumberDataPoint | HistogramDataPoint]]:
        """Return the data points of all metrics."""
        return {
            metric.name: [point for point in metric.data.data_points if isinstance(point, _POINTS)]
            for metric in self.metrics()
        }

    def points(self, metric: MetricSpec) -> list[NumberDataPoint | HistogramDataPoint]:
        """Return the current data points of a metric."""
        return self.collected().get(metric.name, [])

    def series(self, metric: MetricSpec) -> dict[tuple[str, ...], float]:
        """Return a metric's values by its labels, in the order of the contract; of a histogram the counts."""
        return {
            tuple(str((point.attributes or {})[label]) for label in metric.labels): (
                point.count if isinstance(point, HistogramDataPoint) else point.value
            )
            for point in self.points(metric)
        }

    def logs(self, level: str | None = None) -> list[ReadableLogRecord]:
        """Return the log records sent by OTLP, all or those of one level (`INFO`, `WARN`, `ERROR` ...)."""
        records = log_records_of(self._request("logs"))
        return [record for record in records if level in (None, record.log_record.severity_text)]

    def everything(self) -> str:
        """Return all that was recorded of all three signals, as text to search."""
        return "\n".join(
            (
                *(span.to_json() for span in self.spans()),
                *(record.to_json() for record in self.logs()),
                self.metrics_data().to_json(),
            )
        )

    def _request(self, signal: str) -> bytes:
        outlet = self.telemetry.providers[signal]
        assert isinstance(outlet, Kept)
        return outlet.request()

    def messages(self, level: str | None = None) -> list[Any]:
        """Return the messages of the log records."""
        return [record.log_record.body for record in self.logs(level)]


@contextmanager
def spied_telemetry(
    service: str = "service-under-test", *, log_level: str = "INFO"
) -> Iterator[TelemetrySpy]:
    """Build a telemetry in memory, and put the process's logging back at the end."""
    metrics = InMemoryMetricReader()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    telemetry = build(
        Identity(service, "1.0.0", "test:0", "test"),
        metric_reader=metrics,
        spans=Kept,
        logs=Kept,
        log_level=log_level,
    )
    try:
        yield TelemetrySpy(telemetry, metrics)
    finally:
        root.handlers, root.level = handlers, level

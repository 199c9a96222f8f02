"""telemetry_dropped_total counts what the SDK's real processors lose."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from observability.drops import otlp_log_processor, otlp_span_processor
from observability.instruments import Instruments, views


class Dropped:
    """The counter under test, and how to read it."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.metrics = Instruments.of(MeterProvider([self._reader], views=views()).get_meter("test"))

    def counted(self) -> dict[tuple[str, str], float]:
        """Return the counts by signal and reason."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        points: list[Any] = list(data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points)
        return {(point.attributes["signal"], point.attributes["reason"]): point.value for point in points}


@pytest.fixture(autouse=True)
def _small_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues of four, sent in pairs, and an exporter that reaches nobody and does not insist."""
    for name in ("BSP", "BLRP"):
        monkeypatch.setenv(f"OTEL_{name}_MAX_QUEUE_SIZE", "4")
        monkeypatch.setenv(f"OTEL_{name}_MAX_EXPORT_BATCH_SIZE", "2")
        monkeypatch.setenv(f"OTEL_{name}_SCHEDULE_DELAY", "3600000")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.05")


@pytest.fixture
def dropped() -> Dropped:
    """A fresh counter."""
    return Dropped()


@pytest.fixture
def blocked() -> Iterator[threading.Event]:
    """Holds every export until set, so that queues fill up."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_spans_that_find_the_queue_full_are_counted(
    dropped: Dropped, blocked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two spans in the exporter's hands and four waiting, the seventh and later push others out."""
    begun = threading.Event()

    def export(*_: object) -> SpanExportResult:
        begun.set()
        blocked.wait()
        return SpanExportResult.SUCCESS

    monkeypatch.setattr(
        "opentelemetry.exporter.otlp.proto.grpc.trace_exporter.OTLPSpanExporter.export", export
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(otlp_span_processor(dropped.metrics))
    tracer = provider.get_tracer("test")
    for _ in range(2):
        tracer.start_span("sent").end()
    assert begun.wait(5)

    for _ in range(4 + 3):
        tracer.start_span("waiting").end()

    assert dropped.counted() == {("traces", "queue_full"): 3}
    blocked.set()
    provider.shutdown()


def test_spans_of_a_failing_export_are_counted(dropped: Dropped) -> None:
    """The collector is away, and the deadline passes: the batch is lost, and known to be."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(otlp_span_processor(dropped.metrics))
    for _ in range(3):
        provider.get_tracer("test").start_span("lost").end()

    provider.shutdown()

    assert dropped.counted() == {("traces", "export_failed"): 3}


def test_spans_after_the_shutdown_are_counted(dropped: Dropped) -> None:
    """Too late is lost as well."""
    provider = TracerProvider(shutdown_on_exit=False)
    processor = otlp_span_processor(dropped.metrics)
    provider.add_span_processor(processor)
    processor.shutdown()

    provider.get_tracer("test").start_span("late").end()

    assert dropped.counted() == {("traces", "already_shutdown"): 1}


def test_log_records_of_a_failing_export_are_counted(dropped: Dropped) -> None:
    """Logs are counted like spans."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(otlp_log_processor(dropped.metrics))
    provider.get_logger("test").emit(body="lost")

    provider.shutdown()

    assert dropped.counted() == {("logs", "export_failed"): 1}


def test_log_records_that_find_the_queue_full_are_counted(
    dropped: Dropped, blocked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with spans."""
    begun = threading.Event()

    def export(*_: object) -> LogRecordExportResult:
        begun.set()
        blocked.wait()
        return LogRecordExportResult.SUCCESS

    monkeypatch.setattr("opentelemetry.exporter.otlp.proto.grpc._log_exporter.OTLPLogExporter.export", export)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(otlp_log_processor(dropped.metrics))
    log = provider.get_logger("test")
    for _ in range(2):
        log.emit(body="sent")
    assert begun.wait(5)

    for _ in range(4 + 2):
        log.emit(body="waiting")

    assert dropped.counted() == {("logs", "queue_full"): 2}
    blocked.set()
    provider.shutdown()


def test_what_is_delivered_is_not_counted(dropped: Dropped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence means that nothing was lost."""
    monkeypatch.setattr(
        "opentelemetry.exporter.otlp.proto.grpc.trace_exporter.OTLPSpanExporter.export",
        lambda *_: SpanExportResult.SUCCESS,
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(otlp_span_processor(dropped.metrics))
    provider.get_tracer("test").start_span("sent").end()

    provider.shutdown()

    assert dropped.counted() == {}

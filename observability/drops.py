"""Counts the telemetry that the SDK could not hand over: a full queue, or an export given up."""

from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from observability.instruments import Instruments

EXPORT_FAILED: Final = "export_failed"


class _CountingSpanExporter(OTLPSpanExporter):
    def __init__(self, dropped: Callable[[int, str], None]) -> None:
        super().__init__()
        self._dropped = dropped

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._dropped(len(spans), EXPORT_FAILED)
        return result


class _CountingLogExporter(OTLPLogExporter):
    def __init__(self, dropped: Callable[[int, str], None]) -> None:
        super().__init__()
        self._dropped = dropped

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        result = super().export(batch)
        if result is not LogRecordExportResult.SUCCESS:
            self._dropped(len(batch), EXPORT_FAILED)
        return result


class _QueueDrops:
    """What a batch processor reports about its queue, reduced to what it drops."""

    def __init__(self, dropped: Callable[[int, str], None]) -> None:
        self._dropped = dropped

    def register_queue_size(self, get_queue_size: Callable[[], int]) -> None:
        """The queue's size is no signal of ours."""

    def drop_items(self, count: int, error_type: str = "queue_full") -> None:
        self._dropped(count, error_type)

    def finish_items(self, count: int) -> None:
        """Handing over is not a drop."""


def _dropped(metrics: Instruments, signal: str) -> Callable[[int, str], None]:
    def count(items: int, reason: str) -> None:
        metrics.telemetry_dropped(items, signal=signal, reason=reason)

    return count


def _watch_queue(
    processor: BatchSpanProcessor | BatchLogRecordProcessor, dropped: Callable[[int, str], None]
) -> None:
    # The SDK offers no hook for a full queue but its own experimental metrics, which count every span as well;
    # test_telemetry_dropped holds this to what the pinned SDK really calls.
    processor._batch_processor._metrics = _QueueDrops(dropped)  # noqa: SLF001


def otlp_span_processor(metrics: Instruments) -> SpanProcessor:
    """Return a batching processor of spans that counts what it loses."""
    dropped = _dropped(metrics, "traces")
    processor = BatchSpanProcessor(_CountingSpanExporter(dropped))
    _watch_queue(processor, dropped)
    return processor


def otlp_log_processor(metrics: Instruments) -> LogRecordProcessor:
    """Return a batching processor of log records that counts what it loses."""
    dropped = _dropped(metrics, "logs")
    processor = BatchLogRecordProcessor(_CountingLogExporter(dropped))
    _watch_queue(processor, dropped)
    return processor

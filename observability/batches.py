"""Sends spans and log records in batches over OTLP gRPC, and counts what it could not hand over.

Items are encoded already and wait in a bounded queue; a thread sends them. A request never waits for the collector.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Final, Protocol

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.trace.export import SpanExportResult

from observability.otlp import Envelope

logger = logging.getLogger(__name__)

# What was lost, and why.
Dropped = Callable[[int, str], None]
QUEUE_FULL: Final = "queue_full"
ALREADY_SHUTDOWN: Final = "already_shutdown"
EXPORT_FAILED: Final = "export_failed"
# The collector takes messages of 4 MiB: half of that leaves room for a last item, such as a long stack.
_MOST_BYTES: Final = 2 * 1024 * 1024


class Exporter(Protocol):
    """Hands encoded items over."""

    def send(self, items: Sequence[bytes]) -> bool:
        """Send the items, trying again while that makes sense; say whether they were taken."""

    def shutdown(self) -> None:
        """Close the channel."""


class _Encoded:
    """Makes an exporter of the SDK, with all its variables and its way of trying again, send items that are encoded."""

    _service: ClassVar[str]
    _channel: Any

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        super().__init__()

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()  # type: ignore[misc]
        # Without serializers: bytes in, and bytes out, of which nothing is needed.
        self._client: Any = SimpleNamespace(Export=self._channel.unary_unary(f"/{self._service}/Export"))

    def _translate_data(self, data: Sequence[Any]) -> Any:
        return self._envelope.around(data)


class SpanExporter(_Encoded, OTLPSpanExporter):
    """Exports spans."""

    _service = "opentelemetry.proto.collector.trace.v1.TraceService"

    def send(self, items: Sequence[Any]) -> bool:
        """Send encoded spans."""
        return self.export(items) is SpanExportResult.SUCCESS


class LogExporter(_Encoded, OTLPLogExporter):
    """Exports log records."""

    _service = "opentelemetry.proto.collector.logs.v1.LogsService"

    def send(self, items: Sequence[Any]) -> bool:
        """Send encoded log records."""
        return self.export(items) is LogRecordExportResult.SUCCESS


class Batches:
    """A queue and the thread that empties it: after `delay_seconds`, or as soon as `batch` items wait.

    A full queue drops its oldest item. `dropped` is told of everything that is lost.
    """

    def __init__(
        self, exporter: Exporter, *, queue: int, batch: int, delay_seconds: float, dropped: Dropped
    ) -> None:
        self._exporter = exporter
        self._queue: deque[bytes] = deque()
        self._most = queue
        self._batch = batch
        self._delay = delay_seconds
        self._dropped = dropped
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="otlp-batches", daemon=True)
        self._thread.start()

    def put(self, item: bytes) -> None:
        """Queue an item."""
        if self._ended:
            self._dropped(1, ALREADY_SHUTDOWN)
            return
        queue = self._queue
        if len(queue) >= self._most:
            self._take()
            self._dropped(1, QUEUE_FULL)
        queue.append(item)
        if len(queue) >= self._batch and not self._wake.is_set():
            self._wake.set()

    def shutdown(self) -> None:
        """Send what waits, then close; what comes later is dropped."""
        if not self._ended:
            self._ended = True
            self._wake.set()
            self._thread.join()
            self._exporter.shutdown()
            if self._queue:  # put while the last batch was taken
                self._dropped(len(self._queue), ALREADY_SHUTDOWN)

    def _work(self) -> None:
        while not self._ended:
            self._wake.wait(self._delay)
            self._wake.clear()
            self._send(len(self._queue))
        self._send(len(self._queue))

    def _send(self, waiting: int) -> None:
        """Send so many items; what comes meanwhile waits, or each batch would be as small as the last was quick."""
        while waiting > 0 and (items := self._next_batch(waiting)):
            waiting -= len(items)
            try:
                delivered = self._exporter.send(items)
            except Exception:
                logger.exception("Telemetry could not be exported")
                delivered = False
            if not delivered:
                self._dropped(len(items), EXPORT_FAILED)

    def _next_batch(self, waiting: int) -> list[bytes]:
        items: list[bytes] = []
        size = 0
        while len(items) < min(self._batch, waiting) and size < _MOST_BYTES and (item := self._take()):
            items.append(item)
            size += len(item)
        return items

    def _take(self) -> bytes | None:
        """Return the oldest item; the queue may be emptied from two sides at once."""
        try:
            return self._queue.popleft()
        except IndexError:
            return None

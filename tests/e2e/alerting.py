"""What alert receivers have been told, and the load and telemetry that alerts are provoked with."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import grpc
import httpx
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from observability_checks.api import Api, sample_text
from tests.receivers import Receivers

UPLOADERS: Final = 8
SPANS_AT_ONCE: Final = 2000
NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, order=True)
class Alert:
    """One alert by what people call it."""

    name: str
    service: str
    severity: str = "warning"
    # The label that tells it from others of its name, which people are not shown.
    kind: str = ""

    def __str__(self) -> str:
        """Say it as one word for a table."""
        return f"{self.name} {self.service} ({self.severity})"


@dataclass(frozen=True)
class Notices:
    """What has arrived at each receiver since a moment (`time.monotonic`)."""

    receivers: Receivers
    since: float

    def told(self, alert: Alert) -> float | None:
        """When the team's channel was told of an alert, None when it was not."""
        return self._slack(f"{alert.severity.upper()} {alert.service}: {alert.name} (")

    def resolved(self, alert: Alert) -> float | None:
        """When it was told that it is over."""
        return self._slack(f"RESOLVED {alert.severity.upper()} {alert.service}: {alert.name}")

    def seconds(self, at: float | None) -> float:
        """Seconds from that moment until something arrived."""
        assert at is not None
        return at - self.since

    def paged(self, alert: Alert, action: str) -> float | None:
        """When PagerDuty was told to `trigger` or `resolve`."""
        wanted = (action, alert.name, alert.service)
        return next((at for at, *event in self._events() if tuple(event) == wanted), None)

    def mailed(self, start: str) -> float | None:
        """When a mail came whose subject starts so."""
        for each in self.receivers.mail.received:
            if each.at > self.since and each.content.subject.startswith(start):
                return each.at
        return None

    def titles(self) -> list[str]:
        """Return the titles of everything that the team's channel was told."""
        return [attachment["title"] for _, attachment in self._attachments()]

    def texts(self) -> list[str]:
        """Return the texts below them."""
        return [attachment["text"] for _, attachment in self._attachments()]

    def _events(self) -> Iterator[tuple[float, str, str, str]]:
        for each in self.receivers.pagerduty.received:
            if each.at > self.since:
                payload = each.content["payload"]
                yield each.at, each.content["event_action"], payload["class"], payload["component"]

    def _slack(self, start: str) -> float | None:
        return next((at for at, each in self._attachments() if each["title"].startswith(start)), None)

    def _attachments(self) -> Iterator[tuple[float, dict[str, str]]]:
        for each in self.receivers.slack.received:
            if each.at > self.since:
                yield from ((each.at, attachment) for attachment in each.content["attachments"])


@contextmanager
def uploads(url: str, *, at_once: int = UPLOADERS) -> Iterator[list[int]]:
    """Upload documents without a pause, whatever the answers are; lend the list of their statuses."""
    over = threading.Event()
    answered: list[int] = []

    def upload(number: int) -> None:
        with httpx.Client(timeout=30, trust_env=False) as client:
            while not over.is_set():
                document = Api(client, url).upload(f"alerts-{number}", "a.txt", sample_text(1, 2))
                answered.append(document.exchange.status)

    with ThreadPoolExecutor(at_once) as pool:
        running = [pool.submit(upload, number) for number in range(at_once)]
        try:
            yield answered
        finally:
            over.set()
    for each in running:
        each.result()


@contextmanager
def many_spans(endpoint: str) -> Iterator[None]:
    """Send spans as long as the collector takes them, and a few more whenever it does again."""
    with grpc.insecure_channel(endpoint) as channel:
        export = TraceServiceStub(channel).Export
        spans = _spans()
        with _repeated(lambda: _taken(export, spans), pause=lambda taken: 0 if taken else 0.5):
            yield


@contextmanager
def old_samples(endpoint: str) -> Iterator[None]:
    """Send samples of two hours ago, again and again, which Prometheus does not take any more."""
    with grpc.insecure_channel(endpoint) as channel:
        export = MetricsServiceStub(channel).Export
        with _repeated(lambda: _taken(export, _old_sample()), pause=lambda _taken: 0.2):
            yield


@contextmanager
def _repeated(do: Callable[[], bool], *, pause: Callable[[bool], float]) -> Iterator[None]:
    over = threading.Event()

    def run() -> None:
        while not over.wait(pause(do())):
            pass

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield
        finally:
            over.set()
    running.result()


def _spans() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    now = time.time_ns()
    for number in range(1, SPANS_AT_ONCE + 1):
        spans.add(
            name="flood",
            trace_id=number.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            start_time_unix_nano=now,
            end_time_unix_nano=now,
        )
    return request


def _old_sample() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="robin_test_late")
    metric.gauge.data_points.add(as_int=1, time_unix_nano=time.time_ns() - 7200 * NANOSECONDS)
    return request


def _taken(export: grpc.UnaryUnaryMultiCallable, request: object) -> bool:
    """Send something; a collector that has no room for it says so."""
    try:
        export(request, timeout=30)
    except grpc.RpcError as error:
        if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}:
            raise
        return False
    return True

"""otel-collector-tail.yaml on the real collector: which traces are kept, and that metrics know all of them."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.collector import CONFIG, TAIL_CONFIG, Collector, Sink, running_sink, wait_for
from tests.programs import binary

SECOND: Final = 1_000_000_000
KINDS: Final = ("plain", "failed", "slow", "marked")
EACH: Final = 25


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """What stands behind the collector."""
    with running_sink() as found:
        yield found


@pytest.fixture
def collector(sink: Sink, tmp_path: Path) -> Iterator[Collector]:
    """A collector with tail sampling."""
    found = Collector(
        binary("otelcol"),
        tmp_path,
        str(tmp_path / "none.json"),
        sink.http_port,
        sink.traces_port,
        configs=(CONFIG, TAIL_CONFIG),
    )
    found.start()
    yield found
    found.end()


def send(collector: Collector, run: int, *, root: bool = True) -> None:
    """Send traces of every kind, each a request with a step in it."""
    request = ExportTraceServiceRequest()
    scope = _scope(request)
    for number in range(EACH * len(KINDS)):
        _add_trace(scope.spans, (run << 32) + number + 1, KINDS[number % len(KINDS)], root=root)
    _export(collector, request)


def _scope(request: ExportTraceServiceRequest) -> Any:
    """Add a place for spans of the document API."""
    resource = request.resource_spans.add()
    resource.resource.attributes.append(
        KeyValue(key="service.name", value=AnyValue(string_value="document-api"))
    )
    scope = resource.scope_spans.add()
    scope.scope.name = "robin.document-api"
    return scope


def _export(collector: Collector, request: ExportTraceServiceRequest) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}") as channel:
        TraceServiceStub(channel).Export(request, timeout=10)


def _add_trace(spans: Any, number: int, kind: str, *, root: bool) -> None:
    trace_id, end = number.to_bytes(16, "big"), time.time_ns()
    first = spans.add(
        trace_id=trace_id,
        span_id=(2 * number).to_bytes(8, "big"),
        parent_span_id=b"" if root else (9).to_bytes(8, "big"),
        name=kind,
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=end - (2 * SECOND if kind == "slow" else SECOND // 100),
        end_time_unix_nano=end,
    )
    if kind == "failed":
        first.status.code = Status.STATUS_CODE_ERROR
    step = spans.add(
        trace_id=trace_id,
        span_id=(2 * number + 1).to_bytes(8, "big"),
        parent_span_id=first.span_id,
        name=f"{kind} step",
        start_time_unix_nano=end - SECOND // 100,
        end_time_unix_nano=end,
    )
    if kind == "marked":
        step.attributes.append(KeyValue(key="exemplar.keep", value=AnyValue(bool_value=True)))


def kept(sink: Sink, run: int) -> list[str]:
    """Return the names of the spans of a run that came through, sorted."""
    return sorted(
        span.name
        for request in list(sink.traces)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if int.from_bytes(span.trace_id, "big") >> 32 == run
    )


def calls(sink: Sink, name: str) -> float:
    """Return how many spans of a name the metrics know."""
    points = [
        point
        for request in list(sink.metrics)
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "traces.span.metrics.calls"
        for point in metric.sum.data_points
        if {each.key: each.value.string_value for each in point.attributes}.get("span.name") == name
    ]
    return max((point.as_int for point in points), default=0)


def instances(sink: Sink) -> set[str]:
    """Return by which instances the span metrics come."""
    return {
        each.value.string_value
        for request in list(sink.metrics)
        for resource in request.resource_metrics
        if any(
            metric.name.startswith("traces.") for scope in resource.scope_metrics for metric in scope.metrics
        )
        for each in resource.resource.attributes
        if each.key == "service.instance.id"
    }


WANTED: Final = sorted(
    [f"{kind}{part}" for kind in ("failed", "slow", "marked") for part in ("", " step") for _ in range(EACH)]
)


def test_errors_slow_traces_and_what_exemplars_point_to_are_kept_whole(
    collector: Collector, sink: Sink
) -> None:
    """And nothing else; the metrics count every span, those that were thrown away too, and say which collector does."""
    send(collector, 1)
    wait_for(lambda: len(kept(sink, 1)) >= len(WANTED), "the traces are decided on")
    assert kept(sink, 1) == WANTED
    for kind in KINDS:
        wait_for(lambda kind=kind: calls(sink, kind) == EACH, f"the metrics know all that are {kind}")
    assert instances(sink) == {"collector"}


def test_a_collector_that_is_stopped_decides_at_once(collector: Collector, sink: Sink) -> None:
    """What waited in memory is not lost."""
    send(collector, 2, root=False)  # would wait for 45 s
    collector.end()
    collector.start()
    wait_for(lambda: len(kept(sink, 2)) >= len(WANTED), "what waited came through")
    assert kept(sink, 2) == WANTED


def test_a_collector_that_is_killed_loses_what_it_had_not_decided_on(
    collector: Collector, sink: Sink
) -> None:
    """As the documents say: what was decided before is there, and what waited is gone."""
    send(collector, 3)
    wait_for(lambda: kept(sink, 3) == WANTED, "the first are decided on")
    send(collector, 4, root=False)
    collector.end(signal.SIGKILL)
    collector.start()
    send(collector, 5)
    wait_for(lambda: kept(sink, 5) == WANTED, "the next ones are decided on")
    assert kept(sink, 4) == []


def test_a_trace_whose_request_takes_longer_than_the_window_is_kept(sink: Sink, tmp_path: Path) -> None:
    """A step ends long before the request does: nothing is known of it then, and it is slow by then."""
    hurried = "yaml:processors::tail_sampling::decision_wait: 2s"
    collector = Collector(
        binary("otelcol"),
        tmp_path,
        str(tmp_path / "none.json"),
        sink.http_port,
        sink.traces_port,
        configs=(CONFIG, TAIL_CONFIG, hurried),
    )
    collector.start()
    request = ExportTraceServiceRequest()
    scope = _scope(request)
    scope.spans.add(
        trace_id=((6 << 32) + 1).to_bytes(16, "big"),
        span_id=b"\1" * 8,
        parent_span_id=b"\2" * 8,
        name="early",
    )
    _export(collector, request)
    wait_for(lambda: kept(sink, 6) == ["early"], "what was early is kept")
    send(collector, 6)  # the first of these traces is the same one, and plain
    wait_for(lambda: len(kept(sink, 6)) >= len(WANTED) + 3, "the rest is kept")
    collector.end()
    assert kept(sink, 6) == sorted([*WANTED, "early", "plain", "plain step"])


def test_the_files_are_valid_together() -> None:
    """What `validate` says, as a user would ask it."""
    command = [binary("otelcol"), "validate", "--config", CONFIG, "--config", TAIL_CONFIG]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

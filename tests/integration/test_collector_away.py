"""A collector that is away: what a service's queues cannot hold is counted to the last item, and stdout has every line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from observability.signals import TELEMETRY_DROPPED
from tests.collector import Collector, Sink, running_sink, wait_for
from tests.programs import binary

QUEUE: Final = 100
FEW, MANY = 30, 1000
# As many spans and log records as it is told, and an orderly end.
SENDER: Final = """\
import logging, sys
from observability.telemetry import Identity, configure
telemetry = configure(Identity("document-api", "1", "test", "test"), log_level="INFO", workers=1)
for line in sys.stdin:
    for number in range(int(line)):
        with telemetry.step(f"step {number}"):
            logging.getLogger("document_api").info("line %s", number)
    print("done", flush=True)
telemetry.shutdown()
"""


class Sender:
    """A service that makes spans and log records."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.made = 0
        self.lines = 0

    def make(self, items: int) -> None:
        """Let it make so many spans, with a log record in each, and read what it writes meanwhile."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{items}\n")
        self._process.stdin.flush()
        while (line := self._process.stdout.readline()) != "done\n":
            self.lines += json.loads(line)["logger"] == "document_api"
        self.made += items


@contextmanager
def sending(port: int) -> Iterator[Sender]:
    """Run a service with short queues that sends to this port."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        **{f"OTEL_{each}_MAX_QUEUE_SIZE": str(QUEUE) for each in ("BSP", "BLRP")},
        **{f"OTEL_{each}_MAX_EXPORT_BATCH_SIZE": "10" for each in ("BSP", "BLRP")},
        **{f"OTEL_{each}_SCHEDULE_DELAY": "50" for each in ("BSP", "BLRP")},
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SENDER],
        cwd=Path(__file__).parents[2],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Sender(process)
    finally:
        process.communicate(timeout=30)


def stored(sink: Sink) -> tuple[int, int]:
    """Return how many of its spans and log records came through, of each one once."""
    spans = {
        span.span_id
        for request in list(sink.traces)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
    return len(spans), len({each.span_id for each in sink.records() if each.body.startswith("line ")})


def dropped(sink: Sink) -> dict[str, int]:
    """Return what the service last said that it lost, by signal."""
    counted: dict[tuple[str, str], int] = {}
    for request in list(sink.metrics):
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == TELEMETRY_DROPPED.name:
                        for point in metric.sum.data_points:
                            labels = {each.key: each.value.string_value for each in point.attributes}
                            counted[labels["signal"], labels["reason"]] = int(point.as_double or point.as_int)
    return {
        kind: sum(count for (signal_, _), count in counted.items() if signal_ == kind)
        for kind in ("traces", "logs")
    }


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_what_the_queues_drop_is_counted_exactly(tmp_path: Path, how: signal.Signals) -> None:
    """Stored and dropped are together all that was made, once the collector is back; every line is on stdout."""
    with running_sink() as sink:
        collector = Collector(
            binary("otelcol"), tmp_path, str(tmp_path / "none.json"), sink.http_port, sink.traces_port
        )
        collector.start()
        with sending(collector.grpc_port) as sender:
            sender.make(FEW)
            wait_for(lambda: stored(sink) == (FEW, FEW), "what is made while all is well comes through")
            collector.end(how)
            sender.make(MANY)
            collector.start()
            sender.make(FEW)

            def accounts() -> bool:
                spans, records = stored(sink)
                lost = dropped(sink)
                return (spans + lost["traces"], records + lost["logs"]) == (sender.made, sender.made)

            wait_for(accounts, f"the accounts are right: {sender.made} made")
        collector.end()

    assert sender.lines == sender.made
    assert all(MANY - QUEUE - 2 * 10 <= lost <= MANY for lost in dropped(sink).values())

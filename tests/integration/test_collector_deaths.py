"""Collectors that are killed, and files and stores that change meanwhile: every line arrives."""

import signal
import threading
from pathlib import Path

from tests.collector import Collector, access_line, append, one_record, running_sink, wait_for
from tests.ports import free_port
from tests.programs import binary


def test_lines_that_are_written_while_it_is_killed_again_and_again_all_arrive(tmp_path: Path) -> None:
    """None counts as sent before it lies in the queue; of those that were just read, some may come twice."""
    written: list[str] = []
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.005):
            append(collector.access_log, access_line(f"line {len(written)}"))
            written.append(f"line {len(written)}")

    with running_sink() as sink:
        collector = Collector(
            binary("otelcol"), tmp_path, str(tmp_path / "no.json"), sink.http_port, sink.traces_port
        )
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(5):
                collector.start()
                until = len(written) + 100
                wait_for(lambda until=until: len(written) > until, "more is written")
                collector.end(signal.SIGKILL)
        finally:
            over.set()
            writer.join()
        collector.start()
        arrived = wait_for(
            lambda: {record.body for record in sink.records()} >= set(written),
            lambda: f"lost: {len(set(written) - {record.body for record in sink.records()})}",
        )
        collector.end()
    assert arrived


def test_the_rest_of_a_file_that_is_rotated_while_the_collector_is_away_arrives(tmp_path: Path) -> None:
    """As supervisor does it: the file gets another name, and a new one begins."""
    with running_sink() as sink:
        collector = Collector(
            binary("otelcol"), tmp_path, str(tmp_path / "no.json"), sink.http_port, sink.traces_port
        )
        append(collector.access_log, access_line("before"))
        collector.start()
        one_record(sink, "nginx", lambda record: record.body == "before")
        collector.end()
        append(collector.access_log, access_line("away"))
        collector.access_log.rename(f"{collector.access_log}.1")
        append(collector.access_log, access_line("after"))
        collector.start()
        wait_for(lambda: len(sink.records()) >= 3, "all lines arrive")
        collector.end()
        assert sorted(record.body for record in sink.records()) == ["after", "away", "before"]


def test_nothing_is_lost_or_doubled_when_store_and_collector_die(tmp_path: Path) -> None:
    """Lines read while the store is away lie on disk, also for the collector that comes after a kill -9."""
    collector = Collector(binary("otelcol"), tmp_path, str(tmp_path / "no.json"), free_port(), free_port())
    append(collector.access_log, *(access_line(f"before {i}") for i in range(50)))
    try:
        collector.start()
        append(collector.access_log, *(access_line(f"during {i}") for i in range(50)))
        wait_for(lambda: collector.accepted_lines() == 100, "the collector takes what is there")
        collector.end(signal.SIGKILL)
        append(collector.access_log, *(access_line(f"after {i}") for i in range(50)))
        with running_sink(collector.http_port) as sink:
            collector.start()
            wait_for(lambda: len(sink.records()) >= 150, "all lines arrive")
            append(collector.access_log, access_line("last"))
            one_record(sink, "nginx", lambda record: record.body == "last")
            bodies = [record.body for record in sink.records()]
            collector.end()
    finally:
        collector.end(signal.SIGKILL)
    expected = [f"{when} {i}" for when in ("before", "during", "after") for i in range(50)]
    assert sorted(bodies) == sorted([*expected, "last"])

"""Batches go out in time, and what they lose is counted."""

import threading
from collections.abc import Sequence

import pytest

from observability.batches import Batches, LogExporter, SpanExporter
from observability.otlp import Envelope
from observability.telemetry import Identity
from tests.waiting import eventually

ENDLESS = 3600.0


class Collector:
    """Takes batches, when it is told to."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.batches: list[list[bytes]] = []
        self.closed = False

    def send(self, items: Sequence[bytes]) -> bool:
        """Take a batch once the gate is open."""
        self.begun.set()
        self.gate.wait()
        self.batches.append(list(items))
        return self.takes

    def shutdown(self) -> None:
        """Close."""
        self.closed = True


class Lost(dict[str, int]):
    """What was dropped, by reason."""

    def __call__(self, items: int, reason: str) -> None:
        """Count."""
        self[reason] = self.get(reason, 0) + items


@pytest.fixture
def lost() -> Lost:
    """A fresh count."""
    return Lost()


@pytest.fixture
def envelope(monkeypatch: pytest.MonkeyPatch) -> Envelope:
    """What stands around the items of an exporter that reaches nobody and does not insist."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.05")
    return Envelope(Identity("s", "1", "i", "test").resource(), "scope", "1")


def batches(collector: Collector, lost: Lost, *, queue: int = 4, delay_seconds: float = ENDLESS) -> Batches:
    """Return batches of two."""
    return Batches(collector, queue=queue, batch=2, delay_seconds=delay_seconds, dropped=lost)


def test_a_full_batch_goes_out_at_once(lost: Lost) -> None:
    """It does not wait for the delay."""
    collector = Collector()
    sent = batches(collector, lost)

    sent.put(b"1")
    sent.put(b"2")

    eventually(lambda: collector.batches == [[b"1", b"2"]], "the batch")
    sent.shutdown()


def test_a_batch_that_does_not_fill_goes_out_after_the_delay(lost: Lost) -> None:
    """The last span of a quiet hour is seen as well."""
    collector = Collector()
    sent = batches(collector, lost, delay_seconds=0.01)

    sent.put(b"1")

    eventually(lambda: collector.batches == [[b"1"]], "the item")
    sent.shutdown()


def test_the_end_sends_what_waits_and_closes(lost: Lost) -> None:
    """In order, and nothing is lost."""
    collector = Collector()
    sent = batches(collector, lost)
    sent.put(b"1")

    sent.shutdown()

    assert (collector.batches, collector.closed, lost) == ([[b"1"]], True, {})


def test_a_batch_is_never_larger_than_the_collector_takes(lost: Lost) -> None:
    """Long stacks go out in several messages."""
    collector = Collector()
    sent = Batches(collector, queue=100, batch=100, delay_seconds=ENDLESS, dropped=lost)
    for _ in range(8):
        sent.put(bytes(1024 * 1024))

    sent.shutdown()

    assert [len(batch) for batch in collector.batches] == [2, 2, 2, 2]


def test_what_comes_while_a_batch_is_sent_waits_for_the_next(lost: Lost) -> None:
    """Else each batch would be as small as the last one was quick."""
    collector = Collector()
    sent = batches(collector, lost, queue=100)

    def send(items: Sequence[bytes]) -> bool:
        collector.batches.append(list(items))
        if len(collector.batches) < 5:
            sent.put(b"late")
        return True

    collector.send = send  # type: ignore[method-assign]
    sent.put(b"1")
    sent.put(b"2")
    eventually(lambda: collector.batches, "the batch")

    assert collector.batches == [[b"1", b"2"]]
    sent.shutdown()
    assert collector.batches == [[b"1", b"2"], [b"late"]]


def test_items_that_find_the_queue_full_push_the_oldest_out(lost: Lost) -> None:
    """With two items in the exporter's hands and four waiting, the seventh and later are counted."""
    collector = Collector()
    collector.gate.clear()
    sent = batches(collector, lost)
    for number in range(2):
        sent.put(b"sent %d" % number)
    assert collector.begun.wait(5)

    for number in range(4 + 3):
        sent.put(b"%d" % number)

    assert lost == {"queue_full": 3}
    collector.gate.set()
    sent.shutdown()
    assert [item for batch in collector.batches[1:] for item in batch] == [b"3", b"4", b"5", b"6"]


def test_items_of_a_failing_export_are_counted(lost: Lost) -> None:
    """The exporter gave up: the batch is lost, and known to be."""
    sent = batches(Collector(takes=False), lost)
    for _ in range(3):
        sent.put(b"lost")

    sent.shutdown()

    assert lost == {"export_failed": 3}


def test_an_exporter_that_throws_loses_its_batch_and_nothing_else(
    lost: Lost, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread lives on, and says what happened."""
    collector = Collector()

    def fail(_items: Sequence[bytes]) -> bool:
        del collector.send  # type: ignore[method-assign]  # the next one works
        raise RuntimeError("broken")

    collector.send = fail  # type: ignore[method-assign]
    sent = batches(collector, lost)
    for _ in range(3):
        sent.put(b"item")

    sent.shutdown()

    assert lost == {"export_failed": 2}
    assert collector.batches == [[b"item"]]
    assert "Telemetry could not be exported" in caplog.messages


def test_items_after_the_end_are_counted(lost: Lost) -> None:
    """Too late is lost as well."""
    sent = batches(Collector(), lost)
    sent.shutdown()

    sent.put(b"late")

    assert lost == {"already_shutdown": 1}


@pytest.mark.parametrize("exporter", [SpanExporter, LogExporter])
def test_the_real_exporters_say_that_nobody_took_a_batch(
    exporter: type[SpanExporter | LogExporter], envelope: Envelope
) -> None:
    """The collector is away, and the deadline passes."""
    away = exporter(envelope)

    assert away.send([b""]) is False

    away.shutdown()

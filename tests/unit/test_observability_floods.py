"""A flood of log records is limited at its source, counted and told, and hides nothing of another level."""

import io
import json
import logging
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from observability import Identity
from observability.floods import FloodGuard
from observability.signals import TELEMETRY_DROPPED
from observability.telemetry import build
from tests.telemetry_spy import Kept, TelemetrySpy

logger = logging.getLogger("document_api.test")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def passed(guard: FloodGuard, records: int) -> int:
    """Return how many of so many INFO records pass."""
    return sum(guard.admit(logging.INFO) is not None for _ in range(records))


def test_so_many_pass_at_once_and_then_at_their_rate() -> None:
    """Two seconds' worth, then no more than the rate."""
    clock = Clock()
    guard = FloodGuard(10, clock)
    assert passed(guard, 100) == 20
    clock.now = 1.0
    assert passed(guard, 100) == 10


def test_what_is_withheld_is_told_once() -> None:
    """Then it is counted anew."""
    clock = Clock()
    guard = FloodGuard(1, clock)
    passed(guard, 10)
    clock.now = 2.0
    assert (guard.admit(logging.INFO), guard.admit(logging.INFO)) == (8, 0)


@pytest.mark.parametrize(
    ("flood", "other"),
    [
        (logging.INFO, logging.ERROR),
        (logging.INFO, logging.WARNING),
        (logging.ERROR, logging.INFO),
        (logging.WARNING, logging.CRITICAL),
    ],
)
def test_a_flood_of_one_level_hides_nothing_of_another(flood: int, other: int) -> None:
    """Each class has its own rate."""
    guard = FloodGuard(5, Clock())
    for _ in range(1000):
        guard.admit(flood)
    assert guard.admit(flood) is None
    assert guard.admit(other) == 0


@pytest.fixture
def flooded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Telemetry that writes two records at once, and what it wrote to stdout."""
    written, root = io.StringIO(), logging.getLogger()
    monkeypatch.setattr("sys.stdout", written)
    handlers, level, reader = root.handlers, root.level, InMemoryMetricReader()
    identity = Identity("service-under-test", "1.0.0", "test:0", "test")
    telemetry = build(identity, metric_reader=reader, spans=Kept, logs=Kept, log_records_per_second=1)
    yield TelemetrySpy(telemetry, reader), written
    root.handlers, root.level = handlers, level


def test_a_flood_is_counted_and_told_in_one_line(flooded: tuple[TelemetrySpy, io.StringIO]) -> None:
    """On stdout and by OTLP alike, as a warning, with the next record that passes."""
    spy, written = flooded
    for number in range(50):
        logger.info("Record %s", number)
    logging.getLogger().handlers[0]._guard._others._tokens = 1  # type: ignore[attr-defined]
    logger.info("After the flood")

    assert spy.series(TELEMETRY_DROPPED) == {("logs", "flood"): 48}
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    told = "48 log records of INFO and its like were withheld: too many came"
    messages = ["Record 0", "Record 1", told, "After the flood"]
    assert [line["log_message"] for line in lines] == messages == spy.messages()
    assert lines[2]["level"] == "WARNING"

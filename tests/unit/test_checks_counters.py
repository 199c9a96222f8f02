"""Rises of counters over instances, and the comparison with what was sent."""

from collections import Counter

from observability_checks.counters import Series, differences, reading, rise
from telemetry_queries.models import Sample


def sample(value: float, instance: str = "a", path: str = "/x") -> Sample:
    """One time series as Prometheus answers it."""
    return Sample({"__name__": "http_requests_total", "instance": instance, "path": path}, value)


def by_path(labels: dict[str, str]) -> Series:
    """Sum over instances."""
    return Series("http_requests_total", "document-api", (labels["path"],))


X = Series("http_requests_total", "document-api", ("/x",))
Y = Series("http_requests_total", "document-api", ("/y",))


def risen(before: list[Sample], after: list[Sample]) -> Counter[Series]:
    """Rise between two answers."""
    return rise(reading(before), reading(after), by_path)


def test_the_rise_is_summed_over_instances():
    """Two instances share the load: what counts is what both rose."""
    assert risen([sample(10, "a"), sample(5, "b")], [sample(12, "a"), sample(6, "b")]) == {X: 3}


def test_a_series_that_appears_new_counts_from_zero():
    """The first request of an instance makes the series, and must not be lost."""
    assert risen([sample(10, "a")], [sample(10, "a"), sample(4, "b")]) == {X: 4}


def test_a_counter_that_was_reset_counts_from_zero():
    """An instance that was restarted begins again; its rise is never negative."""
    assert risen([sample(100)], [sample(3)]) == {X: 3}


def test_a_series_that_vanished_adds_nothing():
    """An instance that is gone from Prometheus is no fall of the counter."""
    assert risen([sample(10, "a"), sample(7, "b")], [sample(11, "a")]) == {X: 1}


def test_counters_that_did_not_move_are_left_out():
    """Only what rose is compared."""
    assert risen([sample(10)], [sample(10)]) == {}


def test_an_equal_rise_has_no_differences():
    """What was sent was counted."""
    assert differences({X: 3}, Counter({X: 3})) == []


def test_a_counter_off_by_one_is_named_with_both_numbers():
    """One request too few is a failure that says which counter, what was expected and what was found."""
    (line,) = differences({X: 3}, Counter({X: 2}))
    assert line == "http_requests_total document-api /x: expected a rise of 3, found 2"


def test_a_rise_beyond_what_was_sent_asks_for_other_traffic():
    """Counters do not know the sender, so the message says what else can be the reason."""
    line, hint = differences({X: 3}, Counter({X: 4}))
    assert line.endswith("expected a rise of 3, found 4")
    assert "other traffic" in hint


def test_a_counter_that_nothing_was_sent_to_must_not_rise():
    """A label that should not exist is found, not ignored."""
    assert differences({X: 1}, Counter({X: 1, Y: 1}))[0] == (
        "http_requests_total document-api /y: expected a rise of 0, found 1"
    )

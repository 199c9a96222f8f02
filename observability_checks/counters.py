"""Counters of several instances: how much they rose between two readings, and whether that is what was sent."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from telemetry_queries.models import Sample

LabelSet = frozenset[tuple[str, str]]
Reading = Mapping[LabelSet, float]


class Series(NamedTuple):
    """One counter of the contract, summed over the instances of a service."""

    metric: str
    service: str
    labels: tuple[str, ...]

    def __str__(self) -> str:
        """As it is written in messages."""
        return f"{self.metric} {' '.join((self.service, *self.labels))}"


def reading(samples: Iterable[Sample]) -> Reading:
    """Index samples by all their labels: one entry for each time series."""
    return {frozenset(sample.labels.items()): sample.value for sample in samples}


def rise(before: Reading, after: Reading, key: Callable[[Mapping[str, str]], Series]) -> Counter[Series]:
    """Sum the rise of every time series by `key`; a new series counts from 0, and so does one that was reset."""
    risen: Counter[Series] = Counter()
    for labels, value in after.items():
        start = before.get(labels, 0.0)
        risen[key(dict(labels))] += round(value - start if value >= start else value)
    return +risen


def differences(expected: Mapping[Series, int], risen: Mapping[Series, int]) -> Sequence[str]:
    """One line for each counter whose rise is not what was sent, and what else can be the reason."""
    wrong = [
        (series, expected.get(series, 0), risen.get(series, 0))
        for series in sorted({*expected, *risen})
        if expected.get(series, 0) != risen.get(series, 0)
    ]
    lines = [f"{series}: expected a rise of {sent}, found {found}" for series, sent, found in wrong]
    if any(found > sent for _, sent, found in wrong):
        lines.append("is there other traffic on this stack? a counter does not know who sent a request")
    return lines

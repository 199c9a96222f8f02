"""Figures of a load: rate, percentiles, error rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], percent: float) -> float:
    """Smallest value that at least `percent` of the values do not exceed (nearest rank)."""
    if not values:
        return math.nan
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a load measured."""

    requests: int
    errors: int
    seconds: float
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, latencies: Sequence[float], *, errors: int, seconds: float) -> "Figures":
        """Summarise the latencies of all requests, failed ones included."""
        p50, p95, p99 = (percentile(latencies, percent) for percent in (50, 95, 99))
        return cls(len(latencies), errors, seconds, p50, p95, p99)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def error_share(self) -> float:
        """Share of requests that failed, 0 to 1."""
        return self.errors / self.requests if self.requests else 1.0

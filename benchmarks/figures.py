"""The arithmetic of the results: medians, ratios, and whether the machine was quiet enough to believe them."""

from collections.abc import Mapping, Sequence
from math import ceil
from statistics import median

# Beyond these a comparison is not to be relied upon.
WIDEST_SPREAD = 0.15
MOST_FOREIGN_CPU = 0.10
WIDEST_LOOP_SPREAD = 0.10


def spread(values: Sequence[float]) -> float:
    """Return how far apart the rounds are, as a share of their median; 0 where nothing was measured."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def ratio(value: float, base: float) -> float | None:
    """Return how many times the base a value is, None where the base is nothing."""
    return value / base if base else None


def at_least(value: float | None, goal: float) -> str:
    """Say whether a goal is met from which on more is better."""
    return "met" if value is not None and value >= goal else "not met"


def at_most(value: float | None, goal: float) -> str:
    """Say whether a goal is met up to which less is better."""
    return "met" if value is not None and value <= goal else "not met"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share of the values does not exceed."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def noise(
    rates: Mapping[str, Sequence[float]], foreign_cpu: Sequence[float], loop_ms: Sequence[float]
) -> list[str]:
    """Return why the figures are not to be relied upon, nothing when they are.

    `rates` are each side's rounds; of each round, `foreign_cpu` is the share of the machine that others used, `loop_ms`
    the time of a fixed piece of work.
    """
    reasons = [
        f"{side}: its rounds are {spread(values):.0%} apart (bound: {WIDEST_SPREAD:.0%})"
        for side, values in rates.items()
        if spread(values) > WIDEST_SPREAD
    ]
    worst = max(foreign_cpu, default=0.0)
    if worst > MOST_FOREIGN_CPU:
        reasons.append(f"others used {worst:.0%} of the machine in a round (bound: {MOST_FOREIGN_CPU:.0%})")
    if loop_ms and spread(loop_ms) > WIDEST_LOOP_SPREAD:
        reasons.append(
            f"the machine's own speed changed by {spread(loop_ms):.0%} (bound: {WIDEST_LOOP_SPREAD:.0%})"
        )
    if any(len(values) < 2 for values in rates.values()):  # noqa: PLR2004
        reasons.append("one round says nothing of the spread")
    return reasons

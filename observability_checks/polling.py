"""Waiting for telemetry: ask until nothing is missing or the deadline is over, never sleep blindly."""

import time
from collections.abc import Callable, Sequence

import httpx

from telemetry_queries.failures import describe

_INTERVAL_SECONDS = 0.2

Problems = Sequence[str]


class Deadline:
    """A point in time until which asking again makes sense; one deadline serves all questions of a phase."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self._clock() >= self._end


def wait_until_none(
    problems: Callable[[], Problems],
    deadline: Deadline,
    *,
    pause: Callable[[float], object] = time.sleep,
) -> Problems:
    """Return no problems as soon as there are none, else those of the last question, asked at or after the end."""
    while True:
        last_try = deadline.over
        found = _ask(problems)
        if not found or last_try:
            return found
        pause(_INTERVAL_SECONDS)


def _ask(problems: Callable[[], Problems]) -> Problems:
    """Count a back end that does not answer as a problem: it may answer the next time."""
    try:
        return problems()
    except httpx.HTTPError as error:
        return [describe(error)]

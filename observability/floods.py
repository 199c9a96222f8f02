"""A flood of log records is limited where it begins: each class of levels has a rate of its own, so none drowns another."""

import logging
import time
from collections.abc import Callable
from typing import Final

# So many seconds of the rate may come at once.
_BURST_SECONDS: Final = 2.0


class FloodGuard:
    """Lets so many records of ERROR and above, of WARNING, and of all below pass in a second; for one thread at a time."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._errors, self._warnings, self._others = (_Bucket(per_second, clock) for _ in range(3))

    def admit(self, level: int) -> int | None:
        """Return how many of a record's class were withheld since the last one that passed; None where this one is, too."""
        if level < logging.WARNING:
            return self._others.take()
        return self._errors.take() if level >= logging.ERROR else self._warnings.take()


class _Bucket:
    """A token bucket, which is full after two quiet seconds."""

    __slots__ = ("_clock", "_filled", "_most", "_rate", "_tokens", "_withheld")

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._rate = per_second
        self._most = max(1.0, per_second * _BURST_SECONDS)
        self._clock = clock
        self._tokens = self._most
        self._filled = clock()
        self._withheld = 0

    def take(self) -> int | None:
        """Take a token and return how often there was none before; None where there is none."""
        now = self._clock()
        tokens = self._tokens + (now - self._filled) * self._rate
        self._filled = now
        if tokens < 1:
            self._tokens = tokens
            self._withheld += 1
            return None
        self._tokens = (min(self._most, tokens)) - 1
        withheld, self._withheld = self._withheld, 0
        return withheld

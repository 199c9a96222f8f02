"""A flood of log records is limited where it begins: each class of levels has a rate of its own, so none drowns another."""

import logging
import time
from collections.abc import Callable
from typing import Final

# From each of these levels on a class begins: an ERROR is told however many INFO lines there are, and the other way round.
_CLASSES: Final = (logging.ERROR, logging.WARNING, logging.NOTSET)
# So many seconds of the rate may come at once.
_BURST_SECONDS: Final = 2.0


class FloodGuard:
    """Lets so many records of each class pass in a second; to be asked by one thread at a time."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._classes = {level: _Bucket(per_second, clock) for level in _CLASSES}

    def passes(self, level: int) -> bool:
        """Count a record, and tell whether it may be written."""
        return self._bucket(level).take()

    def withheld(self, level: int) -> int:
        """Return how many of a level's class were not written since this was asked last."""
        bucket = self._bucket(level)
        withheld, bucket.withheld = bucket.withheld, 0
        return withheld

    def _bucket(self, level: int) -> "_Bucket":
        return self._classes[next(least for least in _CLASSES if level >= least)]


class _Bucket:
    """A token bucket, which is full after two quiet seconds."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._rate = per_second
        self._most = max(1.0, per_second * _BURST_SECONDS)
        self._clock = clock
        self._tokens = self._most
        self._filled = clock()
        self.withheld = 0

    def take(self) -> bool:
        """Take a token, where there is one."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1:
            self.withheld += 1
            return False
        self._tokens -= 1
        return True

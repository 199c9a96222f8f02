"""A circuit breaker: whoever fails again and again is left alone, and asked now and then whether it works again."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

_FAILURES: Final = 5
_OPEN_SECONDS: Final = 1.0


class State(StrEnum):
    """What becomes of a call: it passes, it is the one that probes, or it is refused."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class CircuitOpenError(Exception):
    """The call was not made; another one may be after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.retry_after_seconds = max(1, math.ceil(seconds))


class Circuit:
    """Opens after some failures in a row. Then one call at a time probes, a while after the last that failed.

    `failed` tells of an exception whether it is a failure, None where it teaches nothing: all others are answers.
    """

    def __init__(
        self,
        failed: Callable[[Exception], bool | None],
        on_change: Callable[[State], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failed = failed
        self._on_change = on_change
        self._clock = clock
        self._failures = 0  # in a row
        self._probe_at: float | None = None  # None while it is closed
        self._probing = False

    @property
    def state(self) -> State:
        """Return what would become of a call now; half open as well while one probes."""
        if self._probe_at is None:
            return State.CLOSED
        return State.HALF_OPEN if self._probing or self._clock() >= self._probe_at else State.OPEN

    @property
    def is_closed(self) -> bool:
        """Tell whether every call passes."""
        return self._probe_at is None

    def check(self) -> None:
        """Raise CircuitOpenError where a call would be refused."""
        if self._probe_at is None:
            return
        wait = self._probe_at - self._clock()
        if self._probing or wait > 0:
            raise CircuitOpenError(wait)

    def probe_soon(self) -> None:
        """Let the next call probe: there is reason to believe that it will be answered."""
        if self._probe_at is not None:
            self._probe_at = self._clock()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Let the block's call pass and learn from how it ends; raises CircuitOpenError.

        A call that is cancelled teaches nothing.
        """
        self.check()
        probes = self._probing = self._probe_at is not None
        try:
            yield
        except Exception as error:
            failed = self._failed(error)
            if failed:
                self._note_failure(probes=probes)
            elif failed is not None:
                self._note_answer()
            raise
        else:
            self._note_answer()
        finally:
            if probes:
                self._probing = False

    def _note_answer(self) -> None:
        self._failures = 0
        if self._probe_at is not None:
            self._probe_at = None
            self._on_change(State.CLOSED)

    def _note_failure(self, *, probes: bool) -> None:
        self._failures += 1
        if probes:
            self._probe_at = self._clock() + _OPEN_SECONDS
        elif self._probe_at is None and self._failures >= _FAILURES:
            self._probe_at = self._clock() + _OPEN_SECONDS
            self._on_change(State.OPEN)

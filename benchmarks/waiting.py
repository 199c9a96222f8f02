"""Waiting for something to happen, or to stop happening."""

import time
from collections.abc import Callable
from typing import TypeVar

from benchmarks.errors import BenchmarkError

POLL_SECONDS = 0.2
LONGEST_SECONDS = 60.0

Seen = TypeVar("Seen")


def settled(read: Callable[[], Seen], quiet_seconds: float) -> Seen:
    """Return what is read once it has not changed for so long."""
    began = changed = time.monotonic()
    seen = read()
    while time.monotonic() - changed < quiet_seconds:
        if time.monotonic() - began > LONGEST_SECONDS:
            raise BenchmarkError(f"it still changes after {LONGEST_SECONDS:.0f} s: {seen}")
        time.sleep(POLL_SECONDS)
        if (now := read()) != seen:
            seen, changed = now, time.monotonic()
    return seen

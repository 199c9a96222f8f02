"""What the person in front of the terminal sees: on stderr, as the archive itself may go to stdout."""

import sys
import time
from typing import Final

_EVERY_SECONDS: Final = 10.0


class Counted:
    """Something that takes long, one thing after the other."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._told = time.monotonic()

    def advance(self) -> None:
        """Note one thing more, and tell of it now and then."""
        self._done += 1
        if time.monotonic() - self._told >= _EVERY_SECONDS:
            self._told = time.monotonic()
            Progress.line(f"{self._done} of {self._total} files")


class Progress:
    """Writes lines."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._start

    @staticmethod
    def line(text: str) -> None:
        """Write a line."""
        sys.stderr.write(f"{text}\n")

    @staticmethod
    def of(total: int) -> Counted:
        """Begin to count files."""
        return Counted(total)

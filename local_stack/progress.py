"""What the person in front of the terminal sees: one line for each step, with the time since the start."""

import os
import sys
import time

SLOW_LINE_SECONDS = 30.0


class Progress:
    """Writes lines to stdout; a running step rewrites its own line where there is a terminal."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._last_line = self._start

    def line(self, text: str = "") -> None:
        """Write a line as it is."""
        self._write(f"{text}\n")

    def step(self, text: str) -> None:
        """Write what has just been reached."""
        self._last_line = time.monotonic()
        self._write(f"{self._clear()}[{time.monotonic() - self._start:6.1f} s] {text}\n")

    def tick(self, text: str) -> None:
        """Show that something is still going on."""
        now = time.monotonic()
        if self._terminal:
            self._write(f"{self._clear()}[{now - self._start:6.1f} s] {text} ...")
        elif now - self._last_line >= SLOW_LINE_SECONDS:
            self.step(f"{text} ...")

    def _clear(self) -> str:
        return "\r\x1b[2K" if self._terminal else ""

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has seen enough (| head): the work goes on unseen.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""Waiting with a deadline: the one place where tests sleep."""

import subprocess
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

_DEADLINE_SECONDS: Final = 10.0
Found = TypeVar("Found")


def eventually(
    look: Callable[[], Found],
    what: str | Callable[[], str] = "something is found",
    *,
    seconds: float = _DEADLINE_SECONDS,
) -> Found:
    """Return what `look` finds as soon as that is something; fail when the deadline passes first."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() >= deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds} s: {said}; at last: {found!r}")
        time.sleep(0.02)
    return found


def until_up(process: subprocess.Popen[Any], is_up: Callable[[], object], *, seconds: float) -> None:
    """Wait until a program that was started is up; fail as soon as it has ended, with what it said."""
    eventually(lambda: process.poll() is not None or is_up(), f"{process.args!r} is up", seconds=seconds)
    assert process.poll() is None, f"{process.args!r} ended: {process.communicate()[0]}"

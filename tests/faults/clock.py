"""Another wall clock for the services and PostgreSQL of a stack, without touching the machine's.

A preloaded library (clock.c) answers every question for the time of day with a shift; timers and the dates of files stay.
The programs written in Go ask the kernel by themselves: their clocks stay right, and nginx's is left alone.
"""

import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from local_stack.state import State
from tests.e2e.conftest import RunningStack
from tests.waiting import eventually

SHIFT_SECONDS: Final = 3600
_SOURCE: Final = Path(__file__).with_name("clock.c")
_PROGRAMS: Final = ("postgres", "data_store*", "document_api*")
_START_SECONDS: Final = 60


def build(folder: Path) -> Path:
    """Compile the library into a folder, and return it; needs a C compiler."""
    library = folder / "clock.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, _SOURCE], check=True)
    library.chmod(0o755)  # PostgreSQL runs as another user
    return library


def environment(library: Path, shift: Path) -> dict[str, str]:
    """Return what gives a process the clock that is shifted by what a file says."""
    return {"LD_PRELOAD": str(library), "ROBIN_TEST_CLOCK": str(shift)}


def set_to(shift: Path, seconds: int) -> None:
    """Let a clock jump: the file is mapped by those who use it, so it is written in place."""
    with shift.open("r+b" if shift.exists() else "wb") as file:
        file.write(struct.pack("q", seconds * 1_000_000_000))


@contextmanager
def shiftable(stack: RunningStack) -> Iterator[None]:
    """Start services and PostgreSQL with a clock that can be shifted; afterwards with the machine's."""
    shift = _shift(stack)
    set_to(shift, 0)
    shift.chmod(0o644)
    given = ",".join(f'{name}="{value}"' for name, value in environment(build(stack.state), shift).items())
    programs = stack.state / "config" / "supervisor.d"
    files = [file for pattern in _PROGRAMS for file in programs.glob(f"{pattern}.conf")]
    for file in files:
        file.write_text(file.read_text().replace("\nenvironment=", f"\nenvironment={given},"))
    try:
        _restart(stack, [file.stem for file in files])
        yield
    finally:
        stack.up()


@contextmanager
def jump(stack: RunningStack) -> Iterator[None]:
    """Let their clocks jump ahead, and back at the end; proven by what services take the time to be."""
    set_to(_shift(stack), SHIFT_SECONDS)
    try:
        for service in _services(stack):
            assert (_ahead(service) or 0) > SHIFT_SECONDS / 2, f"the clock of {service} has not jumped"
        yield
    finally:
        set_to(_shift(stack), 0)


def _shift(stack: RunningStack) -> Path:
    return stack.state / "clock.shift"


def _services(stack: RunningStack) -> list[str]:
    return [*stack.endpoints["document_api"], stack.endpoints["data_store"]]


def _restart(stack: RunningStack, programs: list[str]) -> None:
    """Let supervisor take what it is told anew, and wait until all services are well."""
    supervisor = f"unix://{State(stack.state).supervisor_socket}"
    for order in (["update"], ["start", *programs]):
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-s", supervisor, *order]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for service in _services(stack):
        eventually(partial(_well, service), f"{service} is well", seconds=_START_SECONDS)


def _well(service: str) -> bool:
    return _ahead(service) is not None


def _ahead(service: str) -> float | None:
    """Return by how many seconds a service's clock is ahead; None while it is not well."""
    with suppress(httpx.TransportError):
        answer = httpx.get(f"{service}/health", timeout=5, trust_env=False)
        if answer.status_code == httpx.codes.OK:
            told = datetime.fromisoformat(answer.json()["timestamp"])
            return (told - datetime.now(UTC)).total_seconds()
    return None

"""Steady load for a long time: what every process holds stays as it is, or grows and is told."""

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import psutil

from local_stack.state import State
from local_stack.supervision import Supervisor
from tests.e2e.conftest import RunningStack
from tests.faults.load import Load, steady

EVERY_SECONDS: Final = 10.0
# Of the value in the middle, over the second half: what a garbage collector or a pool may do by itself.
_SHARE: Final = 0.1
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Held:
    """What a program with all its processes holds, or a queue takes of the disk."""

    memory_bytes: int = 0
    files: int = 0
    connections: int = 0
    threads: int = 0


# Growth that is none, whatever the value is.
_ALWAYS: Final = Held(memory_bytes=16 * MIB, files=8, connections=8, threads=4)


@dataclass(frozen=True, slots=True)
class Growth:
    """How one of the values of a program goes from the middle to the end, by the line through its second half."""

    program: str
    value: str
    middle: float
    end: float

    @property
    def flat(self) -> bool:
        """Whether it grows by no more than what is none."""
        most: float = max(_SHARE * self.middle, getattr(_ALWAYS, self.value))
        return self.end - self.middle <= most


@dataclass(frozen=True, slots=True)
class Soak:
    """What a soak has shown."""

    seconds: float
    statuses: Mapping[int, int]
    growths: Sequence[Growth]

    @property
    def broken(self) -> list[str]:
        """Return what grows."""
        return [f"{each.program}: {each.value} grows" for each in self.growths if not each.flat]


def soak(stack: RunningStack, seconds: float) -> Soak:
    """Send requests for so long, and look at every process now and then."""
    samples: list[Mapping[str, Held]] = []
    deadline = time.monotonic() + seconds
    with steady(stack.endpoints["nginx"], f"soak-{time.time():.0f}") as load:
        while time.monotonic() < deadline:
            time.sleep(min(EVERY_SECONDS, max(0.0, deadline - time.monotonic())))
            samples.append(_held(stack))
    return Soak(seconds, _statuses(load), growths(samples))


def _statuses(load: Load) -> dict[int, int]:
    return dict(sorted(Counter(request.status for request in load.requests).items()))


def growths(samples: Sequence[Mapping[str, Held]]) -> list[Growth]:
    """Return how each value of each program goes in the second half; a program counts that is in all of it."""
    half = samples[len(samples) // 2 :]
    programs = sorted(set[str].intersection(*(set(sample) for sample in half)))
    return [
        _growth(program, field.name, [getattr(sample[program], field.name) for sample in half])
        for program in programs
        for field in fields(Held)
    ]


def _growth(program: str, value: str, found: Sequence[float]) -> Growth:
    times = range(len(found))
    slope, middle = statistics.linear_regression(times, found)
    return Growth(program, value, middle, middle + slope * (len(found) - 1))


def _held(stack: RunningStack) -> dict[str, Held]:
    state = State(stack.state)
    running = Supervisor(state).processes().values()
    queues = Held(memory_bytes=_bytes_in(stack.state / "collector"))
    return {"collector's queues on disk": queues} | {
        each.name: _of_program(each.pid) for each in running if each.pid
    }


def _of_program(pid: int) -> Held:
    held = [0, 0, 0, 0]
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess), process.oneshot():
                held[0] += process.memory_info().rss
                held[1] += process.num_fds()
                held[2] += len(process.net_connections())
                held[3] += process.num_threads()
    return Held(*held)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def table(found: Soak) -> str:
    """Return the values as a table of Markdown: a row for each program, from the middle to the end."""
    names = [field.name for field in fields(Held)]
    rows = [["program", *names], ["---"] * (len(names) + 1)]
    by_program: dict[str, list[Growth]] = {}
    for each in found.growths:
        by_program.setdefault(each.program, []).append(each)
    rows += [[program, *map(_cell, growths)] for program, growths in by_program.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cell(growth: Growth) -> str:
    divisor, unit = (MIB, " MiB") if growth.value == "memory_bytes" else (1, "")
    grows = "" if growth.flat else " GROWS"
    return f"{growth.middle / divisor:.0f} to {growth.end / divisor:.0f}{unit}{grows}"

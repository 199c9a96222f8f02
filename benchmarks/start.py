"""Goal 8: both services are ready within 2 s of PostgreSQL's being so, the first time and ever after.

PostgreSQL accepts connections; then both services are started at once, and asked for their health every few
milliseconds. In turn on a fresh database, which is migrated, and again on the same one.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil

from benchmarks.figures import at_most, noise
from benchmarks.options import Options
from benchmarks.processes import START_SECONDS, launched, not_running, usage
from benchmarks.report import Bars, Chart, Report, Table
from benchmarks.rounds import Others, loop_ms
from benchmarks.sides import ROBIN, Side
from benchmarks.system import System, running_system
from local_stack.services import Service

ROLES = ("store", "api")
FRESH, MIGRATED = "fresh database", "migrated database"
WARM_UPS = 1  # reads the code into the page cache, and compiles it
POLL_SECONDS = 0.01
GOAL_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Start:
    """How long one start took."""

    number: int
    side: str
    seconds: Mapping[str, float]  # until each service was healthy
    foreign_cpu: float
    loop_ms: float

    @property
    def all_seconds(self) -> float:
        """Until both were."""
        return max(self.seconds.values())


def run(options: Options) -> Report:
    """Start both in turn, round after round."""
    sides = [
        replace(ROBIN, name=f"start-{number}", database=f"start_{number}")
        for number in range(WARM_UPS + options.rounds)
    ]
    starts = []
    with running_system(
        (), options.home, options.environment, databases=[side.database for side in sides]
    ) as system:
        for number, side in enumerate(sides):
            for name in (FRESH, MIGRATED):
                one = _start(system, replace(side, name=f"{side.name}-{name[:5]}"), number, name)
                options.progress.step(f"round {number}: {name}: {one.all_seconds:.2f} s")
                starts.append(one)
    measured = [one for one in starts if one.number >= WARM_UPS]
    return Report(
        goal="start",
        noise=noise(
            {name: [one.all_seconds for one in measured if one.side == name] for name in (FRESH, MIGRATED)},
            [one.foreign_cpu for one in measured],
            [one.loop_ms for one in measured],
        ),
        tables=[table(measured)],
        statements=statements(measured),
        charts=charts(measured),
        data={"starts": measured},
    )


def _start(system: System, side: Side, number: int, name: str) -> Start:
    plan = system.plan(side)
    services = {role: plan.services[role] for role in ROLES}
    logs = {role: system.logs / f"{side.name}-{role}.log" for role in ROLES}
    loop = loop_ms()
    with ExitStack() as stack:
        others, own = Others(system.processes()), time.process_time()
        began = time.monotonic()
        processes = {
            role: psutil.Process(stack.enter_context(launched(services[role], logs[role])).pid)
            for role in ROLES
        }
        # Each by itself: an answer of document_api may take as long as it waits for the data store.
        with ThreadPoolExecutor(len(ROLES)) as threads:
            waits = {
                role: threads.submit(_seconds_until_healthy, services[role], logs[role], began)
                for role in ROLES
            }
            seconds = {role: wait.result() for role, wait in waits.items()}
        used = sum(usage(process).cpu_seconds for process in processes.values())
        foreign = others.share(time.process_time() - own + used)
    return Start(number=number, side=name, seconds=seconds, foreign_cpu=foreign, loop_ms=loop)


def _seconds_until_healthy(service: Service, log: Path, began: float) -> float:
    while (problem := service.probe.problem()) is not None:
        if time.monotonic() - began > START_SECONDS:
            raise not_running(service, problem, log)
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def table(starts: Sequence[Start]) -> Table:
    """Return a row for each kind of database."""
    return Table(
        title="Seconds from the start of both services until each is healthy",
        head=("database", "data_store", "document_api", "both, median", "both, slowest"),
        rows=[
            (
                name,
                *(f"{median(one.seconds[role] for one in own):.2f}" for role in ROLES),
                f"{median(one.all_seconds for one in own):.2f}",
                f"{max(one.all_seconds for one in own):.2f}",
            )
            for name, own in _by_side(starts).items()
        ],
    )


def statements(starts: Sequence[Start]) -> list[str]:
    """Say how near the goal is, by the slowest start."""
    lines = []
    for name, own in _by_side(starts).items():
        slowest = max(one.all_seconds for one in own)
        lines.append(
            f"{name}: ready after {slowest:.2f} s at most, goal {GOAL_SECONDS:.0f} s: {at_most(slowest, GOAL_SECONDS)}"
        )
    return lines


def charts(starts: Sequence[Start]) -> list[Chart]:
    """Return each start."""
    return [
        Bars(
            title="Both services healthy",
            unit="seconds after PostgreSQL",
            values={name: [one.all_seconds for one in own] for name, own in _by_side(starts).items()},
            bound=GOAL_SECONDS,
        )
    ]


def _by_side(starts: Sequence[Start]) -> dict[str, list[Start]]:
    return {
        name: [one for one in starts if one.side == name]
        for name in dict.fromkeys(one.side for one in starts)
    }

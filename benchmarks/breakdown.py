"""What each part of a request costs both services: spans, metrics, log lines, export, client, framework, database.

In turn a round without a profiler, which says what a request costs each process, and one in which py-spy looks at both
services 200 times a second, which says where. A thread's samples share what the kernel says that it used of the CPU:
a sample alone does not know waiting from working. benchmarks/parts.py says which place belongs to which part.

py-spy reads another process's memory: run it as root, or with kernel.yama.ptrace_scope=0.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.errors import BenchmarkError
from benchmarks.load import METHODS, Load, load, prepare
from benchmarks.options import Options
from benchmarks.parts import EXPORT, EXPORTING_THREADS, LOG_LINES, METRICS, SPANS, TELEMETRY, part_of
from benchmarks.report import Chart, Report, Stacks, Table
from benchmarks.rounds import WARM_UP_SECONDS, Round, measure, reasons_to_doubt
from benchmarks.sides import ROBIN
from benchmarks.system import RunningSide, running_system

ROLES = ("api", "store")
BESIDE = ("nginx", "postgres", "collector")
SAMPLES_A_SECOND = 200
ATTACH_SECONDS = 2  # longer load than sampling: py-spy takes a moment to begin
NATIVE = "threads outside of Python (gRPC)"
NANOSECONDS = 1e9


@dataclass(frozen=True)
class Profile:
    """How the CPU of one service and method is shared out."""

    cpu_seconds: dict[str, float] = field(default_factory=dict)  # by part

    def add(self, samples: Mapping[int, Counter[str]], threads: Mapping[int, float]) -> None:
        """Share out what each thread used, by its samples; one without any runs no Python."""
        for thread, used in threads.items():
            seen = samples.get(thread) or Counter({NATIVE: 1})
            for part, count in seen.items():
                self.cpu_seconds[part] = self.cpu_seconds.get(part, 0.0) + used * count / seen.total()

    def scaled(self, cpu_us: float) -> dict[str, float]:
        """Return microseconds a request by part, given what a request costs in all."""
        total = sum(self.cpu_seconds.values())
        return {part: seconds / total * cpu_us for part, seconds in self.cpu_seconds.items()}


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """What a request of one method costs."""

    method: str
    parts_us: Mapping[str, Mapping[str, float]]  # by service
    beside_us: Mapping[str, float]  # nginx, postgres, collector
    signals: Mapping[str, float]

    def parts(self) -> dict[str, float]:
        """Return microseconds of each part in both services, the most expensive first."""
        costs = {part: self.both(part) for service in self.parts_us.values() for part in service}
        return dict(sorted(costs.items(), key=lambda item: -item[1]))

    def both(self, *parts: str) -> float:
        """Return microseconds of these parts in both services."""
        return sum(costs.get(part, 0.0) for costs in self.parts_us.values() for part in parts)


def run(options: Options) -> Report:
    """Measure and profile in turn, round after round."""
    rounds: list[Round] = []
    profiles = {(method, role): Profile() for method in METHODS for role in ROLES}
    with running_system((ROBIN,), options.home, options.environment) as system:
        (side,) = system.sides
        requests = prepare(side.url, side.folder)

        def attack(_side: RunningSide, method: str, seconds: int) -> Load:
            return load(requests, method, seconds)

        for method in METHODS:
            measure(system, side, method, WARM_UP_SECONDS, attack)
        for number in range(options.rounds):
            for method in METHODS:
                rounds.append(measure(system, side, method, options.seconds, attack, number=number))
                options.progress.step(f"round {number + 1}: {method}: {rounds[-1].load.rate:.0f} requests/s")
                files = {role: side.folder / f"{role}.txt" for role in ROLES}
                before = {role: thread_seconds(side.processes[role].pid) for role in ROLES}
                with _profiling(side, files, options.seconds):
                    attack(side, method, options.seconds + ATTACH_SECONDS)
                for role in ROLES:
                    used = Counter(thread_seconds(side.processes[role].pid)) - Counter(before[role])
                    profiles[method, role].add(read(files[role].read_text()), used)
                options.progress.step(f"round {number + 1}: {method}: profiled")
    breakdowns = [_breakdown(method, rounds, profiles) for method in METHODS]
    return Report(
        goal="breakdown",
        noise=reasons_to_doubt(rounds),
        tables=[table(each) for each in breakdowns],
        statements=[line for each in breakdowns for line in statements(each)],
        charts=[chart(each) for each in breakdowns],
        data={"breakdowns": breakdowns, "rounds": rounds},
    )


def _breakdown(
    method: str, rounds: Sequence[Round], profiles: Mapping[tuple[str, str], Profile]
) -> Breakdown:
    own = [one for one in rounds if one.method == method]
    cpu_us = {name: median(one.cpu_us[name] for one in own) for name in (*ROLES, *BESIDE)}
    return Breakdown(
        method=method,
        parts_us={role: profiles[method, role].scaled(cpu_us[role]) for role in ROLES},
        beside_us={name: cpu_us[name] for name in BESIDE},
        signals={name: median(one.signals[name] for one in own) for name in own[0].signals},
    )


@contextmanager
def _profiling(side: RunningSide, files: Mapping[str, Path], seconds: int) -> Iterator[None]:
    """Let py-spy look at each service without stopping it, for so long."""
    program = str(Path(sys.executable).with_name("py-spy"))
    options = ["--format", "raw", "--threads", "--nonblocking", "--rate", str(SAMPLES_A_SECOND)]
    options += ["--duration", str(seconds)]
    profilers = [
        subprocess.Popen(
            [program, "record", *options, "--pid", str(side.processes[role].pid), "--output", str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for role, file in files.items()
    ]
    try:
        yield
    finally:
        said = [profiler.communicate()[1] for profiler in profilers]  # they end by themselves
    if any(profiler.returncode != 0 for profiler in profilers):
        raise BenchmarkError(f"py-spy failed: {''.join(said).strip()}")


def thread_seconds(pid: int) -> dict[int, float]:
    """Return the CPU seconds of each thread of a process, as exactly as the scheduler knows them."""
    used = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            used[int(thread.name)] = int((thread / "schedstat").read_text().split()[0]) / NANOSECONDS
    return used


def read(profile: str) -> dict[int, Counter[str]]:
    """Return how often each thread was seen in each part, out of py-spy's lines: frames, the outermost first, and a count."""
    seen: dict[int, Counter[str]] = {}
    for line in profile.splitlines():
        stack, _, count = line.rpartition(" ")
        head, *frames = stack.split(";")
        thread, name = head.removeprefix("thread (").split("): ", maxsplit=1)
        part = EXPORT if name in EXPORTING_THREADS else part_of(frames)
        seen.setdefault(int(thread), Counter())[part] += int(count)
    return seen


def table(breakdown: Breakdown) -> Table:
    """Return a row for each part, the most expensive first."""
    both = breakdown.parts()
    total = sum(both.values()) + sum(breakdown.beside_us.values())
    rows = [
        (
            part,
            *(f"{breakdown.parts_us[role].get(part, 0.0):.0f}" for role in ROLES),
            f"{cost:.0f}",
            f"{cost / total:.1%}",
        )
        for part, cost in both.items()
    ]
    beside = [
        (name, "", "", f"{cost:.0f}", f"{cost / total:.1%}") for name, cost in breakdown.beside_us.items()
    ]
    return Table(
        title=f"{breakdown.method}: CPU microseconds a request",
        head=("part", "document_api", "data_store", "both", "share"),
        rows=[*rows, *beside, ("all", "", "", f"{total:.0f}", "100%")],
    )


def statements(breakdown: Breakdown) -> list[str]:
    """Say what a span, a log line and all telemetry cost."""
    spans, lines = breakdown.both(*SPANS), breakdown.both(LOG_LINES)
    telemetry = breakdown.both(*TELEMETRY, NATIVE)
    services = sum(sum(costs.values()) for costs in breakdown.parts_us.values())
    made = breakdown.signals
    return [
        (
            f"{breakdown.method}: {made['spans']:.1f} spans cost {spans:.0f} us, {spans / made['spans']:.0f} us each; "
            f"{made['log_records']:.1f} log lines {lines:.0f} us, {lines / made['log_records']:.0f} us each; "
            f"metrics {breakdown.both(METRICS):.0f} us; export {breakdown.both(EXPORT, NATIVE):.0f} us"
        ),
        f"{breakdown.method}: telemetry is {telemetry:.0f} us of the services' {services:.0f} us, {telemetry / services:.0%}",
    ]


def chart(breakdown: Breakdown) -> Chart:
    """Return the parts, and what is beside the services."""
    return Stacks(
        title=f"{breakdown.method}: CPU microseconds a request",
        unit="us",
        parts={
            **{
                part: {
                    "document_api": breakdown.parts_us["api"].get(part, 0.0),
                    "data_store": breakdown.parts_us["store"].get(part, 0.0),
                }
                for part in breakdown.parts()
            },
            **{name: {"beside": cost} for name, cost in breakdown.beside_us.items()},
        },
    )

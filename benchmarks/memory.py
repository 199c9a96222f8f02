"""Goal 4: at most 110 MiB of memory a worker, which grows by less than 5 MiB from request 20,000 to request 100,000.

One fresh robin answers 100,000 requests, in turn a GET and a PUT of 1 KiB; the growth of each process is its RSS after
all of them less that after the first 20,000.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil

from benchmarks.figures import at_most
from benchmarks.load import Requests, attack, prepare
from benchmarks.options import Options
from benchmarks.report import Bars, Chart, Lines, Report, Table
from benchmarks.sides import ROBIN
from benchmarks.system import RunningSide, running_system

STAGES = (20_000, 100_000)  # requests so far
GOAL_MIB = 110.0
GOAL_GROWTH_MIB = 5.0
FIRST_SECONDS, LONGEST_SECONDS = 2, 10  # of one run of wrk, which knows no number of requests
SAMPLE_SECONDS = 1.0
MIB = 2**20


@dataclass(frozen=True)
class Samples:
    """Memory of each service's worker over time."""

    moments: list[float] = field(default_factory=list)
    rss_mib: dict[str, list[float]] = field(default_factory=lambda: {"api": [], "store": []})

    def take(self, side: RunningSide, moment: float) -> None:
        """Look once."""
        self.moments.append(moment)
        for role, seen in rss(side).items():
            self.rss_mib[role].append(seen)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The memory of one worker."""

    role: str
    at_start_mib: float
    rss_mib: Mapping[int, float]  # after so many requests
    largest_mib: float  # that was seen, a look a second

    @property
    def growth_mib(self) -> float:
        """What the later requests added."""
        return self.rss_mib[STAGES[-1]] - self.rss_mib[STAGES[0]]


def run(options: Options) -> Report:
    """Answer all requests, as often as there are rounds, each with a fresh robin."""
    runs = [_run_once(options) for _ in range(options.rounds)]
    growths = [growth for each, _ in runs for growth in each]
    return Report(
        goal="memory",
        noise=None,  # memory does not depend on how busy the machine is
        tables=[table(growths)],
        statements=statements(growths),
        charts=charts(growths, runs[-1][1]),
        data={"workers": growths, "samples": [samples for _, samples in runs]},
    )


def _run_once(options: Options) -> tuple[list[Growth], Samples]:
    with running_system((ROBIN,), options.home, options.environment) as system:
        (side,) = system.sides
        requests = prepare(side.url, side.folder)
        at_start = rss(side)
        seen: dict[int, dict[str, float]] = {}
        answered = 0
        with _sampling(side) as samples:
            for stage in STAGES:
                answered += _mixed(requests, stage - answered)
                seen[stage] = rss(side)
                said = ", ".join(f"{role} {mib:.1f} MiB" for role, mib in seen[stage].items())
                options.progress.step(f"{answered} requests answered: {said}")
    return [
        Growth(
            role=role,
            at_start_mib=at_start[role],
            rss_mib={stage: values[role] for stage, values in seen.items()},
            largest_mib=max(samples.rss_mib[role]),
        )
        for role in at_start
    ], samples


def _mixed(requests: Requests, count: int) -> int:
    """Send requests until so many, or a few more, are answered; return how many were."""
    url, (_, *upload) = requests.command("PUT")
    arguments = ["MIXED", requests.document.removeprefix(requests.url), *upload]
    answered, rate = 0, 0.0
    while answered < count:
        seconds = ceil((count - answered) / rate) if rate else FIRST_SECONDS
        part = attack(url, arguments, min(seconds, LONGEST_SECONDS))
        answered, rate = answered + part.requests, part.rate
    return answered


@contextmanager
def _sampling(side: RunningSide) -> Iterator[Samples]:
    samples, over = Samples(), threading.Event()

    def sample() -> None:
        began = time.monotonic()
        samples.take(side, 0.0)
        while not over.wait(SAMPLE_SECONDS):
            samples.take(side, time.monotonic() - began)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def rss(side: RunningSide) -> dict[str, float]:
    """Return the memory of each service's only worker."""
    return {role: side.processes[role].memory_info().rss / MIB for role in ("api", "store")}


def table(growths: Sequence[Growth]) -> Table:
    """Return a row for each worker and run."""
    return Table(
        title="Memory of a worker, MiB RSS",
        head=("service", "after its start", *(f"after {stage}" for stage in STAGES), "growth", "largest"),
        rows=[
            (
                each.role,
                f"{each.at_start_mib:.1f}",
                *(f"{each.rss_mib[stage]:.1f}" for stage in STAGES),
                f"{each.growth_mib:+.1f}",
                f"{each.largest_mib:.1f}",
            )
            for each in growths
        ],
    )


def statements(growths: Sequence[Growth]) -> list[str]:
    """Say how near both goals are, by the worst worker."""
    largest = max(growths, key=lambda each: each.largest_mib)
    fastest = max(growths, key=lambda each: each.growth_mib)
    return [
        (
            f"at most {largest.largest_mib:.1f} MiB a worker ({largest.role}), goal {GOAL_MIB:.0f} MiB: "
            f"{at_most(largest.largest_mib, GOAL_MIB)}"
        ),
        (
            f"growth of at most {fastest.growth_mib:.1f} MiB ({fastest.role}), goal {GOAL_GROWTH_MIB:.0f} MiB: "
            f"{at_most(fastest.growth_mib, GOAL_GROWTH_MIB)}"
        ),
    ]


def charts(growths: Sequence[Growth], samples: Samples) -> list[Chart]:
    """Return the memory after each stage, and over time."""
    return [
        Lines(
            title="Memory of each worker",
            unit="MiB RSS",
            axis="seconds of load",
            points={
                role: list(zip(samples.moments, seen, strict=True)) for role, seen in samples.rss_mib.items()
            },
            bound=GOAL_MIB,
        ),
        Bars(
            title=f"Growth from request {STAGES[0]} to request {STAGES[-1]}",
            unit="MiB RSS",
            values={
                role: [each.growth_mib for each in growths if each.role == role] for role in samples.rss_mib
            },
            bound=GOAL_GROWTH_MIB,
        ),
    ]

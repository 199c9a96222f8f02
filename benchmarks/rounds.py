"""One round: load on one side, with what every process and the whole machine used for it."""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import httpx
import psutil

from benchmarks.figures import noise, ratio
from benchmarks.load import Load
from benchmarks.options import Options
from benchmarks.processes import usage
from benchmarks.system import RunningSide, System

WARM_UP_SECONDS = 2
QUIET_CORES = 0.05
QUIET_WINDOW_SECONDS = 0.5
# The SDK sends what is left over after 5 s at the latest.
TELEMETRY_SECONDS = 6.0
LONGEST_SETTLING_SECONDS = 15.0
LOOPS = 10
LOOP_LENGTH = 500_000
SIGNALS = ("spans", "log_records", "metric_points")
ACCEPTED = re.compile(
    r'^otelcol_receiver_accepted_(spans|log_records|metric_points)_total\{[^}]*receiver="otlp"[^}]*\} (\S+)$',
    re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one side did in one round."""

    number: int
    side: str
    method: str
    load: Load
    cpu_us: Mapping[str, float]  # CPU microseconds a request, by process
    signals: Mapping[str, float]  # what the collector took a request, by kind
    late_spans: float  # share of the spans that it took only after the load: their cost is not in the rate
    foreign_cpu: float  # share of the machine that neither the sides nor the client used
    loop_ms: float  # a fixed piece of work just before: how fast the machine was


# Loads a side with a method for so many seconds.
Attack = Callable[[RunningSide, str, int], Load]


def alternate(system: System, methods: Sequence[str], options: Options, attack: Attack) -> list[Round]:
    """Warm every side up, then load them in turn, round after round."""
    for method in methods:
        for side in system.sides:
            options.progress.step(f"warming up {method} of {side.side.title}")
            measure(system, side, method, WARM_UP_SECONDS, attack)
    return rounds_of(system, methods, options, attack)


def rounds_of(system: System, methods: Sequence[str], options: Options, attack: Attack) -> list[Round]:
    """Load the sides in turn, round after round."""
    rounds = []
    for number in range(options.rounds):
        for method in methods:
            for side in system.sides:
                one = measure(system, side, method, options.seconds, attack, number=number)
                rounds.append(one)
                options.progress.step(
                    f"round {number + 1}: {method} of {side.side.title}: {one.load.rate:.0f} requests/s"
                )
    return rounds


def measure(
    system: System, side: RunningSide, method: str, seconds: int, attack: Attack, *, number: int = 0
) -> Round:
    """Load a side, and wait until its telemetry has come through: that is part of what a request costs."""
    watched = {**side.processes, **system.shared}
    loop = loop_ms()
    cpu_before = cpu_of(watched)
    before = _accepted_by(system)
    others = Others(system.processes())
    measured = attack(side, method, seconds)
    foreign = others.share(measured.client_cpu_seconds)
    at_the_end = _accepted_by(system)
    _settle(watched.values(), TELEMETRY_SECONDS if side.side.telemetry else 0.0)
    settled = _accepted_by(system)
    cpu = {
        name: (after - cpu_before[name]) * 1e6 / measured.served for name, after in cpu_of(watched).items()
    }
    return Round(
        number=number,
        side=side.side.name,
        method=method,
        load=measured,
        cpu_us={**cpu, "client": measured.client_cpu_seconds * 1e6 / measured.served},
        signals={name: (settled[name] - before[name]) / measured.served for name in SIGNALS},
        late_spans=ratio(settled["spans"] - at_the_end["spans"], settled["spans"] - before["spans"]) or 0.0,
        foreign_cpu=foreign,
        loop_ms=loop,
    )


class Others:
    """What of the machine is used by others than these processes, from now on."""

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self._processes = processes
        self._began = time.monotonic()
        self._busy, self._ours = _busy(), _total(processes)

    def share(self, client_cpu_seconds: float) -> float:
        """Return it as a share of all cores, the client's use being ours too."""
        capacity = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        ours = _total(self._processes) - self._ours + client_cpu_seconds
        return max(0.0, (_busy() - self._busy - ours) / capacity)


def reasons_to_doubt(
    rounds: Sequence[Round], figure: Callable[[Load], float] = lambda load: load.rate
) -> list[str]:
    """Return why the rounds are not to be relied upon for this figure, nothing when they are."""
    figures: dict[str, list[float]] = {}
    for one in rounds:
        figures.setdefault(f"{one.method} of {one.side}", []).append(figure(one.load))
    return noise(figures, [one.foreign_cpu for one in rounds], [one.loop_ms for one in rounds])


def times(
    side: str, base: str, rounds: Sequence[Round], figure: Callable[[Load], float] = lambda load: load.rate
) -> float | None:
    """Return the median of a side's figure over another's of the same round: minutes apart, machines differ."""
    figures = {(one.number, one.side): figure(one.load) for one in rounds}
    found = [ratio(value, figures[number, base]) for (number, name), value in figures.items() if name == side]
    known = [each for each in found if each is not None]
    return median(known) if known else None


def accepted(metrics: str) -> dict[str, float]:
    """Return how much the collector has taken by OTLP, out of the text of its own metrics."""
    taken = dict.fromkeys(SIGNALS, 0.0)
    for kind, value in ACCEPTED.findall(metrics):
        taken[kind] += float(value)
    return taken


def _accepted_by(system: System) -> dict[str, float]:
    return accepted(httpx.get(system.collector_metrics_url, trust_env=False).text)


def cpu_of(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """Return the CPU seconds of each process with its children."""
    return {name: usage(process).cpu_seconds for name, process in processes.items()}


def _settle(processes: Iterable[psutil.Process], least_seconds: float) -> None:
    watched = list(processes)
    began = time.monotonic()
    used = _total(watched)
    while (waited := time.monotonic() - began) < LONGEST_SETTLING_SECONDS:
        time.sleep(QUIET_WINDOW_SECONDS)
        before, used = used, _total(watched)
        if waited >= least_seconds and used - before < QUIET_CORES * QUIET_WINDOW_SECONDS:
            return


def _total(processes: Iterable[psutil.Process]) -> float:
    return sum(usage(process).cpu_seconds for process in processes)


def loop_ms() -> float:
    """Time the same work each time: a virtual machine is slower while its host's other guests are busy."""
    best = float("inf")
    for _ in range(LOOPS):
        began = time.thread_time()
        sum(range(LOOP_LENGTH))
        best = min(best, time.thread_time() - began)
    return best * 1e3


def _busy() -> float:
    """Return the CPU seconds that somebody used or the hypervisor took; interrupts serve our own connections."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.steal

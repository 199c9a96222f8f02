"""One round: load on one side, with what every process and the whole machine used for it."""

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpx
import psutil

from benchmarks.load import Load, Requests, load
from benchmarks.processes import usage
from benchmarks.system import RunningSide, System

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
    foreign_cpu: float  # share of the machine that neither the sides nor wrk used
    loop_ms: float  # a fixed piece of work just before: how fast the machine was


def measure(
    system: System, side: RunningSide, requests: Requests, method: str, seconds: int, *, number: int = 0
) -> Round:
    """Load a side, and wait until its telemetry has come through: that is part of what a request costs."""
    watched = {**side.processes, **system.shared}
    loop = _loop_ms()
    cpu_before = cpu_of(watched)
    signals_before = accepted(httpx.get(system.collector_metrics_url, trust_env=False).text)
    busy, ours, began = _busy(), _total(system.processes()), time.monotonic()
    measured = load(requests, method, seconds)
    capacity = (time.monotonic() - began) * (os.cpu_count() or 1)
    foreign = _busy() - busy - (_total(system.processes()) - ours) - measured.wrk_cpu_seconds
    _settle(watched.values(), TELEMETRY_SECONDS if side.side.telemetry else 0.0)
    signals = accepted(httpx.get(system.collector_metrics_url, trust_env=False).text)
    cpu = {
        name: (after - cpu_before[name]) * 1e6 / measured.requests for name, after in cpu_of(watched).items()
    }
    return Round(
        number=number,
        side=side.side.name,
        method=method,
        load=measured,
        cpu_us={**cpu, "wrk": measured.wrk_cpu_seconds * 1e6 / measured.requests},
        signals={name: (signals[name] - signals_before[name]) / measured.requests for name in SIGNALS},
        foreign_cpu=max(0.0, foreign / capacity),
        loop_ms=loop,
    )


def accepted(metrics: str) -> dict[str, float]:
    """Return how much the collector has taken by OTLP, out of the text of its own metrics."""
    taken = dict.fromkeys(SIGNALS, 0.0)
    for kind, value in ACCEPTED.findall(metrics):
        taken[kind] += float(value)
    return taken


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


def _loop_ms() -> float:
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

"""What the rounds of a side come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.figures import spread
from benchmarks.processes import usage
from benchmarks.report import Bars, Chart, Stacks
from benchmarks.rounds import Round, times
from benchmarks.system import System

SERVING = ("nginx", "api", "store", "postgres", "collector")
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the rounds of one side and one method come to."""

    side: str
    method: str
    rate: float
    spread: float
    times: Mapping[str, float | None]  # the rate over that of each other side
    p95_ms: float
    cpu_us: Mapping[str, float]
    signals: Mapping[str, float]
    late_spans: float
    rss_mib: Mapping[str, float]

    @property
    def sum_us(self) -> float:
        """CPU microseconds a request of everything that serves it."""
        return sum(self.cpu_us[name] for name in SERVING)

    @property
    def services_us(self) -> float:
        """CPU microseconds a request of both services and the collector."""
        return self.cpu_us["api"] + self.cpu_us["store"] + self.cpu_us["collector"]


def summarise(rounds: Sequence[Round], rss_mib: Mapping[str, Mapping[str, float]]) -> list[Summary]:
    """Return what each method and side comes to, in the order of the rounds."""
    sides = dict.fromkeys(one.side for one in rounds)
    methods = dict.fromkeys(one.method for one in rounds)
    return [
        _summary(side, [one for one in rounds if one.method == method], rss_mib[side])
        for method in methods
        for side in sides
    ]


def rss_of(system: System) -> dict[str, dict[str, float]]:
    """Return the memory of each side's services, all their workers together."""
    return {
        running.side.name: {role: usage(running.processes[role]).rss_bytes / MIB for role in ("api", "store")}
        for running in system.sides
    }


def _summary(side: str, rounds: Sequence[Round], rss_mib: Mapping[str, float]) -> Summary:
    own = [one for one in rounds if one.side == side]
    rates = [one.load.rate for one in own]
    return Summary(
        side=side,
        method=own[0].method,
        rate=median(rates),
        spread=spread(rates),
        times={base: times(side, base, rounds) for base in dict.fromkeys(one.side for one in rounds)},
        p95_ms=median(one.load.p95_ms for one in own),
        cpu_us={name: median(one.cpu_us[name] for one in own) for name in own[0].cpu_us},
        signals={name: median(one.signals[name] for one in own) for name in own[0].signals},
        late_spans=median(one.late_spans for one in own),
        rss_mib=rss_mib,
    )


def rate_charts(rounds: Sequence[Round]) -> list[Chart]:
    """Return the rates of each method."""
    return [
        Bars(
            title=f"{method}: requests a second",
            unit="requests/s",
            values={
                side: [one.load.rate for one in rounds if (one.side, one.method) == (side, method)]
                for side in dict.fromkeys(one.side for one in rounds)
            },
        )
        for method in dict.fromkeys(one.method for one in rounds)
    ]


def cpu_charts(summaries: Sequence[Summary]) -> list[Chart]:
    """Return what each method costs of CPU, and where."""
    return [
        Stacks(
            title=f"{method}: CPU microseconds a request",
            unit="us",
            parts={
                each.side: {name: each.cpu_us[name] for name in SERVING}
                for each in summaries
                if each.method == method
            },
        )
        for method in dict.fromkeys(each.method for each in summaries)
    ]

"""Goal 1: robin with every signal on, at least five times the stock pair and 55 % of the limit pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.figures import noise, ratio, spread
from benchmarks.load import prepare
from benchmarks.options import Options
from benchmarks.processes import usage
from benchmarks.report import Report, Table
from benchmarks.rounds import Round, measure
from benchmarks.sides import SIDES
from benchmarks.system import System, running_system
from local_stack.progress import Progress

METHODS = ("GET", "PUT")
# Goal, in times the other side.
GOALS = {"stock": 5.0, "limit": 0.55}
WARM_UP_SECONDS = 2
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
    rss_mib: Mapping[str, float]

    @property
    def sum_us(self) -> float:
        """CPU microseconds a request of everything that serves it."""
        return sum(self.cpu_us[name] for name in SERVING)

    @property
    def services_us(self) -> float:
        """CPU microseconds a request of both services and the collector."""
        return self.cpu_us["api"] + self.cpu_us["store"] + self.cpu_us["collector"]


def run(options: Options) -> Report:
    """Load the sides in turn, round after round."""
    with running_system(SIDES, options.home, options.environment) as system:
        rounds = _rounds(system, options)
        rss = {
            running.side.name: {
                role: usage(running.processes[role]).rss_bytes / MIB for role in ("api", "store")
            }
            for running in system.sides
        }
    summaries = summarise(rounds, rss)
    rates = {
        f"{each.method} of {each.side}": [
            one.load.rate for one in rounds if (one.side, one.method) == (each.side, each.method)
        ]
        for each in summaries
    }
    return Report(
        goal="throughput",
        noise=noise(rates, [one.foreign_cpu for one in rounds], [one.loop_ms for one in rounds]),
        tables=tables(summaries),
        statements=statements(summaries),
        data={"rounds": rounds, "summaries": summaries},
    )


def _rounds(system: System, options: Options) -> list[Round]:
    progress = Progress()
    requests = {running.side.name: prepare(running.url, running.folder) for running in system.sides}
    for method in METHODS:
        for running in system.sides:
            progress.step(f"warming up {method} of {running.side.title}")
            measure(system, running, requests[running.side.name], method, WARM_UP_SECONDS)
    rounds = []
    for number in range(options.rounds):
        for method in METHODS:
            for running in system.sides:
                one = measure(
                    system, running, requests[running.side.name], method, options.seconds, number=number
                )
                rounds.append(one)
                progress.step(
                    f"round {number + 1}: {method} of {running.side.title}: {one.load.rate:.0f} requests/s"
                )
    return rounds


def summarise(rounds: Sequence[Round], rss_mib: Mapping[str, Mapping[str, float]]) -> list[Summary]:
    """Return what each method and side comes to, the methods in their order, the sides in that of the rounds."""
    sides = list(dict.fromkeys(one.side for one in rounds))
    return [
        _summary(side, [one for one in rounds if one.method == method], rss_mib[side])
        for method in METHODS
        for side in sides
    ]


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
        rss_mib=rss_mib,
    )


def times(side: str, base: str, rounds: Sequence[Round]) -> float | None:
    """Return the median of a side's rate over another's of the same round: minutes apart, machines differ."""
    rates = {(one.number, one.side): one.load.rate for one in rounds}
    found = [ratio(rate, rates[number, base]) for (number, name), rate in rates.items() if name == side]
    known = [each for each in found if each is not None]
    return median(known) if known else None


def tables(summaries: Sequence[Summary]) -> list[Table]:
    """Return a table for each method."""
    return [
        Table(
            title=f"{method}: requests a second, and CPU microseconds a request",
            head=(
                "side", "req/s", "spread", "x stock", "x limit", "p95 ms",
                *SERVING, "sum", "RSS api", "RSS store", "spans",
            ),
            rows=[_row(each) for each in summaries if each.method == method],
        )
        for method in METHODS
    ]  # fmt: skip


def _row(summary: Summary) -> tuple[str, ...]:
    return (
        summary.side,
        f"{summary.rate:.0f}",
        f"{summary.spread:.0%}",
        *(_times(summary.times[base]) for base in GOALS),
        f"{summary.p95_ms:.0f}",
        *(f"{summary.cpu_us[name]:.0f}" for name in SERVING),
        f"{summary.sum_us:.0f}",
        *(f"{summary.rss_mib[role]:.0f}" for role in ("api", "store")),
        f"{summary.signals['spans']:.1f}",
    )


def statements(summaries: Sequence[Summary]) -> list[str]:
    """Say of each method how near the goal is, and what telemetry costs here and there."""
    lines = []
    for method in METHODS:
        by_side = {each.side: each for each in summaries if each.method == method}
        for base, goal in GOALS.items():
            reached = by_side["robin"].times[base]
            met = "met" if reached is not None and reached >= goal else "not met"
            lines.append(f"{method}: {_times(reached)} the {base} pair, goal {goal:.2f}x: {met}")
        lines.extend(
            f"{method}: {_telemetry_costs(by_side[side], by_side[f'{side}-off'])}"
            for side in ("robin", "stock")
        )
    return lines


def _telemetry_costs(side: Summary, without: Summary) -> str:
    lost = 1 - (side.times[without.side] or 0)
    return (
        f"telemetry costs {side.side} {side.services_us - without.services_us:.0f} us of CPU a request "
        f"and {lost:.0%} of its throughput"
    )


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"

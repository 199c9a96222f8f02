"""Goals 1 and 2: robin with every signal on, at least five times the stock pair and 55 % of the limit pair.

Telemetry may cost a third of what the stock set-up's costs in CPU, and should cost no more than 20 % of the throughput.
"""

from collections.abc import Mapping, Sequence

from benchmarks.figures import at_least, at_most, ratio
from benchmarks.load import METHODS, load, prepare
from benchmarks.options import Options
from benchmarks.report import Report, Table
from benchmarks.rounds import alternate, reasons_to_doubt
from benchmarks.sides import SIDES
from benchmarks.summary import SERVING, Summary, cpu_charts, rate_charts, rss_of, summarise
from benchmarks.system import running_system

# Goal, in times the other side.
GOALS = {"stock": 5.0, "limit": 0.55}
TELEMETRY_OF_STOCK = 1 / 3
TELEMETRY_OF_OWN = 0.20  # of our own throughput


def run(options: Options) -> Report:
    """Load the sides in turn, round after round."""
    with running_system(SIDES, options.home, options.environment) as system:
        requests = {running.side.name: prepare(running.url, running.folder) for running in system.sides}
        rounds = alternate(
            system,
            METHODS,
            options,
            lambda running, method, seconds: load(requests[running.side.name], method, seconds),
        )
        rss = rss_of(system)
    summaries = summarise(rounds, rss)
    return Report(
        goal="throughput",
        noise=reasons_to_doubt(rounds),
        tables=tables(summaries),
        statements=statements(summaries),
        charts=[*rate_charts(rounds), *cpu_charts(summaries)],
        data={"rounds": rounds, "summaries": summaries},
    )


def tables(summaries: Sequence[Summary]) -> list[Table]:
    """Return a table for each method."""
    return [
        Table(
            title=f"{method}: requests a second, and CPU microseconds a request",
            head=(
                "side", "req/s", "spread", "x stock", "x limit", "p95 ms",
                *SERVING, "sum", "RSS api", "RSS store", "spans", "late",
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
        f"{summary.late_spans:.0%}",
    )


def statements(summaries: Sequence[Summary]) -> list[str]:
    """Say of each method how near the goal is, and what telemetry costs here and there."""
    lines = []
    for method in METHODS:
        by_side = {each.side: each for each in summaries if each.method == method}
        for base, goal in GOALS.items():
            reached = by_side["robin"].times[base]
            lines.append(
                f"{method}: {_times(reached)} the {base} pair, goal {goal:.2f}x: {at_least(reached, goal)}"
            )
        lines.extend(
            f"{method}: {_telemetry_costs(by_side[side], by_side[f'{side}-off'])}"
            for side in ("robin", "stock")
        )
        lines.append(f"{method}: {_telemetry_beside_stock(by_side)}")
        lost = 1 - (by_side["robin"].times["robin-off"] or 0)
        lines.append(
            f"{method}: telemetry takes {lost:.0%} of robin's own throughput, "
            f"aim {TELEMETRY_OF_OWN:.0%}: {at_most(lost, TELEMETRY_OF_OWN)}"
        )
    return lines


def _telemetry_beside_stock(by_side: Mapping[str, Summary]) -> str:
    costs = {
        side: by_side[side].services_us - by_side[f"{side}-off"].services_us for side in ("robin", "stock")
    }
    share = ratio(costs["robin"], costs["stock"])
    return (
        f"telemetry costs robin {share or 0:.0%} of what it costs the stock pair, "
        f"goal {TELEMETRY_OF_STOCK:.0%}: {at_most(share, TELEMETRY_OF_STOCK)}"
    )


def _telemetry_costs(side: Summary, without: Summary) -> str:
    lost = 1 - (side.times[without.side] or 0)
    return (
        f"telemetry costs {side.side} {side.services_us - without.services_us:.0f} us of CPU a request "
        f"and {lost:.0%} of its throughput"
    )


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"

"""Latency at fixed rates, open-loop: a request is sent when its time has come, however long the others take (vegeta).

First each side is measured closed-loop; then each is sent 25, 50 and 75 % of what it can do, and all of them half of
what the slowest can do, so that the same load is compared.
"""

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks import vegeta
from benchmarks.load import METHODS, Load, load, prepare
from benchmarks.options import Options
from benchmarks.report import Bars, Chart, Lines, Report, Table
from benchmarks.rounds import WARM_UP_SECONDS, Attack, Round, measure, reasons_to_doubt, rounds_of
from benchmarks.sides import SIDES
from benchmarks.system import RunningSide, System, running_system

COMPARED = ("robin", "robin-off", "stock")
SHARES = (0.25, 0.5, 0.75)
COMMON = "common"  # the same rate for all
COMMON_SHARE = 0.5  # of the slowest side


def run(options: Options) -> Report:
    """Find out what each side can do, then load them in turn with shares of it."""
    client = vegeta.built(options)
    sides = tuple(side for side in SIDES if side.name in COMPARED)
    with running_system(sides, options.home, options.environment) as system:
        requests = {running.side.name: prepare(running.url, running.folder) for running in system.sides}

        def closed_loop(running: RunningSide, method: str, seconds: int) -> Load:
            return load(requests[running.side.name], method, seconds)

        able = _able(system, options, closed_loop)
        rates = planned(able)

        def at_rate(running: RunningSide, name: str, seconds: int) -> Load:
            method = name.split(maxsplit=1)[0]
            rate = rates[name, running.side.name]
            return client.attack(requests[running.side.name], method, seconds, rate=rate)

        rounds = rounds_of(system, list(dict.fromkeys(name for name, _ in rates)), options, at_rate)
    return Report(
        goal="latency",
        noise=reasons_to_doubt(rounds, lambda load: load.p95_ms),
        tables=[table(rounds, method) for method in METHODS],
        statements=statements(rounds),
        charts=[*(shares_chart(rounds, method) for method in METHODS), *common_charts(rounds)],
        data={"closed_loop": [*able.items()], "rates": [*rates.items()], "rounds": rounds},
    )


def _able(system: System, options: Options, attack: Attack) -> dict[tuple[str, str], float]:
    """Return the closed-loop rate of each method and side."""
    able = {}
    for method in METHODS:
        for side in system.sides:
            measure(system, side, method, WARM_UP_SECONDS, attack)
            able[method, side.side.name] = measure(system, side, method, options.seconds, attack).load.rate
            options.progress.step(
                f"{method} of {side.side.title}: {able[method, side.side.name]:.0f} requests/s closed-loop"
            )
    return able


def planned(able: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], int]:
    """Return the rate of each load and side: shares of what it can do, and a rate that is the same for all."""
    rates = {
        (f"{method} {share:.0%}", side): max(1, round(rate * share))
        for share in SHARES
        for (method, side), rate in able.items()
    }
    for method in METHODS:
        slowest = min(rate for (name, _), rate in able.items() if name == method)
        rates |= {
            (f"{method} {COMMON}", side): max(1, round(slowest * COMMON_SHARE))
            for name, side in able
            if name == method
        }
    return rates


def latencies(rounds: Sequence[Round], name: str, side: str) -> dict[str, float]:
    """Return the medians of the rounds of one load."""
    own = [one.load for one in rounds if (one.method, one.side) == (name, side)]
    return {
        "rate": median(each.rate for each in own),
        "p50": median(each.p50_ms for each in own),
        "p95": median(each.p95_ms for each in own),
        "p99": median(each.p99_ms for each in own),
    }


def table(rounds: Sequence[Round], method: str) -> Table:
    """Return a row for each load and side."""
    rows = []
    for name, side in dict.fromkeys(
        (one.method, one.side) for one in rounds if one.method.startswith(f"{method} ")
    ):
        found = latencies(rounds, name, side)
        rows.append(
            (
                name.split()[1],
                side,
                f"{found['rate']:.0f}",
                *(f"{found[p]:.1f}" for p in ("p50", "p95", "p99")),
            )
        )
    return Table(
        title=f"{method}: latency at a fixed rate, ms",
        head=("rate", "side", "req/s", "p50", "p95", "p99"),
        rows=rows,
    )


def statements(rounds: Sequence[Round]) -> list[str]:
    """Compare the sides where all have the same load."""
    lines = []
    for method in METHODS:
        found = {side: latencies(rounds, f"{method} {COMMON}", side) for side in COMPARED}
        said = ", ".join(f"{side} {each['p95']:.1f}" for side, each in found.items())
        lines.append(f"{method} at {found['stock']['rate']:.0f} requests/s each: p95 in ms: {said}")
    return lines


def shares_chart(rounds: Sequence[Round], method: str) -> Chart:
    """Return the p95 over the rate."""
    return Lines(
        title=f"{method}: p95 at 25, 50 and 75 % of what each side can do",
        unit="ms",
        axis="requests/s",
        points={
            side: [
                (found["rate"], found["p95"])
                for found in (latencies(rounds, f"{method} {share:.0%}", side) for share in SHARES)
            ]
            for side in COMPARED
        },
    )


def common_charts(rounds: Sequence[Round]) -> list[Chart]:
    """Return the latencies where all have the same load."""
    return [
        Bars(
            title=f"{method}: latency at the same rate for all",
            unit="ms",
            values={
                f"{side} {name}": [
                    getattr(one.load, f"{name}_ms")
                    for one in rounds
                    if (one.method, one.side) == (f"{method} {COMMON}", side)
                ]
                for name in ("p50", "p95", "p99")
                for side in COMPARED
            },
        )
        for method in METHODS
    ]

"""What an upload pays for its promises: bytes that are synced, and a summary that ranks sentences (goal 1).

The same robin with the defaults, without either, and without both (SYNC_UPLOADS=false, OFFLINE_SUMMARY=beginning).
"""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.load import load, prepare
from benchmarks.options import Options
from benchmarks.report import Report, Table
from benchmarks.rounds import alternate, reasons_to_doubt
from benchmarks.sides import ROBIN
from benchmarks.summary import SERVING, Summary, cpu_charts, rate_charts, rss_of, summarise
from benchmarks.system import running_system

METHOD = "PUT"
DEFAULTS = "defaults"
UNSYNCED, UNRANKED = {"SYNC_UPLOADS": "false"}, {"OFFLINE_SUMMARY": "beginning"}
SIDES = tuple(
    replace(ROBIN, name=name, title=f"robin, {name}", environment=environment)
    for name, environment in (
        (DEFAULTS, {}),
        ("not synced", UNSYNCED),
        ("not ranked", UNRANKED),
        ("neither", UNSYNCED | UNRANKED),
    )
)


def run(options: Options) -> Report:
    """Load all in turn, round after round."""
    with running_system(SIDES, options.home, options.environment) as system:
        requests = {running.side.name: prepare(running.url, running.folder) for running in system.sides}
        rounds = alternate(
            system,
            [METHOD],
            options,
            lambda running, method, seconds: load(requests[running.side.name], method, seconds),
        )
        summaries = summarise(rounds, rss_of(system))
    return Report(
        goal="choices",
        noise=reasons_to_doubt(rounds),
        tables=[table(summaries)],
        statements=statements(summaries),
        charts=[*rate_charts(rounds), *cpu_charts(summaries)],
        data={"rounds": rounds, "summaries": summaries},
    )


def table(summaries: Sequence[Summary]) -> Table:
    """Return a row for each choice."""
    return Table(
        title=f"{METHOD}: requests a second, and CPU microseconds a request",
        head=("uploads", "req/s", "spread", "x defaults", "p95 ms", *SERVING, "sum"),
        rows=[
            (
                each.side,
                f"{each.rate:.0f}",
                f"{each.spread:.0%}",
                f"{each.times[DEFAULTS] or 0:.2f}x",
                f"{each.p95_ms:.0f}",
                *(f"{each.cpu_us[name]:.0f}" for name in SERVING),
                f"{each.sum_us:.0f}",
            )
            for each in summaries
        ],
    )


def statements(summaries: Sequence[Summary]) -> list[str]:
    """Say what each choice saves."""
    base = next(each for each in summaries if each.side == DEFAULTS)
    return [
        f"{each.side}: {each.times[DEFAULTS] or 0:.2f}x the uploads a second, "
        f"{base.sum_us - each.sum_us:.0f} us of CPU less for each"
        for each in summaries
        if each is not base
    ]

"""Goal 3: two workers of each service beat one on this machine, and their counters add up exactly.

The counters are http_requests_total of every worker in Prometheus, before and after a load whose client waits for each
answer: that is vegeta, as wrk leaves its last requests alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import httpx

from benchmarks import vegeta
from benchmarks.figures import at_least
from benchmarks.load import METHODS, Requests, load, prepare
from benchmarks.options import Options
from benchmarks.report import Bars, Chart, Report, Table
from benchmarks.rounds import alternate, reasons_to_doubt
from benchmarks.sides import ROBIN
from benchmarks.summary import SERVING, Summary, cpu_charts, rate_charts, rss_of, summarise
from benchmarks.system import RunningSide, System, running_system
from benchmarks.vegeta import Vegeta
from benchmarks.waiting import settled
from local_stack.progress import Progress
from telemetry_queries.prometheus import Prometheus

ONE, TWO = "one-worker", "two-workers"
SIDES = (
    replace(ROBIN, name=ONE, title="robin, one worker of each service"),
    replace(ROBIN, name=TWO, title="robin, two workers of each service", workers=2),
)
GOAL = 1.0  # times one worker
COUNTED_SECONDS = 5
# The services send every 4 s, and the collector waits a moment for more.
QUIET_SECONDS = 8.0


@dataclass(frozen=True, kw_only=True)
class Count:
    """What the workers of a service say of the requests that the client sent."""

    side: str
    role: str
    sent: int
    counted: Mapping[str, float]  # by worker

    @property
    def exact(self) -> bool:
        """Whether all of them together counted each request once."""
        return sum(self.counted.values()) == self.sent


def run(options: Options) -> Report:
    """Load both in turn, then count."""
    client = vegeta.built(options)
    with running_system(SIDES, options.home, options.environment, prometheus=True) as system:
        requests = {running.side.name: prepare(running.url, running.folder) for running in system.sides}
        rounds = alternate(
            system,
            METHODS,
            options,
            lambda running, method, seconds: load(requests[running.side.name], method, seconds),
        )
        summaries = summarise(rounds, rss_of(system))
        counts = _counts(system, requests, client, options.progress)
    return Report(
        goal="scaling",
        noise=reasons_to_doubt(rounds),
        tables=[rate_table(summaries), count_table(counts)],
        statements=statements(summaries, counts),
        charts=[*rate_charts(rounds), *cpu_charts(summaries), count_chart(counts)],
        data={"rounds": rounds, "summaries": summaries, "counts": counts},
    )


def _counts(
    system: System, requests: Mapping[str, Requests], client: Vegeta, progress: Progress
) -> list[Count]:
    counts: list[Count] = []
    with httpx.Client(timeout=10, trust_env=False) as http:
        prometheus = Prometheus(http, system.prometheus_url)
        for running in system.sides:
            progress.step(f"counting the requests of {running.side.title}")
            before = _counted(prometheus, running)
            sent = sum(
                client.attack(requests[running.side.name], method, COUNTED_SECONDS).requests
                for method in METHODS
            )
            after = _counted(prometheus, running)
            counts.extend(
                Count(side=running.side.name, role=role, sent=sent, counted=rise(before[role], after[role]))
                for role in after
            )
    return counts


def _counted(prometheus: Prometheus, side: RunningSide) -> dict[str, dict[str, float]]:
    """Return what each worker of each service has counted of requests for documents, once all of it has come."""

    def read() -> dict[str, dict[str, float]]:
        return {role: _by_worker(prometheus, port) for role, port in side.ports.items()}

    return settled(read, QUIET_SECONDS)


def _by_worker(prometheus: Prometheus, port: int) -> dict[str, float]:
    workers = f'path=~"/clients/.*", instance=~".*:{port}(:.*)?"'
    found = prometheus.query(f"sum by (instance) (http_requests_total{{{workers}}})")
    return {sample.labels["instance"]: sample.value for sample in found}


def rise(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return by how much each worker's counter rose; one that had none began at 0."""
    return {worker: value - before.get(worker, 0.0) for worker, value in after.items()}


def rate_table(summaries: Sequence[Summary]) -> Table:
    """Return a row for each method and side."""
    return Table(
        title="Requests a second, and CPU microseconds a request",
        head=(
            "side",
            "method",
            "req/s",
            "spread",
            "x one worker",
            "p95 ms",
            *SERVING,
            "sum",
            "RSS api",
            "RSS store",
        ),
        rows=[
            (
                each.side,
                each.method,
                f"{each.rate:.0f}",
                f"{each.spread:.0%}",
                f"{each.times[ONE] or 0:.2f}x",
                f"{each.p95_ms:.0f}",
                *(f"{each.cpu_us[name]:.0f}" for name in SERVING),
                f"{each.sum_us:.0f}",
                *(f"{each.rss_mib[role]:.0f}" for role in ("api", "store")),
            )
            for each in summaries
        ],
    )


def count_table(counts: Sequence[Count]) -> Table:
    """Return a row for each service."""
    return Table(
        title="Requests that the client had answered, and http_requests_total of each worker",
        head=("service", "sent", "counted", "by worker"),
        rows=[
            (
                f"{each.role} of {each.side}",
                f"{each.sent}",
                f"{sum(each.counted.values()):.0f}",
                " + ".join(f"{value:.0f}" for value in each.counted.values()),
            )
            for each in counts
        ],
    )


def statements(summaries: Sequence[Summary], counts: Sequence[Count]) -> list[str]:
    """Say whether two workers are worth it, and whether they count right."""
    reached = {each.method: each.times[ONE] for each in summaries if each.side == TWO}
    lines = [
        f"{method}: two workers serve {times or 0:.2f}x of what one serves, goal over {GOAL:.0f}x: {at_least(times, GOAL)}"
        for method, times in reached.items()
    ]
    wrong = [f"{each.role} of {each.side}" for each in counts if not each.exact]
    return [
        *lines,
        f"counters that do not add up: {', '.join(wrong)}" if wrong else "all counters add up exactly",
    ]


def count_chart(counts: Sequence[Count]) -> Chart:
    """Return how evenly the requests went to the workers."""
    return Bars(
        title="Requests of each worker",
        unit="requests",
        values={
            f"{each.side} {each.role} {number}": [value]
            for each in counts
            for number, value in enumerate(each.counted.values(), 1)
        },
    )

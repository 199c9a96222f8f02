"""Goal 7: within 5 s of its answer a request is seen in Jaeger, Prometheus and the log store, with default settings.

The whole local stack runs. Beside a light load (10 GETs a second) documents are uploaded at random moments, each by a
client of its own; from the answer on all three are asked again and again: Jaeger for the trace with spans of both
services, the log store for the lines of nginx and both services, Prometheus for the client's own counter.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx

from benchmarks.errors import BenchmarkError
from benchmarks.figures import at_most, noise, percentile
from benchmarks.load import CONTENT_TYPE, content, multipart
from benchmarks.options import Options
from benchmarks.report import Bars, Chart, Lines, Report, Table
from benchmarks.rounds import loop_ms
from benchmarks.stack import RunningStack, running_stack
from observability.signals import CORRELATION_HEADER
from telemetry_queries.jaeger import Jaeger
from telemetry_queries.prometheus import Prometheus
from telemetry_queries.victorialogs import VictoriaLogs

SERVICES = {"document-api", "data-store"}
LOG_WRITERS = SERVICES | {"nginx"}
MOST_ROUNDS = 50  # so many clients have a counter of their own (document_api/labels.py)
LOAD_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0  # of the probes: at any phase of the exporters' intervals
POLL_SECONDS = 0.05
LONGEST_SECONDS = 60.0
GOAL_SECONDS = 5.0


@dataclass(frozen=True)
class Seen:
    """How long one request took to be seen, in seconds, by back end."""

    seconds: Mapping[str, float]


def run(options: Options) -> Report:
    """Upload one document after the other and look for each."""
    if options.rounds > MOST_ROUNDS:
        raise BenchmarkError(f"at most {MOST_ROUNDS} rounds: further clients have no counter of their own")
    loops = []
    with ExitStack() as stack:
        options.progress.step("starting the local stack with its default settings")
        running = stack.enter_context(running_stack(options))
        client = stack.enter_context(httpx.Client(timeout=30, trust_env=False))
        stack.enter_context(_light_load(running.url))
        seen = []
        for number in range(options.rounds):
            loops.append(loop_ms())
            time.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))  # noqa: S311
            seen.append(_look(client, running, f"freshness-{number}"))
            options.progress.step(
                f"request {number + 1}: "
                + ", ".join(f"{name} {value:.2f} s" for name, value in seen[-1].seconds.items())
            )
    return Report(
        goal="freshness",
        noise=noise({}, [], loops),
        tables=[table(seen)],
        statements=statements(seen),
        charts=charts(seen),
        data={"requests": seen},
    )


def _look(client: httpx.Client, running: RunningStack, name: str) -> Seen:
    correlation_id = _upload(client, running.url, name)
    answered, wall = time.monotonic(), time.time()
    jaeger = Jaeger(client, running.endpoints["jaeger"])
    prometheus = Prometheus(client, running.endpoints["prometheus"])
    logs = VictoriaLogs(client, running.endpoints["logs"])
    questions: Mapping[str, Callable[[], bool]] = {
        "Jaeger": lambda: (
            {span.service for trace in jaeger.find(correlation_id, "document-api") for span in trace.spans}
            >= SERVICES
        ),
        "Prometheus": lambda: bool(prometheus.query(f'documents_uploaded_total{{client="{name}"}}')),
        "log store": lambda: (
            {record.service for record in logs.find(correlation_id, since=wall - 60)} >= LOG_WRITERS
        ),
    }
    with ThreadPoolExecutor(len(questions)) as threads:
        waits = {
            back_end: threads.submit(_seconds_until, asked, answered, f"{name} in {back_end}")
            for back_end, asked in questions.items()
        }
        return Seen({back_end: wait.result() for back_end, wait in waits.items()})


def _seconds_until(seen: Callable[[], bool], began: float, what: str) -> float:
    while not seen():
        if time.monotonic() - began > LONGEST_SECONDS:
            raise BenchmarkError(f"{what} is not seen after {LONGEST_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def _upload(client: httpx.Client, url: str, name: str) -> str:
    answer = client.put(
        f"{url}/clients/{name}/upload-document",
        content=multipart(content()),
        headers={"Content-Type": CONTENT_TYPE},
    )
    answer.raise_for_status()
    return answer.headers[CORRELATION_HEADER]


@contextmanager
def _light_load(url: str) -> Iterator[None]:
    over = threading.Event()

    def read() -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            while not over.wait(LOAD_PAUSE_SECONDS):
                client.get("/clients/freshness-0/documents/1")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def table(seen: Sequence[Seen]) -> Table:
    """Return a row for each back end."""
    return Table(
        title=f"Seconds from the answer until a request is seen, {len(seen)} requests",
        head=("back end", "p50", "p95", "slowest"),
        rows=[
            (
                name,
                f"{percentile(values, 0.5):.2f}",
                f"{percentile(values, 0.95):.2f}",
                f"{max(values):.2f}",
            )
            for name, values in by_back_end(seen).items()
        ],
    )


def statements(seen: Sequence[Seen]) -> list[str]:
    """Say how near the goal is in each back end."""
    return [
        f"{name}: p95 {percentile(values, 0.95):.2f} s, goal {GOAL_SECONDS:.0f} s: "
        f"{at_most(percentile(values, 0.95), GOAL_SECONDS)}"
        for name, values in by_back_end(seen).items()
    ]


def charts(seen: Sequence[Seen]) -> list[Chart]:
    """Return the share of the requests that is seen after so long."""
    return [
        Lines(
            title="Requests that are seen",
            unit="share",
            axis="seconds after the answer",
            points={
                name: [(value, (place + 1) / len(values)) for place, value in enumerate(sorted(values))]
                for name, values in by_back_end(seen).items()
            },
        ),
        Bars(
            title="Seconds until a request is seen",
            unit="seconds",
            values=by_back_end(seen),
            bound=GOAL_SECONDS,
        ),
    ]


def by_back_end(seen: Sequence[Seen]) -> dict[str, list[float]]:
    """Return the times of each back end."""
    return {name: [each.seconds[name] for each in seen] for name in seen[0].seconds}

"""Back ends that are away, and a collector that is killed meanwhile, cost nothing: counted span by span and line by line."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from local_stack.state import State
from observability.signals import HTTP_REQUESTS
from telemetry_queries.sources import Source
from tests.e2e import faults
from tests.e2e.conftest import RunningStack, running_stack
from tests.faults.catalogue import kill
from tests.faults.load import Load, steady
from tests.faults.telemetry import missing
from tests.waiting import eventually

WRITERS: Final = (Source.NGINX, Source.DOCUMENT_API, Source.DATA_STORE, Source.POSTGRESQL)
BACK_ENDS: Final = ("jaeger", "prometheus", "victoria-logs")
# Of requests: before the back ends go, before the collector is killed, until they are back, and after that.
BEFORE, UNTIL_KILLED, AWAY, AFTER = 40, 120, 240, 40
SECONDS: Final = 120  # a slow disk takes its time for what waited
_CORRELATION_ID: Final = re.compile(r"correlation_id='([0-9a-f-]{36})'")
# What a killed collector had sent on and not yet ticked off is sent again: lines of nginx and PostgreSQL only.
MOST_TWICE: Final = 50
Lines = Counter[tuple[str, str]]


@pytest.fixture
def stack() -> Iterator[RunningStack]:
    """A stack of its own: Prometheus forgets an instance some minutes after another test has ended it."""
    with running_stack({}) as running:
        yield running


def test_back_ends_away_and_a_killed_collector_lose_nothing(
    stack: RunningStack, http: httpx.Client, record_property: Any
) -> None:
    """Every span, every line of all four writers, and every count arrive, and none of ours arrives twice."""
    counted = requests_counted(stack, http)
    with (
        faults.slow_inserts(stack, 0.3),
        steady(stack.endpoints["nginx"], f"kept-{time.time():.0f}") as load,
    ):
        sent(load, BEFORE)
        with faults.stopped(stack, *BACK_ENDS):
            sent(load, UNTIL_KILLED)
            kill(*faults.listeners(stack.endpoints["collector"]))
            sent(load, AWAY)
        sent(load, AFTER)
    assert all(request.answered_well for request in load.requests)

    written = lines_written(stack, load)
    assert set(WRITERS) == {service for _, service in written}
    eventually(
        lambda: not (written - lines_stored(stack, http, load)),
        lambda: f"lines are missing: {by_writer(written - lines_stored(stack, http, load))}",
        seconds=SECONDS,
    )
    eventually(lambda: not missing(stack, http, load).spans, "every span", seconds=SECONDS)
    eventually(
        lambda: requests_counted(stack, http) - counted == len(load.requests),
        lambda: f"counted {requests_counted(stack, http) - counted} of {len(load.requests)} requests",
        seconds=SECONDS,
    )
    twice = lines_stored(stack, http, load) - written
    record_property("twice", by_writer(twice))
    assert sum(twice.values()) <= MOST_TWICE


def by_writer(lines: Lines) -> dict[str, int]:
    """Return how many lines these are of each writer."""
    return {writer.value: sum(n for (_, each), n in lines.items() if each == writer) for writer in WRITERS}


def sent(load: Load, requests: int) -> None:
    """Wait until so many more requests were sent."""
    until = len(load.requests) + requests
    eventually(lambda: len(load.requests) >= until, f"{requests} requests", seconds=SECONDS)


def requests_counted(stack: RunningStack, http: httpx.Client) -> float:
    """Return how many requests for documents the document APIs have counted, as Prometheus knows it."""
    query = f'sum({HTTP_REQUESTS.prometheus_name}{{service_name="document-api",path=~"/clients/.*"}}) or vector(0)'
    answer = http.get(f"{stack.endpoints['prometheus']}/api/v1/query", params={"query": query})
    return float(answer.raise_for_status().json()["data"]["result"][0]["value"][1])


def lines_written(stack: RunningStack, load: Load) -> Lines:
    """Return how many lines each writer has written of each request: the truth, out of their own files."""
    state = State(stack.state)
    mine = {request.correlation_id for request in load.requests}
    found = Counter(
        [
            *((each["correlation_id"], each["service"]) for each in services_lines(state.logs)),
            *((each["correlation_id"], Source.NGINX.value) for each in json_lines([state.access_log])),
            *(
                (comment[-1], Source.POSTGRESQL.value)
                for each in json_lines(sorted((state.root / "postgres" / "log").glob("*.json")))
                if (comment := _CORRELATION_ID.findall(each.get("statement") or each.get("message", "")))
            ),
        ]
    )
    return Counter({key: lines for key, lines in found.items() if key[0] in mine})


def services_lines(logs: Path) -> Iterator[dict[str, Any]]:
    """Yield what both services wrote to stdout."""
    files = [*logs.glob("document_api*.log*"), *logs.glob("data_store*.log*")]
    return (line for line in json_lines(files) if "log_message" in line)


def json_lines(files: list[Path]) -> Iterator[dict[str, Any]]:
    """Yield every line that is an object of JSON."""
    for file in files:
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                yield json.loads(line)


def lines_stored(stack: RunningStack, http: httpx.Client, load: Load) -> Lines:
    """Return how many lines of each writer the log store has of each request."""
    answer = http.get(
        f"{stack.endpoints['logs']}/select/logsql/query",
        params={
            "query": "* | stats by (correlation_id, service.name) count() lines",
            "start": f"{load.requests[0].at - 5:.0f}",
            "limit": 1_000_000,
        },
    )
    answer.raise_for_status()
    rows = [json.loads(line) for line in answer.text.splitlines()]
    mine = {request.correlation_id for request in load.requests}
    return Counter(
        {
            (row["correlation_id"], row["service.name"]): int(row["lines"])
            for row in rows
            if row.get("correlation_id") in mine
        }
    )

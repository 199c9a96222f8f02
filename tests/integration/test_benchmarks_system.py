"""What the benchmarks measure comes up, serves, is seen and goes down again; nothing here is measured."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
import psutil
import pytest

from benchmarks.documents import CLIENTS, fill
from benchmarks.load import CLIENT, prepare
from benchmarks.rounds import accepted
from benchmarks.sides import ROBIN
from benchmarks.system import System, running_system
from tests.programs import binary
from tests.waiting import eventually

COUNT: Final = 2 * CLIENTS
FILLED: Final = replace(ROBIN, name="filled", database="robin_filled", workers=2)


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Two sides on a database each; when they are stopped, nothing but logs is left."""
    binary("otelcol")
    with tempfile.TemporaryDirectory(prefix="robin-benchmarks-") as folder:
        home = Path(folder)
        with running_system((ROBIN, FILLED), home, dict(os.environ)) as running:
            processes = [each for parent in running.processes() for each in (parent, *parent.children())]
            yield running
        assert [
            each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE
        ] == []
        assert [path.name for path in home.iterdir()] == ["logs"]


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """A client that knows no proxy."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


def test_a_side_serves_through_nginx_and_the_collector_takes_what_it_tells(
    system: System, http: httpx.Client
) -> None:
    """A PUT and a GET, and the spans of both services; telemetry counts as part of what a request costs."""
    robin, _ = system.sides
    requests = prepare(robin.url, robin.folder)

    assert http.get(requests.document).json()["client_id"] == CLIENT
    eventually(
        lambda: accepted(http.get(system.collector_metrics_url).text)["spans"] >= 12,
        "the spans of a PUT have arrived",
        seconds=30,
    )


def test_every_document_that_the_load_asks_for_is_there(system: System, http: httpx.Client) -> None:
    """Document n of client-(n modulo clients), the first and the last; both are made inside of the database."""
    _, filled = system.sides
    fill(filled.database_url, COUNT)

    for number in (1, CLIENTS - 1, CLIENTS, COUNT):
        found = http.get(f"{filled.url}/clients/client-{number % CLIENTS}/documents/{number}")
        assert (found.status_code, found.json()["filename"]) == (200, f"document-{number}.txt")


def test_a_side_has_as_many_workers_as_it_says(system: System) -> None:
    """One serves by itself; two are children, and count with their parent."""
    robin, filled = system.sides

    def workers(process: psutil.Process) -> int:
        return sum("spawn_main" in " ".join(child.cmdline()) for child in process.children())

    for role in ("api", "store"):
        assert (workers(robin.processes[role]), workers(filled.processes[role])) == (0, 2)

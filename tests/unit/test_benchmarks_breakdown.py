"""The cost breakdown: which part a stack belongs to, and how a process's CPU is shared out."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.breakdown import NATIVE, Breakdown, Profile, read, statements, table
from benchmarks.parts import OTHER, PARTS, SPAN_MAKERS, SPAN_OWNERS, Place, part_of

ROOT = Path(__file__).parents[2]
OURS = ("document_api/", "data_store/", "observability/")
PLACES = sorted(
    {place for places in (*PARTS.values(), *SPAN_OWNERS.values(), SPAN_MAKERS) for place in places},
    key=lambda place: (place.path, place.functions),
)
SERVED = (
    "Server.run (uvicorn/server.py:86)",
    "ObservabilityMiddleware.__call__ (observability/middleware.py:100)",
    "FastAPI.__call__ (fastapi/applications.py:1224)",
    "get_document (document_api/documents/endpoints.py:52)",
)


def functions(tree: ast.AST, prefix: str = "") -> Iterator[str]:
    """Yield the qualified names of all functions and methods of a file."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}"


@pytest.mark.parametrize("place", [place for place in PLACES if place.path.startswith(OURS)], ids=str)
def test_every_place_of_our_own_is_there(place: Place) -> None:
    """A function that was renamed would be counted as its caller's without a word."""
    path = ROOT / place.path
    assert path.is_dir() if place.path.endswith("/") else path.is_file()
    if place.functions:
        assert set(place.functions) <= set(functions(ast.parse(path.read_text())))


@pytest.mark.parametrize(
    ("frames", "part"),
    [
        (("ClientSession._request (aiohttp/client.py:600)",), "HTTP client"),
        (("DocumentService.retrieve (document_api/documents/service.py:63)",), "own code"),
        (("Headers.get (starlette/datastructures.py:560)", "compile (re/__init__.py:206)"), "framework"),
        (("QueuePool._do_get (sqlalchemy/pool/impl.py:140)",), "SQLAlchemy"),
        (
            (
                "Connection.execute (observability/database.py:116)",
                "Connection._sent (observability/database.py:160)",
            ),
            "driver and its wait",
        ),
        (
            (
                "ObservabilityMiddleware._log (observability/middleware.py:180)",
                "Logger.log (logging/__init__.py:1)",
            ),
            "log lines",
        ),
        ((), "own code"),
    ],
)
def test_the_innermost_known_place_decides(frames: tuple[str, ...], part: str) -> None:
    """What is called by many, such as a regular expression, is its caller's."""
    assert part_of([*SERVED, *frames]) == part


@pytest.mark.parametrize(
    ("caller", "part"),
    [
        ("ObservabilityMiddleware._span (observability/middleware.py:150)", "SERVER span"),
        ("StoreClient._send (document_api/documents/store_client.py:80)", "CLIENT span"),
        ("DatabaseTelemetry._before (observability/database.py:160)", "database spans"),
        ("DocumentService.retrieve (document_api/documents/service.py:63)", "spans of steps"),
    ],
)
@pytest.mark.parametrize(
    "made",
    [
        ("Tracer.start_span (observability/spans.py:150)", "getrandbits (random.py:1)"),
        (
            "Step.__exit__ (observability/telemetry.py:90)",
            "RecordingSpan.end (observability/spans.py:120)",
            "span (observability/otlp.py:1)",
        ),
    ],
)
def test_a_span_is_part_of_whoever_started_it(caller: str, part: str, made: tuple[str, ...]) -> None:
    """All spans are made and written in one place: the next frame outside tells them apart."""
    assert part_of([*SERVED, caller, *made]) == part


def test_what_lies_nowhere_is_named_so() -> None:
    """A stack without a known frame is no part's."""
    assert part_of(["main (somewhere.py:1)", "no frame at all"]) == OTHER


def test_a_profile_is_read_by_thread() -> None:
    """The exporting threads do nothing else, whatever their frames are."""
    lines = (
        "thread (11): MainThread;Server.run (uvicorn/server.py:86) 7",
        "thread (11): MainThread;Server.run (uvicorn/server.py:86);send (aiohttp/client.py:1) 3",
        "thread (12): otlp-batches;Thread.run (threading.py:982) 2",
        "thread (13): AnyIO worker thread;run (anyio/x.py:1);save (document_api/documents/incoming.py:1) 4",
    )

    assert read("\n".join(lines)) == {
        11: {"ASGI server": 7, "HTTP client": 3},
        12: {"export": 2},
        13: {"file": 4},
    }


def test_a_threads_samples_share_what_it_used_of_the_cpu() -> None:
    """A thread that waits is sampled as often as one that works; one without samples runs no Python."""
    profile = Profile()

    profile.add(
        read(
            "thread (1): MainThread;run (uvicorn/server.py:1) 30\n"
            "thread (1): MainThread;run (aiohttp/client.py:1) 10\n"
            "thread (2): worker;save (document_api/documents/incoming.py:1) 400"
        ),
        {1: 0.8, 2: 0.1, 3: 0.1},
    )

    assert profile.scaled(1000.0) == pytest.approx(
        {"ASGI server": 600, "HTTP client": 200, "file": 100, NATIVE: 100}
    )


BREAKDOWN = Breakdown(
    method="GET",
    parts_us={
        "api": {"SERVER span": 40.0, "framework": 200.0, "log lines": 20.0},
        "store": {"SERVER span": 20.0},
    },
    beside_us={"nginx": 100.0, "postgres": 20.0, "collector": 0.0},
    signals={"spans": 6.0, "log_records": 2.0, "metric_points": 0.0},
)


def test_a_span_and_a_log_line_have_a_price() -> None:
    """What all of them cost over how many there are."""
    said = statements(BREAKDOWN)

    assert said[0].startswith("GET: 6.0 spans cost 60 us, 10 us each; 2.0 log lines 20 us, 10 us each;")
    assert said[1] == "GET: telemetry is 80 us of the services' 280 us, 29%"


def test_the_table_adds_up_to_all_that_a_request_costs() -> None:
    """The most expensive part first, then what is beside the services."""
    rows = table(BREAKDOWN).rows

    assert rows[0] == ("framework", "200", "0", "200", "50.0%")
    assert rows[1] == ("SERVER span", "40", "20", "60", "15.0%")
    assert rows[-1] == ("all", "", "", "400", "100%")

"""GET /health against databases in every state."""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psycopg2
import pytest

from observability.signals import DATABASE_OPERATIONS, HEALTH_CHECKS, HTTP_REQUESTS
from tests.integration.conftest import SERVICE, PostgreSQL, data_store_on
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

TABLES = {"document_metadata", "users", "clients"}


@pytest.fixture
def silent_database_url() -> Iterator[str]:
    """URL of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"postgresql://robin@127.0.0.1:{listener.getsockname()[1]}/robin"


def test_a_healthy_service_says_so_of_all_its_parts(data_store: httpx.Client) -> None:
    """200 with database, latency, tables and version."""
    answer = data_store.get("/health")
    health = answer.json()
    assert answer.status_code == 200
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", health.pop("timestamp"))
    assert 0 < health["database"].pop("latency_ms") < 5000
    assert health == {
        "status": "healthy",
        "service": "data-store",
        "database": {"status": "healthy"},
        "connection_pool": {"status": "healthy"},
        "tables": dict.fromkeys(TABLES, "healthy"),
        "version": "1.0.0",
    }


@pytest.mark.parametrize("table", sorted(TABLES))
def test_a_missing_table_is_named(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str, table: str
) -> None:
    """Only that table is unhealthy, and with it the service."""
    postgresql.execute(f"DROP TABLE {table} CASCADE", database=database)
    answer = data_store.get("/health")
    health = answer.json()
    assert (answer.status_code, health["status"], health["database"]["status"]) == (
        503,
        "unhealthy",
        "healthy",
    )
    assert health["tables"] == {name: "unhealthy" if name == table else "healthy" for name in TABLES}


@pytest.mark.parametrize(
    ("revoked", "table"),
    [
        ("INSERT ON document_metadata", "document_metadata"),
        ("SELECT ON clients", "clients"),
        ("EXECUTE ON FUNCTION principal_by_key(text, bytea)", "users"),
    ],
)
def test_a_table_that_the_service_may_not_use_is_named(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str, revoked: str, table: str
) -> None:
    """It is there, and of no use; users are reached by a function."""
    postgresql.execute(f"REVOKE {revoked} FROM {SERVICE}", database=database)
    health = data_store.get("/health").json()
    assert health["tables"] == {name: "unhealthy" if name == table else "healthy" for name in TABLES}


def test_a_database_that_is_away_is_unhealthy(postgresql: PostgreSQL, telemetry: TelemetrySpy) -> None:
    """503, everything unhealthy, no latency; the service itself still answers."""
    with data_store_on(postgresql.url("not_there"), telemetry) as client:
        answer = client.get("/health")
    health = answer.json()
    assert answer.status_code == 503
    assert health["database"] == {"status": "unhealthy", "latency_ms": None}
    assert health["tables"] == dict.fromkeys(TABLES, "unhealthy")


def test_a_database_that_is_silent_is_unhealthy_at_the_deadline(
    silent_database_url: str, telemetry: TelemetrySpy
) -> None:
    """The answer waits for the deadline, not for the database's time-outs."""
    with data_store_on(silent_database_url, telemetry, health_deadline_seconds=0.2) as client:
        started = time.monotonic()
        answer = client.get("/health")
        seconds = time.monotonic() - started
    assert answer.status_code == 503
    assert 0.2 <= seconds < 2


def test_health_answers_while_every_request_waits_for_the_database(
    postgresql: PostgreSQL, database: str, telemetry: TelemetrySpy
) -> None:
    """A busy service is not a dead one: the probe has a thread and a connection of its own."""
    locking = psycopg2.connect(postgresql.superuser_url(database))
    with (
        data_store_on(postgresql.url(database), telemetry, database_pool_size=1) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        locking.cursor().execute("LOCK TABLE document_metadata IN ACCESS EXCLUSIVE MODE")
        waiting = [threads.submit(client.get, "/clients/acme/documents/1") for _ in range(2)]
        eventually(
            lambda: postgresql.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'data-store'"
            )
        )
        assert client.get("/health").status_code == 200
        locking.close()
        assert [answer.result().status_code for answer in waiting] == [404, 404]


def test_a_pool_in_which_requests_found_no_connection_is_degraded(
    postgresql: PostgreSQL, database: str, telemetry: TelemetrySpy
) -> None:
    """200: it serves, though not everybody."""
    locking = psycopg2.connect(postgresql.superuser_url(database))
    settings = {"database_pool_size": 1, "database_pool_timeout_seconds": 0.1}
    with (
        data_store_on(postgresql.url(database), telemetry, **settings) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        assert client.get("/health").json()["status"] == "healthy"
        locking.cursor().execute("LOCK TABLE document_metadata IN ACCESS EXCLUSIVE MODE")
        waiting = [threads.submit(client.get, "/clients/acme/documents/1") for _ in range(2)]
        eventually(lambda: any(answer.done() and answer.result().status_code == 503 for answer in waiting))
        locking.close()
        answer = client.get("/health")
    health = answer.json()
    assert (answer.status_code, health["status"]) == (200, "degraded")
    assert health["connection_pool"] == {"status": "degraded"}
    assert health["database"]["status"] == "healthy"


def test_health_requests_count_and_leave_neither_span_nor_line(
    data_store: httpx.Client, telemetry: TelemetrySpy
) -> None:
    """They are in http_* and health_* metrics; their SQL counts as work on the catalogue, not on documents."""
    for _ in range(3):
        data_store.get("/health", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    eventually(lambda: telemetry.series(HTTP_REQUESTS).get(("GET", "/health", "200")) == 3)
    assert telemetry.series(HEALTH_CHECKS) == {
        (component, "healthy"): 3 for component in {"overall", "database", "connection_pool", *TABLES}
    }
    assert telemetry.series(DATABASE_OPERATIONS) == {("SELECT", "pg_catalog.pg_class", "true"): 3}
    assert telemetry.spans() == []
    assert [line for line in telemetry.messages() if "health" in line] == []


def test_a_silent_database_is_asked_once_however_many_ask_for_health(telemetry: TelemetrySpy) -> None:
    """Each question would take a connection away from the requests."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"postgresql://robin@127.0.0.1:{listener.getsockname()[1]}/robin"
        with data_store_on(url, telemetry, health_deadline_seconds=0.1) as client:
            assert [client.get("/health").status_code for _ in range(5)] == [503] * 5
        listener.settimeout(0)
        connections = 0
        with suppress(BlockingIOError):
            while True:
                listener.accept()[0].close()
                connections += 1
    assert connections == 1

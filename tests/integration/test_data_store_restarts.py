"""The data store while PostgreSQL goes away and comes back in every way: who asks afterwards notices nothing."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
import pytest

from data_store.migrations import LOCK, Place, is_migrated
from observability.signals import DATABASE_OPERATIONS, DATABASE_POOL
from tests.integration.conftest import PostgreSQL, data_store_on, prepared_postgresql
from tests.ports import free_port
from tests.records import DOCUMENT, DOCUMENTS, assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually, until_up

CHECKOUT = Path(__file__).parents[2]
START_SECONDS = 30
POOL = 8
# Sooner than by default, and late enough for a busy machine.
IN_A_HURRY = {
    "database_pool_timeout_seconds": 2,
    "lock_timeout_seconds": 0.8,
    "statement_timeout_seconds": 1,
}


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A server of this module's own, which it breaks; crashes and recovers a dozen times."""
    with prepared_postgresql() as server:
        yield server


def restarted_fast(server: PostgreSQL) -> None:
    """Sessions are told good-bye."""
    server.end()
    server.start()


def restarted_at_once(server: PostgreSQL) -> None:
    """Sessions are dropped, and what was written is read back."""
    server.end(signal.SIGQUIT)
    server.start()


def killed(server: PostgreSQL) -> None:
    """The postmaster is gone without a word, and its children notice."""
    children = psutil.Process(server.process.pid).children()
    server.end(signal.SIGKILL)
    psutil.wait_procs(children, 30)
    server.start()


def crashed(server: PostgreSQL) -> None:
    """One backend is killed, and PostgreSQL drops all others and begins anew."""
    victim = psycopg2.connect(server.superuser_url("postgres"))
    before = server.log.read_text().count("reinitializing")
    os.kill(victim.info.backend_pid, signal.SIGKILL)
    eventually(lambda: server.log.read_text().count("reinitializing") > before)
    server.await_start()


def fill_pool(client: httpx.Client) -> int:
    """Make the pool hold all the connections that it may, and return how many documents that took."""
    together = threading.Barrier(POOL)

    def ask(_: int) -> int:
        together.wait(10)
        return client.post(DOCUMENTS, json=DOCUMENT).status_code

    with ThreadPoolExecutor(POOL) as threads:
        statuses = [status for _ in range(4) for status in threads.map(ask, range(POOL))]
    assert statuses == [201] * len(statuses)
    return len(statuses)


def ask_for_everything(client: httpx.Client) -> Counter[int]:
    """Write and read at once, more than the pool has connections; return the statuses."""

    def ask(number: int) -> int:
        if number % 2:
            return client.get(f"{DOCUMENTS}/1").status_code
        return client.post(DOCUMENTS, json=DOCUMENT).status_code

    with ThreadPoolExecutor(2 * POOL) as threads:
        return Counter(threads.map(ask, range(4 * POOL)))


@pytest.mark.parametrize("broken", [restarted_fast, restarted_at_once, killed, crashed])
def test_a_restart_of_postgresql_fails_no_request_that_comes_after_it(
    postgresql: PostgreSQL,
    database: str,
    database_url: str,
    telemetry: TelemetrySpy,
    broken: Callable[[PostgreSQL], None],
) -> None:
    """Every connection of the pool is dead, and is replaced before it is used."""
    with data_store_on(database_url, telemetry, database_pool_size=POOL) as client:
        written = fill_pool(client)
        stale = telemetry.series(DATABASE_POOL)["idle",]
        broken(postgresql)
        assert ask_for_everything(client) == {200: 2 * POOL, 201: 2 * POOL}
        assert client.get("/health").json()["status"] == "healthy"
    assert postgresql.count(database, "document_metadata") == written + 2 * POOL
    assert stale > POOL // 2, "the pool was full of connections that died"
    lost = [message for message in telemetry.messages("WARN") if "lost while nobody used it" in message]
    assert 1 <= len(lost) <= stale
    failed = [labels for labels in telemetry.series(DATABASE_OPERATIONS) if labels[-1] == "false"]
    assert failed == [], "no statement was sent on a dead connection"


@contextmanager
def locked(server: PostgreSQL, database: str) -> Iterator[None]:
    """Let everybody wait who wants a document."""
    holding = psycopg2.connect(server.superuser_url(database))
    holding.cursor().execute("LOCK TABLE document_metadata IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        holding.close()


def terminate_waiting(server: PostgreSQL, database: str) -> None:
    """End the session that waits for a lock, once there is one."""
    eventually(
        lambda: server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"  # noqa: S608  a name of our own
            f" WHERE datname = '{database}' AND application_name = 'data-store' AND wait_event_type = 'Lock'"
        )
    )


@dataclass(frozen=True)
class Once:
    """A request whose first attempt is lost."""

    method: str
    path: str
    body: dict[str, Any] | None
    operation: str
    status: int
    spans: tuple[str, ...]
    endings: tuple[str, ...]


WRITE = Once(
    "POST",
    DOCUMENTS,
    DOCUMENT,
    "INSERT",
    201,
    ("database_connection", "sql_execution", "transaction_commit"),
    ("rolled_back", "committed"),
)
READ = Once("GET", f"{DOCUMENTS}/1", None, "SELECT", 404, ("database_connection", "sql_execution"), ())


@pytest.mark.parametrize("once", [WRITE, READ], ids=["write", "read"])
def test_what_was_lost_before_its_commit_is_done_once_more(
    postgresql: PostgreSQL, database: str, database_url: str, telemetry: TelemetrySpy, once: Once
) -> None:
    """The client notices nothing, the document is there once, and the telemetry tells of both attempts."""
    with data_store_on(database_url, telemetry) as client, ThreadPoolExecutor(1) as threads:
        with locked(postgresql, database):
            asked = threads.submit(client.request, once.method, once.path, json=once.body)
            terminate_waiting(postgresql, database)
            eventually(lambda: len(telemetry.spans("database_connection")) == 2)
        assert asked.result().status_code == once.status
    assert postgresql.count(database, "document_metadata") == (once is WRITE)
    below = [span for span in sorted(telemetry.spans(), key=lambda span: span.start_time or 0) if span.parent]
    assert tuple(span.name for span in below) == 2 * once.spans
    assert telemetry.series(DATABASE_OPERATIONS) == {
        (once.operation, "document_metadata", "false"): 1,
        (once.operation, "document_metadata", "true"): 1,
    }
    ended = tuple((span.attributes or {})["success_status"] for span in telemetry.spans("transaction_commit"))
    assert ended == once.endings
    assert "The connection to the database was lost: the work is done once more" in telemetry.messages("WARN")


def test_what_is_lost_twice_is_a_503(
    postgresql: PostgreSQL, database: str, database_url: str, telemetry: TelemetrySpy
) -> None:
    """Nobody is kept waiting by a database that drops everybody."""
    with data_store_on(database_url, telemetry) as client, ThreadPoolExecutor(1) as threads:
        with locked(postgresql, database):
            asked = threads.submit(client.post, DOCUMENTS, json=DOCUMENT)
            for _ in range(2):
                terminate_waiting(postgresql, database)
            assert_problem(asked.result(), 503)
        assert client.post(DOCUMENTS, json=DOCUMENT).status_code == 201
    assert postgresql.count(database, "document_metadata") == 1


def test_a_database_that_is_silent_is_waited_for_no_longer_than_told(
    postgresql: PostgreSQL, database: str, database_url: str, telemetry: TelemetrySpy
) -> None:
    """Its processes are stopped: connections stay, new ones are taken, and nothing answers. Afterwards all is well by itself."""
    with (
        data_store_on(database_url, telemetry, database_pool_size=POOL, **IN_A_HURRY) as client,
        ThreadPoolExecutor(2 * POOL) as threads,
    ):
        written = fill_pool(client)
        with postgresql.held():
            answers = [
                threads.submit(client.request, method, path, json=body, timeout=30)
                for method, path, body in [
                    ("POST", DOCUMENTS, DOCUMENT),
                    ("GET", f"{DOCUMENTS}/1", None),
                ]
                * POOL
            ]
            for answer in answers:
                assert_problem(answer.result(), 503)
            # Now there is no connection to lose, and none is to be had.
            assert_problem(client.get(f"{DOCUMENTS}/1", timeout=30), 503)
        eventually(lambda: client.get(f"{DOCUMENTS}/1").status_code == 200)
        assert ask_for_everything(client) == {200: 2 * POOL, 201: 2 * POOL}
    # What had been sent is undone when PostgreSQL finds nobody to answer.
    eventually(lambda: postgresql.count(database, "document_metadata") == written + 2 * POOL)
    assert "The database does not answer: the connection is cut" in telemetry.messages("WARN")


def test_a_commit_that_is_cut_is_no_503(
    postgresql: PostgreSQL, database: str, database_url: str, telemetry: TelemetrySpy
) -> None:
    """The record may be stored, which only the database knows."""
    postgresql.execute(
        """
        CREATE FUNCTION on_commit() RETURNS trigger LANGUAGE plpgsql SET statement_timeout = 0 AS
            $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER on_commit AFTER INSERT ON document_metadata
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION on_commit();
        """,
        database=database,
    )
    with data_store_on(database_url, telemetry, **IN_A_HURRY) as client, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(client.post, DOCUMENTS, json=DOCUMENT)
        eventually(
            lambda: postgresql.execute(
                f"SELECT 1 FROM pg_stat_activity WHERE datname = '{database}' AND wait_event = 'PgSleep'"  # noqa: S608
            )
        )
        with postgresql.held():
            assert_problem(asked.result(), 504)
    assert telemetry.attributes("transaction_commit")["success_status"] == "unknown"


@contextmanager
def starting(command: str, url: str, output: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start `python -m data_store COMMAND`, and end it afterwards."""
    variables = {"OTEL_SDK_DISABLED": "true", "DATABASE_URL": url, "PORT": str(port)}
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "data_store", command],
            cwd=CHECKOUT,
            env={"PATH": os.environ["PATH"], **variables},
            stdout=file,
            stderr=file,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_start_waits_for_a_database_that_is_not_up_yet_or_goes_away_again(
    postgresql: PostgreSQL, tmp_path: Path, command: str
) -> None:
    """First PostgreSQL is down, then it is restarted while the schema is being migrated: nobody has to lend a hand."""
    database, port, output = postgresql.create_database(), free_port(), tmp_path / "output"

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/health").json()["status"] == "healthy"
        return False

    postgresql.end()
    with starting(command, postgresql.owner_url(database), output, port) as process:
        eventually(lambda: "accepts no connection yet" in output.read_text(), seconds=START_SECONDS)
        postgresql.start()
        locking = psycopg2.connect(postgresql.owner_url(database))
        locking.cursor().execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        eventually(
            lambda: postgresql.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory'"),
            seconds=START_SECONDS,
        )
        restarted_fast(postgresql)
        if command == "serve":
            until_up(process, answers, seconds=START_SECONDS)
        else:
            assert process.wait(START_SECONDS) == 0
    assert is_migrated(Place(postgresql.owner_url(database), 0))
    assert "Traceback" not in output.read_text()

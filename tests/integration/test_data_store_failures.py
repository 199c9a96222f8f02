"""The data store while its database fails, over a real socket: clients are told, nothing half-done stays."""

import os
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import psycopg2
import pytest
from opentelemetry.trace import StatusCode

from observability.signals import (
    DATABASE_OPERATIONS,
    DATABASE_POOL_EXHAUSTED,
    DATABASE_POOL_WAIT,
    HTTP_IN_PROGRESS,
)
from tests.integration.conftest import PostgreSQL, data_store_on
from tests.records import DOCUMENT, DOCUMENTS, assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually


def assert_unavailable(answer: httpx.Response, why: str = "") -> None:
    """Hold an answer to 503 with Retry-After."""
    assert assert_problem(answer, 503)["detail"].startswith(why)
    assert int(answer.headers["retry-after"]) > 0


def on_commit(postgresql: PostgreSQL, database: str, statement: str) -> None:
    """Make every commit of a document run a statement: a deferred trigger runs in COMMIT itself."""
    postgresql.execute(
        f"""
        CREATE FUNCTION on_commit() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN {statement}; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER on_commit AFTER INSERT ON document_metadata
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION on_commit();
        """,
        database=database,
    )


@pytest.fixture
def lock(superuser_url: str) -> Iterator[psycopg2.extensions.connection]:
    """Hold the table of documents: every statement on it waits until this connection closes."""
    connection = psycopg2.connect(superuser_url)
    connection.cursor().execute("LOCK TABLE document_metadata IN ACCESS EXCLUSIVE MODE")
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("sqlstate", "status"),
    [("P0001", 500), ("40001", 503), ("23514", 409)],
    ids=["unknown reason", "serialization failure", "integrity"],
)
def test_a_failing_commit_is_no_success_and_leaves_nothing(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str, sqlstate: str, status: int
) -> None:
    """The commit comes before the answer, whose status is the commit's."""
    on_commit(postgresql, database, f"RAISE EXCEPTION 'commit fails' USING ERRCODE = '{sqlstate}'")
    assert_problem(data_store.post(DOCUMENTS, json=DOCUMENT), status)
    assert postgresql.count(database, "document_metadata") == 0
    assert postgresql.count(database, "clients") == 0


@pytest.mark.parametrize("end", ["pg_terminate_backend", "pg_cancel_backend"])
def test_a_commit_that_is_not_confirmed_is_neither_a_success_nor_a_503(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str, telemetry: TelemetrySpy, end: str
) -> None:
    """503 promises that nothing was stored, and here only the database knows: 504, success_status unknown."""
    on_commit(postgresql, database, f"PERFORM {end}(pg_backend_pid()); PERFORM pg_sleep(10)")
    assert_problem(data_store.post(DOCUMENTS, json=DOCUMENT), 504)
    assert telemetry.attributes("transaction_commit")["success_status"] == "unknown"


def test_an_answered_document_survives_a_crash_of_postgresql(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str, superuser_url: str
) -> None:
    """docs/adr/0012: a killed backend makes PostgreSQL lose its memory, and read back what it had written."""
    victim = psycopg2.connect(superuser_url)
    answers = [data_store.post(DOCUMENTS, json=DOCUMENT) for _ in range(3)]
    os.kill(victim.info.backend_pid, signal.SIGKILL)
    assert [answer.status_code for answer in answers] == [201] * 3

    def recovered() -> list[Any]:
        with suppress(psycopg2.OperationalError):
            return postgresql.execute("SELECT id FROM document_metadata ORDER BY id", database=database)
        return []

    eventually(lambda: "all server processes terminated; reinitializing" in postgresql.log.read_text())
    assert eventually(recovered, seconds=30) == [(answer.json()["id"],) for answer in answers]


def test_requests_wait_for_a_connection_and_say_how_long(
    database_url: str, telemetry: TelemetrySpy, lock: psycopg2.extensions.connection
) -> None:
    """More requests than connections queue up; each one's span and the metric have its wait."""
    with (
        data_store_on(database_url, telemetry, database_pool_size=2) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        waiting = [threads.submit(client.get, f"{DOCUMENTS}/1") for _ in range(8)]
        eventually(lambda: telemetry.series(HTTP_IN_PROGRESS).get(("GET",)) == 8)
        release = threading.Timer(0.5, lock.close)
        release.start()
        assert [answer.result().status_code for answer in waiting] == [404] * 8
        release.join()
    connections = telemetry.spans("database_connection")
    waits = sorted(float(str((span.attributes or {})["connection_pool.wait"])) for span in connections)
    assert len(waits) == 8
    assert waits[2] > 0.1, "two found a connection, six had to wait"
    assert telemetry.series(DATABASE_POOL_WAIT) == {(): 8}
    assert telemetry.series(DATABASE_POOL_EXHAUSTED) == {}


def test_a_request_that_waits_too_long_for_a_connection_is_a_503_that_counts(
    database_url: str, telemetry: TelemetrySpy, lock: psycopg2.extensions.connection
) -> None:
    """DATABASE_POOL_TIMEOUT_SECONDS: nothing was asked of the database, and nothing is asked later."""
    with (
        data_store_on(
            database_url, telemetry, database_pool_size=1, database_pool_timeout_seconds=0.1
        ) as client,
        ThreadPoolExecutor(3) as threads,
    ):
        asked = [threads.submit(client.get, f"{DOCUMENTS}/1") for _ in range(3)]
        eventually(lambda: telemetry.series(DATABASE_POOL_EXHAUSTED) == {(): 2})
        lock.close()
        answers = sorted((each.result() for each in asked), key=lambda answer: answer.status_code)
    assert answers[0].status_code == 404
    for refused in answers[1:]:
        assert_unavailable(refused)
    assert telemetry.series(DATABASE_OPERATIONS) == {("SELECT", "document_metadata", "true"): 1}
    failed = [
        span for span in telemetry.spans("database_connection") if span.status.status_code is StatusCode.ERROR
    ]
    # An event loop's timer counts from the moment at which the loop last looked at its clock: it may be early by some ms.
    waits = [float(str((span.attributes or {})["connection_pool.wait"])) for span in failed]
    assert [wait > 0.05 for wait in waits] == [True, True]


def test_who_finds_the_line_for_a_connection_full_is_told_at_once(
    database_url: str, telemetry: TelemetrySpy, lock: psycopg2.extensions.connection
) -> None:
    """One has the connection, 32 wait for it, and nobody's patience has an end here: all others are 503, and count."""
    settings = {
        "requests_in_hand": 40,  # so that the line is what is full
        "database_pool_size": 1,
        "database_pool_timeout_seconds": 60,
        "lock_timeout_seconds": 30,
        "statement_timeout_seconds": 60,
    }
    with data_store_on(database_url, telemetry, **settings) as client, ThreadPoolExecutor(40) as threads:
        asked = [threads.submit(client.get, f"{DOCUMENTS}/1") for _ in range(40)]
        eventually(lambda: telemetry.series(DATABASE_POOL_EXHAUSTED) == {(): 7})
        lock.close()
        statuses = Counter(each.result().status_code for each in asked)
    assert statuses == {404: 33, 503: 7}


def test_a_statement_that_waits_too_long_for_a_lock_is_cancelled_and_a_503(
    database_url: str, telemetry: TelemetrySpy, lock: psycopg2.extensions.connection
) -> None:
    """LOCK_TIMEOUT_SECONDS is PostgreSQL's to enforce; the connection stays usable."""
    with data_store_on(database_url, telemetry, lock_timeout_seconds=0.1) as client:
        assert_unavailable(client.post(DOCUMENTS, json=DOCUMENT), "Others hold")
        assert_unavailable(client.get(f"{DOCUMENTS}/1"), "Others hold")
        lock.close()
        assert client.post(DOCUMENTS, json=DOCUMENT).status_code == 201


def test_a_database_that_lets_nobody_in_is_a_503_in_time(telemetry: TelemetrySpy) -> None:
    """It takes connections and says nothing: libpq would wait for two seconds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"postgresql://robin@127.0.0.1:{listener.getsockname()[1]}/robin"
        settings = {
            "database_pool_timeout_seconds": 0.1,
            "lock_timeout_seconds": 0.05,
            "statement_timeout_seconds": 0.1,
        }
        with data_store_on(url, telemetry, **settings) as client:
            assert_unavailable(client.get(f"{DOCUMENTS}/1"), "The database does not answer")
            with listener.accept()[0] as waiting:
                waiting.setblocking(False)
                assert waiting.recv(4096), "libpq has introduced itself"
                with pytest.raises(BlockingIOError):  # and has not gone: it waits
                    waiting.recv(1)


@pytest.fixture
def full_disk(postgresql: PostgreSQL, database: str) -> Iterator[None]:
    """Let documents be stored on a disk of their own, which has no room left."""
    folder = postgresql.folder / f"disk-{database}"
    folder.mkdir()
    size = "size=1m,mode=0700," + ",".join(
        f"{name[0]}id={postgresql.as_user[name]}" for name in ("user", "group")
    )
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
    try:
        postgresql.execute(f"CREATE TABLESPACE {database} LOCATION '{folder}'")
        postgresql.execute(f"ALTER TABLE document_metadata SET TABLESPACE {database}", database=database)
        with (folder / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        yield
        postgresql.execute("ALTER TABLE document_metadata SET TABLESPACE pg_default", database=database)
        postgresql.execute(f"DROP TABLESPACE {database}")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")
@pytest.mark.usefixtures("full_disk")
def test_a_disk_that_is_full_is_a_507_that_stores_nothing(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """Trying again is no help, so nothing invites to it; what is stored can be read."""
    problem = assert_problem(data_store.post(DOCUMENTS, json=DOCUMENT), 507)
    assert problem["detail"] == "The database has no room left; nothing was stored."
    assert postgresql.count(database, "clients") == 0
    assert data_store.get(f"{DOCUMENTS}/1").status_code == 404


def test_a_database_that_is_away_is_a_503_that_does_not_say_where_it_was(
    postgresql: PostgreSQL, telemetry: TelemetrySpy
) -> None:
    """The reason is in the log, once, and not in the answer."""
    with data_store_on(postgresql.url("not_there"), telemetry) as client:
        for answer in (client.post(DOCUMENTS, json=DOCUMENT), client.get(f"{DOCUMENTS}/1")):
            assert_unavailable(answer)
            assert "not_there" not in answer.text
    assert telemetry.messages("ERROR") == ["The database does not answer; try again."] * 2


def test_a_bug_is_a_500_that_shows_neither_statement_nor_values(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str, telemetry: TelemetrySpy
) -> None:
    """The answer holds the correlation ID; the log holds the reason, without the document's values."""
    postgresql.execute("ALTER TABLE document_metadata DROP COLUMN summary CASCADE", database=database)
    problem = assert_problem(data_store.post(DOCUMENTS, json=DOCUMENT), 500)
    assert "summary" not in problem["detail"]
    (record,) = eventually(lambda: telemetry.logs("ERROR"))
    attributes = record.log_record.attributes or {}
    assert attributes["correlation_id"] == problem["correlation_id"]
    assert "UndefinedColumn" in str(attributes)
    assert DOCUMENT["filename"] not in str(attributes)

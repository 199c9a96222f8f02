"""A real PostgreSQL's log through a real collector: what is worth reading, and nothing that a statement holds."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from local_stack.postgres import Cluster, database_url, outside_home, place
from local_stack.state import State
from tests.collector import (
    CORRELATION_ID,
    DEADLINE,
    SPAN_ID,
    TRACE_ID,
    Collector,
    Record,
    Sink,
    append,
    one_record,
    running_sink,
    wait_for,
)
from tests.ports import free_port
from tests.programs import binary

SECRET = "s3cr3t-value"
SQL_COMMENT = f"/*correlation_id='{CORRELATION_ID}',traceparent='00-{TRACE_ID}-{SPAN_ID}-03'*/"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Cluster]:
    """A real PostgreSQL with the settings of the local stack."""
    # Not below pytest's folder: that is closed to the user PostgreSQL runs as when root runs the tests.
    root = Path(tempfile.mkdtemp(prefix="robin-collector-"))
    root.chmod(0o755)
    cluster = place(State(root), free_port())
    cluster.initialise("password")
    service = cluster.service()
    process = subprocess.Popen(
        service.command, cwd=service.directory, user=service.user, stderr=subprocess.DEVNULL, env={}
    )
    try:
        wait_for(lambda: _answers(cluster), "PostgreSQL answers")
        yield cluster
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE)
        shutil.rmtree(outside_home(State(root)), ignore_errors=True)
        shutil.rmtree(root)


def _answers(cluster: Cluster) -> bool:
    try:
        _connect(cluster).close()
    except psycopg2.OperationalError:
        return False
    return True


def _connect(cluster: Cluster) -> Any:
    connection = psycopg2.connect(database_url(cluster.port, "password"))
    connection.autocommit = True
    return connection


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """What stands behind the collector."""
    with running_sink() as running:
        yield running


@pytest.fixture(scope="module")
def collector(postgres: Cluster, sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A running collector that reads the real PostgreSQL's log."""
    running = Collector(
        binary("otelcol"),
        tmp_path_factory.mktemp("collector"),
        str(postgres.logs / "*.json"),
        sink.http_port,
        sink.traces_port,
    )
    running.start()
    yield running
    running.end()


def of_statement(postgres_pid: int, body: str) -> Callable[[Record], bool]:
    """Return what picks the record of one session with one body."""
    return lambda record: record.body == body and record.attributes["context_data.pid"] == postgres_pid


def run_and_tell_pid(postgres: Cluster, statement: str) -> int:
    """Run a statement that may fail in a session of its own, and return the session's process id."""
    with closing(_connect(postgres)) as connection, connection.cursor() as cursor:
        pid = int(connection.info.backend_pid)
        try:
            cursor.execute(statement)
        except psycopg2.Error:
            return pid
    return pid


def test_slow_statement_loses_its_text_and_keeps_its_duration(
    collector: Collector, sink: Sink, postgres: Cluster
) -> None:
    """psycopg2 wrote the values into the text; the ids come out of the comment."""
    pid = run_and_tell_pid(postgres, f"SELECT pg_sleep(0.3), '{SECRET}' {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "slow statement"))
    assert (record.level, record.trace_id, record.span_id) == ("WARNING", TRACE_ID, SPAN_ID)
    assert 0.3 <= record.attributes.pop("context_data.duration") < DEADLINE
    assert record.time == pytest.approx(time.time(), abs=DEADLINE)
    assert record.attributes == {
        "correlation_id": CORRELATION_ID,
        "logger": "postgresql",
        "context_data.pid": pid,
        "db.system.name": "postgresql",
        "db.namespace": "robin",
        "db.operation.name": "SELECT",
    }
    assert SECRET not in sink.everything()


AHEAD = pytest.mark.parametrize(
    "ahead",
    [
        "",
        "BEGIN; ",
        "BEGIN; SET LOCAL robin.client_id = 'acme'; SET LOCAL synchronous_commit = off; ",
        "SET LOCAL robin.client_id = 'acme'; SET LOCAL synchronous_commit = off; ",
    ],
)


@AHEAD
def test_slow_statement_that_begins_with_a_subquery_has_its_operation(
    collector: Collector, sink: Sink, postgres: Cluster, ahead: str
) -> None:
    """As a read that is audited does, which takes the tenant of its transaction along."""
    select = "WITH one AS \n(SELECT coalesce(1, (2)) AS a)\n SELECT pg_sleep(0.3), a FROM one"
    pid = run_and_tell_pid(postgres, f"{ahead}{select} {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "slow statement"))
    assert record.attributes["db.operation.name"] == "SELECT"
    assert (record.attributes["correlation_id"], record.trace_id) == (CORRELATION_ID, TRACE_ID)
    assert record.attributes.get("client_id") == ("acme" if "acme" in ahead else None)


@AHEAD
def test_a_statement_that_writes_first_has_that_as_its_operation(
    collector: Collector, sink: Sink, postgres: Cluster, ahead: str
) -> None:
    """The one that stores a document ends in a SELECT of what it stored."""
    insert = (
        "WITH client AS (INSERT INTO nowhere (a, b) SELECT 1, coalesce(2, 3) RETURNING a),"
        " audit AS (INSERT INTO nowhere (a) SELECT a FROM client) SELECT a FROM client"
    )
    pid = run_and_tell_pid(postgres, f"{ahead}{insert} {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "statement failed"))
    assert record.attributes["db.operation.name"] == "INSERT"
    assert (record.attributes["correlation_id"], record.trace_id) == (CORRELATION_ID, TRACE_ID)
    assert record.attributes.get("client_id") == ("acme" if "acme" in ahead else None)


def test_failed_statement_keeps_its_code_and_loses_every_text(
    collector: Collector, sink: Sink, postgres: Cluster
) -> None:
    """PostgreSQL's message quotes the value that it did not like."""
    pid = run_and_tell_pid(postgres, f"SELECT '{SECRET}'::int {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "statement failed"))
    assert (record.level, record.trace_id) == ("ERROR", TRACE_ID)
    assert record.attributes["db.response.status_code"] == "22P02"
    assert record.attributes["correlation_id"] == CORRELATION_ID
    assert SECRET not in sink.everything()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("warning", ("WARNING", "statement raised a notice")), ("log", ("INFO", "statement logged"))],
)
def test_message_raised_by_a_statement_loses_its_text(
    collector: Collector, sink: Sink, postgres: Cluster, kind: str, expected: tuple[str, str]
) -> None:
    """What a statement says of itself may hold values too."""
    pid = run_and_tell_pid(postgres, f"DO $$ BEGIN RAISE {kind} '{SECRET}'; END $$ {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, expected[1]))
    assert record.level == expected[0]
    assert SECRET not in sink.everything()


def test_comment_inside_a_value_is_not_believed(collector: Collector, sink: Sink, postgres: Cluster) -> None:
    """A client may upload a text that looks like our comment."""
    forged = SQL_COMMENT.replace(CORRELATION_ID, "f" * 36)
    pid = run_and_tell_pid(postgres, f"SELECT pg_sleep(0.3), $t${forged}\n{forged}$t$ {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "slow statement"))
    assert record.attributes["correlation_id"] == CORRELATION_ID


def test_server_message_without_a_statement_is_kept(collector: Collector, sink: Sink) -> None:
    """What PostgreSQL says of itself is worth reading."""
    record = one_record(sink, "postgresql", lambda record: "ready to accept connections" in record.body)
    assert (record.level, record.trace_id) == ("INFO", "")


def test_addresses_in_a_server_message_are_masked(collector: Collector, sink: Sink) -> None:
    """PostgreSQL says where it listens, and who may not connect."""
    record = one_record(sink, "postgresql", lambda record: "listening on IPv4" in record.body)
    assert record.body.startswith('listening on IPv4 address "****", port ')


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_sleep(0.3), 'SET LOCAL robin.client_id = ''victim''; '",
        "SET LOCAL robin.client_id = 'a b'; SELECT pg_sleep(0.3)",
    ],
)
def test_a_tenant_is_read_where_no_value_can_stand(
    collector: Collector, sink: Sink, postgres: Cluster, statement: str
) -> None:
    """A client may upload a text that looks like the setting."""
    pid = run_and_tell_pid(postgres, f"{statement} {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "slow statement"))
    assert "client_id" not in record.attributes


def test_unreadable_line_of_postgresql_is_dropped(
    collector: Collector, sink: Sink, postgres: Cluster
) -> None:
    """What cannot be read cannot be cleared of values."""
    append(postgres.logs / "unreadable.json", f'{{"message": "{SECRET}\n')
    pid = run_and_tell_pid(postgres, "SELECT 1/0")
    one_record(sink, "postgresql", of_statement(pid, "statement failed"))
    wait_for(
        lambda: "expected" in collector.own_log and "drop" in collector.own_log,
        "the collector says that it dropped",
    )
    assert SECRET not in sink.everything() + collector.own_log

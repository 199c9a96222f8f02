"""observability.database on a real PostgreSQL, apart from any service."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

import psycopg2
import pytest
from opentelemetry.trace import StatusCode
from sqlalchemy import (
    ClauseElement,
    Column,
    Insert,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from observability.database import Connection, DatabaseTelemetry, Statement
from observability.signals import (
    DATABASE_OPERATION_DURATION,
    DATABASE_OPERATIONS,
    DATABASE_POOL,
    DATABASE_POOL_EXHAUSTED,
    DATABASE_POOL_WAIT,
)
from tests.telemetry_spy import TelemetrySpy, Tree, spied_telemetry

THINGS = Table("things", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))

INSERT = Statement.of(insert(THINGS))
ONE = {"id": 1, "name": "one"}


def run(connection: Connection, statement: ClauseElement, **values: Any) -> None:
    """Run a statement of SQLAlchemy."""
    connection.execute(Statement.of(statement), values)


def run_alone(database: DatabaseTelemetry, statement: Statement, values: dict[str, Any]) -> None:
    """Run a statement in a transaction of its own."""
    with database.begin() as connection:
        connection.execute(statement, values)


@pytest.fixture
def telemetry() -> Iterator[TelemetrySpy]:
    """Telemetry in memory that keeps DEBUG records too."""
    with spied_telemetry(log_level="DEBUG") as spy:
        yield spy


@pytest.fixture
def database(empty_database_url: str, telemetry: TelemetrySpy) -> Iterator[DatabaseTelemetry]:
    """A watched pool of two connections to a database that holds one table."""
    engine = create_engine(empty_database_url, pool_size=2, max_overflow=0, pool_timeout=0.1)
    with engine.begin() as connection:
        THINGS.create(connection)
    watched = DatabaseTelemetry(engine, telemetry.telemetry, slow_statement_seconds=0.2)
    watched.observe_pool()
    yield watched
    engine.dispose()


def names(database: DatabaseTelemetry) -> list[str]:
    """Return what the table holds, unseen by the telemetry."""
    engine = create_engine(database.engine.url)
    with engine.connect() as connection:
        found = list(connection.execute(select(THINGS.c.name).order_by(THINGS.c.id)).scalars())
    engine.dispose()
    return found


def insert_and_raise(lent: AbstractContextManager[Connection], error: BaseException) -> None:
    """Insert a row on a lent connection, then fail."""
    with lent as connection:
        connection.execute(INSERT, ONE)
        raise error


def test_a_transaction_is_committed_at_the_end_of_its_block(
    database: DatabaseTelemetry, telemetry: TelemetrySpy
) -> None:
    """Three spans side by side, and the row is there."""
    with telemetry.telemetry.step("request"), database.begin() as connection:
        connection.execute(INSERT, ONE)
    assert telemetry.tree() == {
        "request": {"database_connection": {}, "sql_execution": {}, "transaction_commit": {}}
    }
    assert telemetry.attributes("transaction_commit")["success_status"] == "committed"
    assert names(database) == ["one"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_any_exception_rolls_the_transaction_back(
    database: DatabaseTelemetry, telemetry: TelemetrySpy, stop: type[BaseException]
) -> None:
    """The span says so, the exception passes through, the connection goes back."""
    with pytest.raises(stop):
        insert_and_raise(database.begin(), stop())
    assert telemetry.attributes("transaction_commit")["success_status"] == "rolled_back"
    assert names(database) == []
    assert telemetry.series(DATABASE_POOL)["in_use",] == 0


def test_a_commit_that_fails_is_not_called_committed(
    database: DatabaseTelemetry, telemetry: TelemetrySpy
) -> None:
    """A deferred constraint fails in COMMIT itself: the span is an error and says rolled_back."""
    deferred = "ALTER TABLE things ADD CONSTRAINT once UNIQUE (name) DEFERRABLE INITIALLY DEFERRED"
    with database.connect() as connection:
        run(connection, text(deferred))
    run_alone(database, INSERT, {"id": 1, "name": "same"})
    with pytest.raises(psycopg2.IntegrityError):
        run_alone(database, INSERT, {"id": 2, "name": "same"})
    commit = telemetry.spans("transaction_commit")[1]
    assert (commit.attributes or {})["success_status"] == "rolled_back"
    assert (commit.attributes or {})["error.type"] == "UniqueViolation"
    assert commit.status.status_code is StatusCode.ERROR
    assert names(database) == ["same"]


def test_a_statement_that_failed_unseen_is_not_committed(
    database: DatabaseTelemetry, telemetry: TelemetrySpy
) -> None:
    """COMMIT would undo such a transaction without a word."""

    def swallow() -> None:
        with database.begin() as connection:
            connection.execute(INSERT, ONE)
            with suppress(psycopg2.Error):
                run(connection, text("SELECT 1 / 0"))

    with pytest.raises(psycopg2.InternalError, match="nothing to commit"):
        swallow()
    assert telemetry.attributes("transaction_commit")["success_status"] == "rolled_back"
    assert names(database) == []


def test_what_is_committed_is_on_the_disk(database: DatabaseTelemetry) -> None:
    """docs/adr/0012: its rows are let go before, whoever waits for the answer is not."""
    with database.begin() as connection:
        connection.execute(INSERT, ONE)
        ((written,),) = connection.execute(Statement.of(text("SELECT pg_current_wal_insert_lsn()")), {})
        assert seen_setting(connection) == "off"
    with database.connect() as connection:
        flushed = Statement.of(text("SELECT pg_current_wal_flush_lsn() > CAST(:written AS pg_lsn)"))
        assert connection.execute(flushed, {"written": written}) == [(True,)]
        assert seen_setting(connection) == "on"


def seen_setting(connection: Connection, *, durable: bool = True) -> str:
    """Return whether a commit waits for the disk."""
    show = text("SELECT current_setting('synchronous_commit')")
    ((setting,),) = connection.execute(Statement.of(show, durable=durable), {})
    return str(setting)


def test_statements_on_a_plain_connection_commit_themselves(
    database: DatabaseTelemetry, telemetry: TelemetrySpy
) -> None:
    """AUTOCOMMIT: what ran before an exception stays, and no span speaks of a transaction."""
    with pytest.raises(ValueError, match="later"):
        insert_and_raise(database.connect(), ValueError("later"))
    assert names(database) == ["one"]
    assert list(telemetry.tree()) == ["database_connection", "sql_execution"]


def test_a_connection_that_committed_itself_can_carry_a_transaction_next(
    database: DatabaseTelemetry,
) -> None:
    """AUTOCOMMIT ends with the block that asked for it, though the pool lends the same connection again."""
    with database.connect() as connection:
        run(connection, select(THINGS))
    with pytest.raises(ValueError, match="undo"):
        insert_and_raise(database.begin(), ValueError("undo"))
    assert names(database) == []


@pytest.mark.parametrize(
    ("statement", "operation", "table"),
    [
        (select(THINGS), "SELECT", "things"),
        (insert(THINGS), "INSERT", "things"),
        (
            update(THINGS).values(name=select(text("relname FROM pg_class LIMIT 1")).scalar_subquery()),
            "UPDATE",
            "things",
        ),
        (THINGS.delete(), "DELETE", "things"),
        (insert(THINGS).add_cte(select(THINGS).cte("other")), "INSERT", "things"),
        (text("SELECT 1"), "SELECT", "none"),
        (text("select now()"), "SELECT", "none"),
        (text("SELECT id\nFROM things"), "SELECT", "things"),
        (text("SELECT relname FROM pg_catalog.pg_class LIMIT 1"), "SELECT", "pg_catalog.pg_class"),
        (text('INSERT INTO "things" SELECT oid FROM pg_class LIMIT 1'), "INSERT", "things"),
        (text("UPDATE things SET name = (SELECT relname FROM pg_class LIMIT 1)"), "UPDATE", "things"),
        (text("DELETE FROM things"), "DELETE", "things"),
        (text("WITH a AS (SELECT 1), b AS (SELECT 2) SELECT * FROM things"), "SELECT", "things"),
        (text("SHOW timezone"), "SHOW", "none"),
    ],
)
def test_a_statement_is_labelled_by_its_operation_and_table(
    database: DatabaseTelemetry, telemetry: TelemetrySpy, statement: ClauseElement, operation: str, table: str
) -> None:
    """However it was written."""
    values = {"id": 1, "name": "from"} if isinstance(statement, Insert) else {}
    with database.begin() as connection:
        run(connection, statement, **values)
    assert telemetry.series(DATABASE_OPERATIONS) == {(operation, table, "true"): 1}
    assert telemetry.series(DATABASE_OPERATION_DURATION) == {(operation, table): 1}
    assert telemetry.attributes("sql_execution")["db.query.summary"] == f"{operation} {table}"


SEEN: Final = Statement.of(
    text("SELECT pg_backend_pid(), nullif(current_setting('robin.client_id', true), '')")
)


def seen(connection: Connection) -> tuple[int, str | None]:
    """Return which backend serves a connection, and for which tenant."""
    ((backend, tenant),) = connection.execute(SEEN, {})
    return backend, tenant


@pytest.mark.parametrize("lend", [DatabaseTelemetry.connect, DatabaseTelemetry.begin])
def test_every_statement_of_a_block_is_the_tenants(
    database: DatabaseTelemetry, lend: Callable[..., AbstractContextManager[Connection]]
) -> None:
    """Whether each is its own transaction or all are one."""
    with lend(database, tenant="acme") as connection:
        assert [seen(connection)[1] for _ in range(3)] == ["acme"] * 3


@pytest.mark.parametrize(
    "tenant", ["o'hara", "back\\slash", "100%", "%(id)s", "'; DROP TABLE things; --", ""]
)
def test_a_tenant_is_a_value_whatever_is_in_it(database: DatabaseTelemetry, tenant: str) -> None:
    """It is quoted by the driver; who may be one is decided elsewhere."""
    with database.begin(tenant=tenant) as connection:
        assert seen(connection)[1] == (tenant or None)
        run(connection, select(THINGS))


def _read(database: DatabaseTelemetry) -> None:
    with database.connect(tenant="acme") as connection:
        assert seen(connection)[1] == "acme"


def _commit(database: DatabaseTelemetry) -> None:
    with database.begin(tenant="acme") as connection:
        assert seen(connection)[1] == "acme"


def _fail_to_read(database: DatabaseTelemetry) -> None:
    with suppress(psycopg2.Error), database.connect(tenant="acme") as connection:
        run(connection, text("SELECT 1 / 0"))


def _fail_to_write(database: DatabaseTelemetry) -> None:
    with suppress(psycopg2.Error), database.begin(tenant="acme") as connection:
        run(connection, text("SELECT 1 / 0"))


def _give_up(database: DatabaseTelemetry) -> None:
    with suppress(KeyboardInterrupt):
        insert_and_raise(database.begin(tenant="acme"), KeyboardInterrupt())


def _fail_to_commit(database: DatabaseTelemetry) -> None:
    with suppress(psycopg2.Error), database.begin(tenant="acme") as connection:
        run(connection, text("CREATE TEMP TABLE once (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        run(connection, text("INSERT INTO once VALUES (1), (1)"))


def _be_cancelled(database: DatabaseTelemetry) -> None:
    with suppress(psycopg2.Error), database.begin(tenant="acme") as connection:
        run(connection, text("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(10)"))


@pytest.mark.parametrize(
    "use",
    [_read, _commit, _fail_to_read, _fail_to_write, _give_up, _fail_to_commit, _be_cancelled],
    ids=lambda use: use.__name__.strip("_"),
)
def test_a_connection_carries_no_tenant_over(
    database: DatabaseTelemetry, use: Callable[[DatabaseTelemetry], None]
) -> None:
    """However its use for one ended: the next on the same backend has none, or its own."""
    with database.connect() as connection:
        backend, _ = seen(connection)
    use(database)
    with database.connect() as connection:
        assert seen(connection) == (backend, None)
    with database.begin() as connection:
        assert seen(connection) == (backend, None)
    with database.connect(tenant="other") as connection:
        assert seen(connection) == (backend, "other")


def test_the_tenant_is_no_part_of_what_is_told_of_a_statement(
    database: DatabaseTelemetry, telemetry: TelemetrySpy
) -> None:
    """The text is the statement's alone, and it counts once."""
    with database.begin(tenant="acme") as connection:
        run(connection, select(THINGS.c.id))
    assert telemetry.attributes("sql_execution")["db.query.text"] == "SELECT things.id \nFROM things"
    assert telemetry.series(DATABASE_OPERATIONS) == {("SELECT", "things", "true"): 1}


def test_a_statement_that_is_not_durable_waits_for_no_disk(database: DatabaseTelemetry) -> None:
    """Nor does its transaction, and the next one does again."""
    with database.connect(tenant="acme") as connection:
        settings = [seen_setting(connection, durable=durable) for durable in (True, False, True)]
        assert settings == ["on", "off", "on"]
        assert seen(connection)[1] == "acme"


def test_a_statement_that_fails_counts_as_failed_with_its_sqlstate(
    database: DatabaseTelemetry, telemetry: TelemetrySpy
) -> None:
    """Once, as an error, named by PostgreSQL's own code."""
    with pytest.raises(psycopg2.DataError), database.connect() as connection:
        run(connection, text("SELECT 1 / 0 FROM things RIGHT JOIN (SELECT 1) AS one ON true"))
    statement = telemetry.span("sql_execution")
    assert statement.status.status_code is StatusCode.ERROR
    assert (statement.attributes or {})["error.type"] == "22012"
    assert (statement.attributes or {})["db.response.status_code"] == "22012"
    assert telemetry.series(DATABASE_OPERATIONS) == {("SELECT", "things", "false"): 1}


def test_a_slow_statement_is_a_warning_without_its_values(
    database: DatabaseTelemetry, telemetry: TelemetrySpy
) -> None:
    """Over the threshold: operation, table and duration."""
    with database.connect() as connection:
        run(connection, text("SELECT :secret FROM pg_sleep(0.25)"), secret="hush")
    (record,) = telemetry.logs("WARN")
    attributes = dict[str, Any](record.log_record.attributes or {})
    assert record.log_record.body == "Slow statement"
    assert attributes["context_data.duration"] > 0.2
    assert "hush" not in str(record.log_record.attributes)


def test_every_statement_can_be_read_at_debug_with_placeholders(
    database: DatabaseTelemetry, telemetry: TelemetrySpy
) -> None:
    """The text has names where PostgreSQL gets values."""
    with database.connect() as connection:
        run(connection, text("SELECT :secret"), secret="hush")
    (record,) = (found for found in telemetry.logs("DEBUG") if found.log_record.body == "SQL statement")
    attributes = str(record.log_record.attributes)
    assert "SELECT %(secret)s" in attributes
    assert "hush" not in attributes


def test_a_wait_that_ends_in_a_time_out_counts_as_exhausted(
    database: DatabaseTelemetry, telemetry: TelemetrySpy
) -> None:
    """The third of two connections: an error that passes through, a span that is one, a count."""
    with database.connect(), database.connect():
        assert telemetry.series(DATABASE_POOL) == {
            ("in_use",): 2,
            ("idle",): 0,
            ("overflow",): 0,
            ("max",): 2,
        }
        with pytest.raises(PoolTimeoutError), database.connect():
            pass
    assert telemetry.series(DATABASE_POOL_EXHAUSTED) == {(): 1}
    assert telemetry.series(DATABASE_POOL_WAIT) == {(): 3}
    failed = [span for span in telemetry.spans() if span.status.status_code is StatusCode.ERROR]
    assert [span.name for span in failed] == ["database_connection"]
    assert dict[str, Any](failed[0].attributes or {})["connection_pool.wait"] >= 0.1
    assert telemetry.series(DATABASE_POOL)["in_use",] == 0


def test_a_new_connection_costs_no_statement_of_its_own(
    database: DatabaseTelemetry, telemetry: TelemetrySpy
) -> None:
    """What SQLAlchemy asks a new server is no operation of ours."""
    database.engine.dispose()
    with database.connect() as connection:
        run(connection, text("SELECT 1"))
    assert telemetry.series(DATABASE_OPERATIONS) == {("SELECT", "none", "true"): 1}


def test_threads_do_not_mix_their_spans(database: DatabaseTelemetry, telemetry: TelemetrySpy) -> None:
    """Each statement is a child of the step of its own thread."""

    def work(name: str) -> None:
        with telemetry.telemetry.step(name), database.begin() as connection:
            run(connection, text("SELECT 1"))

    threads = [threading.Thread(target=work, args=(f"step-{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    below: Tree = {"database_connection": {}, "sql_execution": {}, "transaction_commit": {}}
    assert telemetry.tree() == {"step-0": below, "step-1": below}

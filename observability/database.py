"""PostgreSQL seen through: spans, metrics and the sqlcommenter comment for connections, statements and commits.

Statements are built by SQLAlchemy, once; connections come out of its pool. Between the two the driver is called directly:
going through SQLAlchemy's engine and its events costs a statement more than all the rest (docs/adr/0010).
"""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, NoReturn, cast
from urllib.parse import quote

import psycopg2
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.semconv.attributes import db_attributes, error_attributes
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue
from psycopg2.errors import QueryCanceled
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR, connection
from sqlalchemy import ClauseElement, Engine, TableClause, UpdateBase, event
from sqlalchemy.dialects.postgresql import psycopg2 as dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection, QueuePool

from observability.context import current_correlation_id
from observability.exceptions import exception_message
from observability.propagation import traceparent
from observability.signals import DATABASE_POOL, Attribute, Span
from observability.telemetry import Step, Telemetry
from observability.wire import Wire

logger = logging.getLogger(__name__)

Row = tuple[Any, ...]
# PostgreSQL's policies ask for it: they show rows of this tenant alone, and none where it is not set.
TENANT_SETTING: Final = "robin.client_id"
_TENANT: Final = "robin_tenant"
# Lasts as long as the transaction that its message is, or begins: no connection carries a tenant over.
_SET_TENANT: Final = f"SET LOCAL {TENANT_SETTING} = %({_TENANT})s; "
_NOT_DURABLE: Final = "SET LOCAL synchronous_commit = off; "
# A transaction that waited for the disk in its COMMIT would hold its rows meanwhile, and all who want the same would wait
# one after the other: it commits without, and then a transaction that touches no row waits for both (docs/adr/0012).
_COMMIT: Final = "COMMIT; SELECT pg_logical_emit_message(true, 'robin', '')"
_WIRE: Final = "wire"  # what is kept beside each connection of a pool
_DIALECT: Final = dialect.dialect()  # type: ignore[no-untyped-call]
_OPERATION: Final = re.compile(
    r"\s*(?:WITH\b.*?\)\s*)?(SELECT|INSERT|UPDATE|DELETE)\b", re.IGNORECASE | re.DOTALL
)
_TABLE: Final = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+\"?([A-Za-z_][\w.]*)", re.IGNORECASE)


class CommitUnconfirmed(Exception):  # noqa: N818  no error of the transaction: it may well be committed
    """The connection broke during COMMIT: whether the transaction is committed, only the database knows."""


class ConnectionLost(psycopg2.OperationalError):
    """The connection broke before COMMIT was sent: what a transaction did is undone."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as the driver takes it, with %(name)s for each value, and what is told of it."""

    sql: str
    labels: Mapping[str, str]
    attributes: Mapping[str, AttributeValue]
    settings: str = ""

    @classmethod
    def of(
        cls, statement: ClauseElement, *, about: tuple[str, str] | None = None, durable: bool = True
    ) -> "Statement":
        """Compile a statement of SQLAlchemy; its values are given when it is executed.

        `about` is its operation and table where its first words do not tell. What is not durable waits for no disk: a
        crash of the server may cost what it wrote in the last second.
        """
        sql = str(statement.compile(dialect=_DIALECT))
        operation, table = about or _operation_and_table(sql, statement)
        return cls(
            sql,
            {"operation": operation, "table": table},
            {
                db_attributes.DB_SYSTEM_NAME: _DIALECT.name,
                db_attributes.DB_OPERATION_NAME: operation,
                db_attributes.DB_COLLECTION_NAME: table,
                db_attributes.DB_QUERY_SUMMARY: f"{operation} {table}",
                db_attributes.DB_QUERY_TEXT: sql,  # with placeholders: values are never in it
            },
            "" if durable else _NOT_DURABLE,
        )


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody's wait for a connection."""

    step: Step
    since: float


def sql_comment() -> str:
    """Return the sqlcommenter comment that links a statement to its request; empty outside of one.

    Keys sorted, values URL-encoded and quoted: https://google.github.io/sqlcommenter/spec/
    """
    pairs = [
        f"{key}='{quote(value)}'"
        for key, value in (("correlation_id", current_correlation_id()), ("traceparent", traceparent()))
        if value
    ]
    return f" /*{','.join(pairs)}*/" if pairs else ""


class Connection:
    """A connection while it is lent: each statement has its span, its metrics and its comment."""

    def __init__(
        self,
        pooled: PoolProxiedConnection,
        pool: Pool,
        telemetry: Telemetry,
        slow_statement_seconds: float,
        *,
        tenant: str | None,
        transaction: bool,
    ) -> None:
        self.pooled = pooled
        self.pool = pool
        self._driver = cast("connection", pooled.driver_connection)
        self._wire: Wire = pooled.info[_WIRE]
        self._lending = Lock()
        self._lent = True
        self._telemetry = telemetry
        self._slow_statement_seconds = slow_statement_seconds
        if not self._driver.autocommit:
            self._driver.autocommit = True  # the driver begins no transaction by itself
        set_tenant, self._given = ("", {}) if tenant is None else (_SET_TENANT, {_TENANT: tenant})
        # Go to the server along with a statement: a round trip less each.
        self._ahead = f"BEGIN; {set_tenant}{_NOT_DURABLE}" if transaction else set_tenant
        self._ahead_of_next = "" if transaction else set_tenant

    def execute(self, statement: Statement, values: Mapping[str, Any]) -> list[Row]:
        """Run a statement and return its rows."""
        span = self._telemetry.tracer.start_span(
            Span.SQL_EXECUTION, kind=SpanKind.CLIENT, attributes=statement.attributes
        )
        token = attach(trace.set_span_in_context(span))
        started = time.perf_counter()
        try:
            rows = self._sent(statement, values)
            self._tell(span, statement, time.perf_counter() - started, success=True)
        except psycopg2.Error as error:
            _mark_failure(span, error)
            self._tell(span, statement, time.perf_counter() - started, success=False)
            raise self._lost_or(error) from error
        finally:
            detach(token)
            span.end()
        return rows

    def commit(self) -> None:
        """End the transaction; returns when the server has said that it is committed, and will be after a crash.

        Raises CommitUnconfirmed when the connection breaks before that, or the wait for the disk is cancelled.
        """
        if self._driver.get_transaction_status() == TRANSACTION_STATUS_INERROR:
            raise psycopg2.InternalError("A statement of this transaction failed: there is nothing to commit")
        try:
            with self._driver.cursor() as cursor:
                cursor.execute(_COMMIT)
        except psycopg2.Error as error:
            if self._driver.closed or isinstance(error, QueryCanceled):
                raise CommitUnconfirmed(str(error)) from error
            raise

    def cut(self) -> bool:
        """End the connection, from any thread, so that whatever waits for the server fails; returns False once it is given back."""
        with self._lending:
            if self._lent:
                self._wire.cut()
            return self._lent

    def end_loan(self) -> None:
        """Be of no more use: the next one may have the same connection."""
        with self._lending:
            self._lent = False

    def roll_back(self) -> None:
        """Undo the transaction; the server does it where the connection is lost."""
        with suppress(psycopg2.Error), self._driver.cursor() as cursor:
            cursor.execute("ROLLBACK")

    @property
    def reusable(self) -> bool:
        """Tell whether the next one finds it as it was: connected, and in no transaction."""
        return self._driver.get_transaction_status() == TRANSACTION_STATUS_IDLE

    def _sent(self, statement: Statement, values: Mapping[str, Any]) -> list[Row]:
        sql = self._ahead + statement.settings + statement.sql + sql_comment()
        self._ahead = self._ahead_of_next
        with self._driver.cursor() as cursor:
            cursor.execute(sql, {**values, **self._given})
            return cursor.fetchall() if cursor.description else []

    def _lost_or(self, error: psycopg2.Error) -> psycopg2.Error:
        """Return the error, as ConnectionLost where that is what happened: the driver has several words for it."""
        if self._driver.closed:
            # Without a code it is libpq's own text; PostgreSQL's may quote values.
            return ConnectionLost(str(error) if error.pgcode is None else exception_message(error))
        return error

    def _tell(self, span: trace.Span, statement: Statement, seconds: float, *, success: bool) -> None:
        """Measure and log an executed statement, inside its span."""
        span.set_attribute(Attribute.QUERY_TIMING, seconds)
        metrics, labels = self._telemetry.metrics, statement.labels
        metrics.database_operation_duration(seconds, **labels)
        metrics.database_operations(1, **labels, success=str(success).lower())
        if seconds > self._slow_statement_seconds:
            logger.warning(
                "Slow statement", extra={"context_data": {**labels, "duration": round(seconds, 6)}}
            )
        elif logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "SQL statement",
                extra={"context_data": {**labels, "duration": round(seconds, 6), "statement": statement.sql}},
            )


class DatabaseTelemetry:
    """Watches one engine's pool, and lends its connections."""

    def __init__(self, engine: Engine, telemetry: Telemetry, *, slow_statement_seconds: float) -> None:
        self.engine = engine
        self._telemetry = telemetry
        self._slow_statement_seconds = slow_statement_seconds
        self.exhausted_at: float | None = None  # when somebody last got no connection, by the monotonic clock
        event.listen(engine, "checkout", _refuse_lost)
        event.listen(engine, "close", _let_go_of_wire)

    def observe_pool(self) -> None:
        """Report the states of this engine's pool as those of the service."""
        self._telemetry.metrics.observe(DATABASE_POOL, self._pool_states)

    def wait(self) -> Wait:
        """Begin to wait for a connection, until `connect`, `begin` or `give_up` end it, in whatever thread."""
        return Wait(self._telemetry.step(Span.DATABASE_CONNECTION), time.perf_counter())

    def give_up(self, wait: Wait) -> NoReturn:
        """End a wait that took too long, before anything was asked of the pool; raises its TimeoutError."""
        with wait.step as step:
            self._count_exhausted()
            self._tell(wait, step)
            raise PoolTimeoutError(f"No connection in {time.perf_counter() - wait.since:.3g} s")

    @contextmanager
    def connect(self, wait: Wait | None = None, *, tenant: str | None = None) -> Iterator[Connection]:
        """Lend a connection on which each statement is its own transaction, and sees this tenant's rows."""
        connection = self._taken(wait or self.wait(), tenant=tenant, transaction=False)
        try:
            yield connection
        finally:
            self._give_back(connection)

    @contextmanager
    def begin(self, wait: Wait | None = None, *, tenant: str | None = None) -> Iterator[Connection]:
        """Lend a connection inside a transaction: committed at the end of the block, rolled back on any exception.

        It sees this tenant's rows. Raises CommitUnconfirmed when the connection breaks during the commit.
        """
        connection = self._taken(wait or self.wait(), tenant=tenant, transaction=True)
        try:
            try:
                yield connection
            except BaseException:
                with self._ending():
                    connection.roll_back()
                raise
            with self._ending() as step:
                self._commit(connection, step)
        finally:
            self._give_back(connection)

    def _taken(self, wait: Wait, *, tenant: str | None, transaction: bool) -> Connection:
        """Take a connection out of the pool."""
        pool = self.engine.pool
        with wait.step as step:
            try:
                pooled = self.engine.raw_connection()
            except PoolTimeoutError:
                self._count_exhausted()
                raise
            finally:
                self._tell(wait, step)
        return Connection(
            pooled,
            pool,
            self._telemetry,
            self._slow_statement_seconds,
            tenant=tenant,
            transaction=transaction,
        )

    def _give_back(self, connection: Connection) -> None:
        """Give a connection back to its pool, unless it is of no use to the next one."""
        connection.end_loan()
        if connection.reusable:
            connection.pooled.close()
            return
        connection.pooled.invalidate()
        if self.engine.pool is connection.pool:
            self.engine.dispose()  # the others are as old, and probably lost with it

    def _count_exhausted(self) -> None:
        self.exhausted_at = time.monotonic()
        self._telemetry.metrics.database_pool_exhausted(1)

    def _ending(self) -> Step:
        # A commit that fails leaves nothing behind either: rolled back until it is known to be committed.
        return self._telemetry.step(Span.TRANSACTION_COMMIT, {Attribute.SUCCESS_STATUS: "rolled_back"})

    def _commit(self, connection: Connection, step: Step) -> None:
        try:
            connection.commit()
        except CommitUnconfirmed:
            step.set(Attribute.SUCCESS_STATUS, "unknown")
            raise
        step.set(Attribute.SUCCESS_STATUS, "committed")

    def _tell(self, wait: Wait, step: Step) -> None:
        """Say how long somebody waited for a connection, and how many there were."""
        waited = time.perf_counter() - wait.since
        self._telemetry.metrics.database_pool_wait(waited)
        step.set(Attribute.POOL_WAIT, waited)
        if isinstance(self.engine.pool, QueuePool):
            step.set(Attribute.POOL_IN_USE, self.engine.pool.checkedout())
            step.set(Attribute.POOL_SIZE, self.engine.pool.size())

    def _pool_states(self) -> list[tuple[float, dict[str, str]]]:
        pool = self.engine.pool
        if not isinstance(pool, QueuePool):
            return []
        states = {
            "in_use": pool.checkedout(),
            "idle": pool.checkedin(),
            "overflow": max(0, pool.overflow()),
            "max": pool.size() + pool._max_overflow,  # noqa: SLF001  the limit has no public name
        }
        return [(count, {"state": state}) for state, count in states.items()]


def _refuse_lost(driver: "connection", entry: ConnectionPoolEntry, _lent: PoolProxiedConnection) -> None:
    """Let the pool replace a connection that was lost while nobody used it, before it is lent; costs no round trip."""
    wire = entry.info.get(_WIRE)
    if wire is None:
        entry.info[_WIRE] = Wire(driver.fileno())
    elif wire.is_lost():
        logger.warning("A connection to the database was lost while nobody used it: another takes its place")
        raise DisconnectionError


def _let_go_of_wire(_driver: "connection", entry: ConnectionPoolEntry) -> None:
    wire = entry.info.pop(_WIRE, None)
    if wire is not None:
        wire.close()


def _mark_failure(span: trace.Span, error: psycopg2.Error) -> None:
    span.set_attribute(error_attributes.ERROR_TYPE, error.pgcode or type(error).__qualname__)
    if error.pgcode:
        span.set_attribute(db_attributes.DB_RESPONSE_STATUS_CODE, error.pgcode)
    span.set_status(Status(StatusCode.ERROR, type(error).__qualname__))


def _operation_and_table(sql: str, statement: ClauseElement) -> tuple[str, str]:
    """Return the statement's operation and the table it is about, from the statement itself where that says it."""
    if isinstance(statement, UpdateBase) and isinstance(statement.table, TableClause):
        return statement.__visit_name__.upper(), statement.table.name
    operation = _OPERATION.match(sql)
    if operation is None:
        return sql.split(maxsplit=1)[0].upper(), "none"
    table = _TABLE.search(sql, operation.start(1))
    return operation[1].upper(), table[1] if table else "none"

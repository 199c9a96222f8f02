"""SQLAlchemy seen through: spans, metrics and the sqlcommenter comment for connections, statements and commits."""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import quote

from opentelemetry import trace
from opentelemetry.semconv.attributes import db_attributes, error_attributes
from opentelemetry.trace import SpanKind, Status, StatusCode
from sqlalchemy import Connection, Engine, TableClause, Transaction, UpdateBase, event
from sqlalchemy.engine import ExceptionContext, ExecutionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from observability.context import current_correlation_id
from observability.propagation import traceparent
from observability.signals import DATABASE_POOL, Attribute, Span
from observability.telemetry import Step, Telemetry

logger = logging.getLogger(__name__)

_OPERATION: Final = re.compile(
    r"\s*(?:WITH\b.*?\)\s*)?(SELECT|INSERT|UPDATE|DELETE)\b", re.IGNORECASE | re.DOTALL
)
_TABLE: Final = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+\"?([A-Za-z_][\w.]*)", re.IGNORECASE)
_STATE: Final = "robin_statement"


class CommitUnconfirmed(Exception):  # noqa: N818  no error of the transaction: it may well be committed
    """The connection broke during COMMIT: whether the transaction is committed, only the database knows."""


@dataclass(slots=True)
class _Statement:
    span: trace.Span
    operation: str
    table: str
    started: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody's wait for a connection."""

    step: AbstractContextManager[Step]
    since: float


def sql_comment() -> str:
    """Return the sqlcommenter comment that links a statement to its request; empty outside of one.

    Keys sorted, values URL-encoded and quoted: https://google.github.io/sqlcommenter/spec/
    """
    values: Mapping[str, str | None] = {
        "correlation_id": current_correlation_id(),
        "traceparent": traceparent(),
    }
    pairs = [f"{key}='{quote(value)}'" for key, value in sorted(values.items()) if value]
    return f" /*{','.join(pairs)}*/" if pairs else ""


class DatabaseTelemetry:
    """Watches one engine. Statements run through `connect` or `begin` of this object have all their spans."""

    def __init__(self, engine: Engine, telemetry: Telemetry, *, slow_statement_seconds: float) -> None:
        self.engine = engine
        self._telemetry = telemetry
        self._slow_statement_seconds = slow_statement_seconds
        event.listen(engine, "before_cursor_execute", self._before, retval=True)
        event.listen(engine, "after_cursor_execute", self._after)
        event.listen(engine, "handle_error", self._failed)

    def observe_pool(self) -> None:
        """Report the states of this engine's pool as those of the service."""
        self._telemetry.metrics.observe(DATABASE_POOL, self._pool_states)

    def wait(self) -> Wait:
        """Begin to wait for a connection, until `connect`, `begin` or `give_up` end it, in whatever thread."""
        return Wait(self._telemetry.step(Span.DATABASE_CONNECTION), time.perf_counter())

    def give_up(self, wait: Wait) -> NoReturn:
        """End a wait that took too long, before anything was asked of the pool; raises its TimeoutError."""
        with self._told(wait):
            raise PoolTimeoutError(f"No connection in {time.perf_counter() - wait.since:.3g} s")

    @contextmanager
    def connect(self, wait: Wait | None = None) -> Iterator[Connection]:
        """Lend a connection on which each statement is its own transaction (AUTOCOMMIT)."""
        connection = self._checked_out(wait)
        try:
            _autocommit(connection, on=True)
            yield connection
        finally:
            connection.close()

    @contextmanager
    def begin(self, wait: Wait | None = None) -> Iterator[Connection]:
        """Lend a connection inside a transaction: committed at the end of the block, rolled back on any exception.

        Raises CommitUnconfirmed when the connection breaks during the commit.
        """
        connection = self._checked_out(wait)
        try:
            _autocommit(connection, on=False)
            transaction = connection.begin()
            try:
                yield connection
            except BaseException:
                with self._ending():
                    transaction.rollback()
                raise
            with self._ending() as step:
                _commit(transaction, step)
        finally:
            connection.close()

    def _ending(self) -> AbstractContextManager[Step]:
        # A commit that fails leaves nothing behind either: rolled back until it is known to be committed.
        return self._telemetry.step(Span.TRANSACTION_COMMIT, {Attribute.SUCCESS_STATUS: "rolled_back"})

    def _checked_out(self, wait: Wait | None) -> Connection:
        """Take a connection out of the pool."""
        with self._told(wait or self.wait()):
            return self.engine.connect()

    @contextmanager
    def _told(self, wait: Wait) -> Iterator[None]:
        """Say how long somebody waited for a connection, when this block ends the wait."""
        metrics = self._telemetry.metrics
        with wait.step as step:
            try:
                yield
            except PoolTimeoutError:
                metrics.database_pool_exhausted(1)
                raise
            finally:
                waited = time.perf_counter() - wait.since
                metrics.database_pool_wait(waited)
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

    def _before(
        self,
        connection: Connection,
        _cursor: object,
        sql: str,
        parameters: Any,
        context: ExecutionContext,
        _many: bool,  # noqa: FBT001  SQLAlchemy's signature
    ) -> tuple[str, Any]:
        operation, table = _operation_and_table(sql, context)
        span = self._telemetry.tracer.start_span(
            Span.SQL_EXECUTION,
            kind=SpanKind.CLIENT,
            attributes={
                db_attributes.DB_SYSTEM_NAME: connection.dialect.name,
                db_attributes.DB_OPERATION_NAME: operation,
                db_attributes.DB_COLLECTION_NAME: table,
                db_attributes.DB_QUERY_SUMMARY: f"{operation} {table}",
                db_attributes.DB_QUERY_TEXT: sql,  # with placeholders: values are never in it
            },
        )
        setattr(context, _STATE, _Statement(span, operation, table, time.perf_counter()))
        with trace.use_span(span, end_on_exit=False):
            return sql + sql_comment(), parameters

    def _after(
        self,
        _connection: object,
        _cursor: object,
        sql: str,
        _parameters: object,
        context: ExecutionContext,
        _many: bool,  # noqa: FBT001  SQLAlchemy's signature
    ) -> None:
        self._finish(getattr(context, _STATE), sql, error=None)

    def _failed(self, failure: ExceptionContext) -> None:
        statement = getattr(failure.execution_context, _STATE, None)
        if statement is not None:
            self._finish(statement, failure.statement or "", error=failure.original_exception)

    def _finish(self, statement: _Statement, sql: str, *, error: BaseException | None) -> None:
        seconds = time.perf_counter() - statement.started
        span, metrics = statement.span, self._telemetry.metrics
        span.set_attribute(Attribute.QUERY_TIMING, seconds)
        if error is not None:
            sqlstate = getattr(error, "pgcode", None)
            span.set_attribute(error_attributes.ERROR_TYPE, sqlstate or type(error).__qualname__)
            if sqlstate:
                span.set_attribute(db_attributes.DB_RESPONSE_STATUS_CODE, sqlstate)
            span.set_status(Status(StatusCode.ERROR, type(error).__qualname__))
        with trace.use_span(span, end_on_exit=True):
            labels = {"operation": statement.operation, "table": statement.table}
            metrics.database_operation_duration(seconds, **labels)
            metrics.database_operations(1, **labels, success=str(error is None).lower())
            self._log(sql, labels, seconds)

    def _log(self, sql: str, labels: Mapping[str, str], seconds: float) -> None:
        """Log a slow statement as a warning, any other for debugging; the text has placeholders, never values."""
        context_data = {**labels, "duration": round(seconds, 6)}
        if seconds > self._slow_statement_seconds:
            logger.warning("Slow statement", extra={"context_data": context_data})
        else:
            logger.debug("SQL statement", extra={"context_data": {**context_data, "statement": sql}})


def _autocommit(connection: Connection, *, on: bool) -> None:
    """Set the driver's own switch; SQLAlchemy's AUTOCOMMIT makes psycopg2 send a SET after every use."""
    driver: Any = connection.connection.driver_connection
    driver.autocommit = on


def _commit(transaction: Transaction, step: Step) -> None:
    try:
        transaction.commit()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        step.set(Attribute.SUCCESS_STATUS, "unknown")
        raise CommitUnconfirmed(str(error.orig)) from error
    step.set(Attribute.SUCCESS_STATUS, "committed")


def _operation_and_table(sql: str, context: ExecutionContext) -> tuple[str, str]:
    """Return the statement's operation and the table it is about, from the compiled statement where that says it."""
    statement = getattr(getattr(context, "compiled", None), "statement", None)
    if isinstance(statement, UpdateBase) and isinstance(statement.table, TableClause):
        return statement.__visit_name__.upper(), statement.table.name
    operation = _OPERATION.match(sql)
    if operation is None:
        return sql.split(maxsplit=1)[0].upper(), "none"
    table = _TABLE.search(sql, operation.start(1))
    return operation[1].upper(), table[1] if table else "none"

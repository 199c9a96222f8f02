"""How the data store reaches PostgreSQL."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Lock
from typing import Final, Protocol, Self, TypeVar

from sqlalchemy import Engine, create_engine

from data_store.liveness import KEEPALIVES
from data_store.settings import DataStoreSettings
from data_store.threads import NoThread, Overdue, Threads
from observability.database import Connection, ConnectionLost, DatabaseTelemetry, Wait

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Work = Callable[[Connection], Result]

APPLICATION_NAME: Final = "data-store"
# The least that libpq knows, for each address of the host.
_CONNECT_SECONDS: Final = 2
# As many for each thread as it may well serve before the last of them loses patience.
_WAITING_PER_CONNECTION: Final = 32


def make_engine(settings: DataStoreSettings, *, connections: int) -> Engine:
    """Return an engine of the running service, with so many connections at most; nothing connects yet.

    Without pool_pre_ping: that is a round trip more on every request, and DatabaseTelemetry notices without one.
    """
    milliseconds = {
        "lock_timeout": settings.lock_timeout_seconds,
        "statement_timeout": settings.statement_timeout_seconds,
        # Of a service that was stopped between a statement and its COMMIT: nobody else waits for its rows for ever.
        "idle_in_transaction_session_timeout": settings.longest_answer_seconds,
    }
    return create_engine(
        settings.database_url.get_secret_value(),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=settings.database_pool_timeout_seconds,
        pool_reset_on_return=None,  # DatabaseTelemetry gives nothing back that would need it
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            **KEEPALIVES,
            "tcp_user_timeout": round(settings.work_seconds * 1000),
            "application_name": APPLICATION_NAME,
            "options": " ".join(f"-c {name}={round(value * 1000)}" for name, value in milliseconds.items()),
        },
    )


def make_threads(settings: DataStoreSettings, *, connections: int) -> Threads:
    """Return a thread for each connection."""
    return Threads(
        connections,
        patience_seconds=settings.database_pool_timeout_seconds,
        work_seconds=settings.work_seconds,
        most_waiting=connections * _WAITING_PER_CONNECTION,
    )


class _Lend(Protocol):
    """Lends a connection for the time of a block."""

    def __call__(self, wait: Wait, *, tenant: str | None) -> AbstractContextManager[Connection]: ...


class _Work:
    """The work of one request: waits for a connection, is on one, and may be on a second one; it ends at a time."""

    __slots__ = ("_connection", "_ends", "_lock", "_over")

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._lock = Lock()
        self._connection: Connection | None = None
        self._over = False

    def begin_again(self) -> bool:
        """Return whether a new connection would be there before the end; waits for one from now on if so."""
        with self._lock:
            if self._over or time.monotonic() + _CONNECT_SECONDS >= self._ends:
                return False
            self._connection = None
            return True

    def begin_on(self, connection: Connection) -> None:
        """Note on which connection it is; raises ConnectionLost when that has come too late."""
        with self._lock:
            self._connection = connection
            if self._over:
                connection.cut()
                raise ConnectionLost("The connection was there too late")

    def cut(self) -> bool:
        """End it; returns whether it was on a connection, and so whoever does it will tell what became of it."""
        with self._lock:
            self._over = True
            if self._connection is None:
                return False
            if self._connection.cut():
                logger.warning("The database does not answer: the connection is cut")
            return True


class Database:
    """Runs work on connections, in a thread for each: whoever has a thread finds a connection.

    So requests wait in one place, for a thread, and that is the wait for a connection. To be used as a context manager.
    """

    def __init__(self, telemetry: DatabaseTelemetry, threads: Threads, *, longest_seconds: float) -> None:
        self.telemetry = telemetry
        self._threads = threads
        self._longest_seconds = longest_seconds

    def __enter__(self) -> Self:
        self._threads.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections that nobody uses; work that still runs ends by itself."""
        self._threads.__exit__()
        self.telemetry.engine.dispose()

    async def read(self, work: Work[Result], *, tenant: str | None) -> Result:
        """Run work on a connection on which each statement is its own transaction, and sees this tenant's rows only."""
        return await self._run(self.telemetry.connect, work, tenant)

    async def write(self, work: Work[Result], *, tenant: str | None) -> Result:
        """Run work inside a transaction that sees this tenant's rows only, committed when this returns."""
        return await self._run(self.telemetry.begin, work, tenant)

    async def _run(self, lend: _Lend, do: Work[Result], tenant: str | None) -> Result:
        wait = self.telemetry.wait()
        work = _Work(self._longest_seconds)

        def on_connection(wait: Wait) -> Result:
            with lend(wait, tenant=tenant) as connection:
                work.begin_on(connection)
                return do(connection)

        def once_or_twice() -> Result:
            try:
                return on_connection(wait)
            except ConnectionLost:
                if not work.begin_again():
                    raise
                logger.warning("The connection to the database was lost: the work is done once more")
            return on_connection(self.telemetry.wait())

        try:
            return await self._threads.run(once_or_twice, interrupt=work.cut)
        except NoThread:
            self.telemetry.give_up(wait)
        except Overdue as error:
            raise ConnectionLost("The database let nobody in") from error

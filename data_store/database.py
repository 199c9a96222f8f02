"""How the data store reaches PostgreSQL."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, Self, TypeVar

from sqlalchemy import Engine, create_engine

from data_store.settings import DataStoreSettings
from data_store.threads import NoThread, Threads
from observability.database import Connection, DatabaseTelemetry, Wait

Result = TypeVar("Result")
Work = Callable[[Connection], Result]

APPLICATION_NAME: Final = "data-store"
# A server that vanished without a word is noticed in seconds, not in the hours of TCP's own defaults.
_LIVENESS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def make_engine(settings: DataStoreSettings, *, connections: int) -> Engine:
    """Return an engine of the running service, with so many connections at most; nothing connects yet.

    Without pool_pre_ping: a round trip more on every request would buy little, since the first statement that meets
    a dead connection answers 503 and makes the pool replace every connection as old as that one.
    """
    return create_engine(
        settings.database_url.get_secret_value(),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=settings.database_pool_timeout_seconds,
        pool_reset_on_return=None,  # DatabaseTelemetry gives nothing back that would need it
        connect_args={
            **_LIVENESS,
            "application_name": APPLICATION_NAME,
            "options": f"-c statement_timeout={round(settings.statement_timeout_seconds * 1000)}",
        },
    )


class _Lend(Protocol):
    """Lends a connection for the time of a block."""

    def __call__(self, wait: Wait, *, tenant: str | None) -> AbstractContextManager[Connection]: ...


class Database:
    """Runs work on connections, in a thread for each: whoever has a thread finds a connection.

    So requests wait in one place, for a thread, and that is the wait for a connection. To be used as a context manager.
    """

    def __init__(self, telemetry: DatabaseTelemetry, threads: Threads) -> None:
        self._telemetry = telemetry
        self._threads = threads

    def __enter__(self) -> Self:
        self._threads.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections that nobody uses; work that still runs ends by itself."""
        self._threads.__exit__()
        self._telemetry.engine.dispose()

    async def read(self, work: Work[Result], *, tenant: str | None) -> Result:
        """Run work on a connection on which each statement is its own transaction, and sees this tenant's rows only."""
        return await self._run(self._telemetry.connect, work, tenant)

    async def write(self, work: Work[Result], *, tenant: str | None) -> Result:
        """Run work inside a transaction that sees this tenant's rows only, committed when this returns."""
        return await self._run(self._telemetry.begin, work, tenant)

    async def _run(self, lend: _Lend, work: Work[Result], tenant: str | None) -> Result:
        wait = self._telemetry.wait()

        def on_connection() -> Result:
            with lend(wait, tenant=tenant) as connection:
                return work(connection)

        try:
            return await self._threads.run(on_connection)
        except NoThread:
            self._telemetry.give_up(wait)

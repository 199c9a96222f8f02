"""How the data store reaches PostgreSQL, and in which threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine

from data_store.settings import DataStoreSettings
from observability.database import DatabaseTelemetry, Wait

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
        hide_parameters=True,  # values of documents stay out of exceptions, hence out of logs
        connect_args={
            **_LIVENESS,
            "application_name": APPLICATION_NAME,
            "options": f"-c statement_timeout={round(settings.statement_timeout_seconds * 1000)}",
        },
    )


class Database:
    """Runs work on connections, in a thread for each: whoever has a thread finds a connection.

    So requests wait in one place, here, for at most so many seconds; the wait for a thread is the wait for a connection.
    """

    def __init__(self, telemetry: DatabaseTelemetry, *, connections: int, patience_seconds: float) -> None:
        self._telemetry = telemetry
        self._patience_seconds = patience_seconds
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="database")
        self._free = asyncio.Semaphore(connections)

    async def read(self, work: Work[Result]) -> Result:
        """Run work on a connection on which each statement is its own transaction."""
        return await self._run(self._telemetry.connect, work)

    async def write(self, work: Work[Result]) -> Result:
        """Run work inside a transaction, committed when this returns."""
        return await self._run(self._telemetry.begin, work)

    def close(self) -> None:
        """Close the connections that nobody uses; work that still runs ends by itself."""
        self._threads.shutdown(wait=False)
        self._telemetry.engine.dispose()

    async def _run(
        self, lend: Callable[[Wait], AbstractContextManager[Connection]], work: Work[Result]
    ) -> Result:
        """Wait for a thread and run the work there, as part of the request."""
        wait = self._telemetry.wait()
        await self._thread(wait)
        running = asyncio.get_running_loop().run_in_executor(
            self._threads, copy_context().run, _on_connection, lend, wait, work
        )
        running.add_done_callback(lambda _: self._free.release())
        # Who is cancelled leaves; the thread is busy until the database has answered.
        return await asyncio.shield(running)

    async def _thread(self, wait: Wait) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._free.acquire()
        except TimeoutError:
            self._telemetry.give_up(wait)


def _on_connection(
    lend: Callable[[Wait], AbstractContextManager[Connection]], wait: Wait, work: Work[Result]
) -> Result:
    with lend(wait) as connection:
        return work(connection)

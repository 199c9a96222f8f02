"""Work on connections, each in a thread of its own, on a real PostgreSQL."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from data_store.database import Database, make_engine, make_threads
from data_store.settings import DataStoreSettings
from observability.database import CommitUnconfirmed, Connection, DatabaseTelemetry, Statement
from tests.integration.conftest import PostgreSQL
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

ONE = Statement.of(text("SELECT 1"))
TENANT = Statement.of(text("SELECT current_setting('robin.client_id', true)"))


class Held:
    """Work that lasts until it is let go, and notes that it ran."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.let_go = threading.Event()
        self.answer: int | None = None

    def __call__(self, connection: Connection) -> int | None:
        """Take the connection, and keep it."""
        self.running.set()
        assert self.let_go.wait(10)
        ((self.answer,),) = connection.execute(ONE, {})
        return self.answer

    async def begun(self) -> None:
        """Wait until it runs."""
        assert await asyncio.to_thread(self.running.wait, 10)


@pytest.fixture
def database(database_url: str, telemetry: TelemetrySpy) -> Iterator[Database]:
    """One connection, one thread."""
    settings = DataStoreSettings(database_url=SecretStr(database_url), database_pool_timeout_seconds=10)
    watched = DatabaseTelemetry(
        make_engine(settings, connections=1), telemetry.telemetry, slow_statement_seconds=1
    )
    with Database(watched, make_threads(settings, connections=1), longest_seconds=10) as database:
        yield database


async def test_work_that_is_given_up_while_it_waits_never_runs(database: Database) -> None:
    """Its request was told that nothing was done."""
    first, second, third = Held(), Held(), Held()
    third.let_go.set()
    running = asyncio.create_task(database.read(first, tenant=None))
    await first.begun()
    waiting = asyncio.create_task(database.read(second, tenant=None))
    last = asyncio.create_task(database.read(third, tenant=None))
    await asyncio.sleep(0)
    waiting.cancel()
    first.let_go.set()

    assert await running == 1
    assert await last == 1
    assert not second.running.is_set()


async def test_a_thread_is_taken_until_its_work_is_done_though_nobody_waits_for_it(
    database: Database,
) -> None:
    """Else the next one would wait inside, where nobody counts and nothing ends it."""
    first, second = Held(), Held()
    second.let_go.set()
    left = asyncio.create_task(database.write(first, tenant=None))
    await first.begun()
    left.cancel()
    await asyncio.wait([left])
    waiting = asyncio.create_task(database.read(second, tenant=None))
    await asyncio.sleep(0)
    assert not second.running.is_set()
    first.let_go.set()

    assert await waiting == 1
    assert first.answer == 1


def whose(connection: Connection) -> str:
    """Return the tenant whose rows are seen."""
    ((tenant,),) = connection.execute(TENANT, {})
    return str(tenant)


async def test_a_request_that_is_cancelled_leaves_no_tenant_to_the_next_one(database: Database) -> None:
    """There is one connection, which each of them gets."""
    first = Held()
    left = asyncio.create_task(database.write(first, tenant="acme"))
    await first.begun()
    left.cancel()
    first.let_go.set()

    assert await database.read(whose, tenant=None) == ""
    assert await database.read(whose, tenant="other") == "other"
    assert first.answer == 1


async def test_a_transaction_that_is_left_alone_is_ended_by_postgresql(
    empty_database_url: str, postgresql: PostgreSQL, telemetry: TelemetrySpy
) -> None:
    """Of a service that was stopped in the middle of it, say: its rows are somebody else's again."""
    settings = DataStoreSettings(
        database_url=SecretStr(empty_database_url),
        database_pool_timeout_seconds=0.1,
        lock_timeout_seconds=0.1,
        statement_timeout_seconds=0.2,
    )
    watched = DatabaseTelemetry(
        make_engine(settings, connections=1), telemetry.telemetry, slow_statement_seconds=1
    )

    def begin_and_stop() -> None:
        with watched.begin() as connection:
            connection.execute(ONE, {})
            eventually(
                lambda: (
                    "terminating connection due to idle-in-transaction timeout" in postgresql.log.read_text()
                )
            )

    with pytest.raises(CommitUnconfirmed):
        await asyncio.to_thread(begin_and_stop)
    watched.engine.dispose()

"""The schema's history, and how a database is brought up to date with it."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from psycopg2.errors import InsufficientPrivilege, UndefinedObject
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from data_store.liveness import KEEPALIVES
from data_store.migrations.grants import grant, lacks_grants, power_over_policies

Result = TypeVar("Result")
logger = logging.getLogger(__name__)

# The newest revision: a database that has it needs no Alembic, which takes 9 MiB and a tenth of a second to import.
HEAD: Final = "0005"
# One lock for all instances that migrate the same database; any constant that nothing else uses would do.
LOCK: Final = 0x726F62696E  # "robin"
_LOCK_TIMEOUT: Final = "60s"
_POLL_SECONDS: Final = 0.1
_HINTS: Final[Mapping[type, str]] = {
    InsufficientPrivilege: ". Set MIGRATION_DATABASE_URL to that of the tables' owner.",
    UndefinedObject: ". If that is the role of DATABASE_URL, make it first, in Docker by"
    " docker compose exec postgres /docker-entrypoint-initdb.d/10-robin.sh",
}


class MigrationError(Exception):
    """The database could not be brought up to date; the message is one line that says what to do."""


class _Away(Exception):  # noqa: N818  it may come back
    """The database takes no connection, or has dropped the one there was; the message is why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the database is, by which variable, and how long it may be away."""

    url: str = field(repr=False)  # with a password
    wait_seconds: float
    variable: str = "DATABASE_URL"


def is_migrated(place: Place, *, service_role: str | None = None) -> bool:
    """Tell whether nothing is to be done; raises MigrationError when the database accepts no connection in time."""

    def look(connection: Connection) -> bool:
        return _is_up_to_date(connection) and not (service_role and lacks_grants(connection, service_role))

    return _on_connection(place, look)


def migrate(place: Place, *, service_role: str | None = None) -> None:
    """Bring the schema up to date, and let the service's role at it, where it is another than the owner's.

    Any number of instances may do so at once, one after the other does it.
    """

    def bring_up_to_date(connection: Connection) -> None:
        if not _is_up_to_date(connection):
            _lock(connection)
            _upgrade(connection)
        if service_role and lacks_grants(connection, service_role):
            _lock(connection)  # PostgreSQL refuses grants on one table that come at once
            grant(connection, service_role)
            connection.commit()

    _on_connection(place, bring_up_to_date)


def power_of_service(place: Place) -> str | None:
    """Return why row-level security does not hold for the role of this URL; None where it does."""
    return _on_connection(place, power_over_policies)


def _on_connection(place: Place, do: Callable[[Connection], Result]) -> Result:
    """Do on a connection what may be done again, and do so while there is none, or it is lost: not for ever."""
    deadline = time.monotonic() + place.wait_seconds
    told = False
    while True:
        try:
            with _connected(place.url) as connection:
                return do(connection)
        except _Away as error:
            if time.monotonic() >= deadline:
                raise MigrationError(
                    f"The database accepts no connection (waited {place.wait_seconds:g} s): {error}."
                    f" Start PostgreSQL or correct {place.variable}."
                ) from error
            if not told:
                logger.warning("The database accepts no connection yet: %s", error)
                told = True
            time.sleep(_POLL_SECONDS)


def _is_up_to_date(connection: Connection) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.scalars(text("SELECT version_num FROM alembic_version")).all() == [HEAD]


def _upgrade(connection: Connection) -> None:
    from data_store.migrations.upgrade import upgrade  # noqa: PLC0415  not before it is known to be needed

    upgrade(connection)


def _lock(connection: Connection) -> None:
    """Wait until no other instance migrates. The lock is the session's: closing the connection gives it back."""
    connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
    connection.commit()


@contextmanager
def _connected(database_url: str) -> Iterator[Connection]:
    """Lend a connection; what fails on it is a MigrationError."""
    engine = create_engine(
        database_url,
        poolclass=NullPool,
        connect_args={"application_name": "data-store-migrate", "connect_timeout": 5, **KEEPALIVES},
    )
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        said = _first_line(error)
        if error.connection_invalidated or (isinstance(error, OperationalError) and error.statement is None):
            raise _Away(said) from error
        hint = _HINTS.get(type(error.orig or error), "")
        raise MigrationError(f"The database could not be migrated: {said}{hint}") from error


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]

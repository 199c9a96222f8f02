"""The tables as their owner sees them: all rows of all clients, in one transaction."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import psycopg2
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from data_store.backup import BackupError
from data_store.backup.manifest import TableColumns
from data_store.liveness import KEEPALIVES
from data_store.migrations import HEAD

# As migrations/versions/0004 has it.
BYTES_LOCK: Final = 0x726F62696E02
REVISIONS: Final = "alembic_version"
# Rows that a policy hides are an error, not left out; and nothing of it may take too long.
_OPTIONS: Final = " ".join(
    f"-c {name}=0"
    for name in ("row_security", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
)


@contextmanager
def bytes_kept(url: str) -> Iterator[None]:
    """Let nobody remove stored bytes until the block ends: a purge makes them nobody's, and they go afterwards.

    On a connection of its own, which has the lock before the transaction looks at the rows.
    """
    with transaction(url, "READ COMMITTED") as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": BYTES_LOCK})
        yield


@contextmanager
def transaction(url: str, isolation: str) -> Iterator[Connection]:
    """Lend a connection in a transaction, committed at the end; what the database refuses is a BackupError."""
    arguments = {
        "application_name": "data-store-backup",
        "connect_timeout": 5,
        "options": _OPTIONS,
        **KEEPALIVES,
    }
    engine = create_engine(url, poolclass=NullPool, isolation_level=isolation, connect_args=arguments)
    try:
        with engine.begin() as connection:
            check_schema(connection)
            yield connection
    except (DBAPIError, psycopg2.Error) as error:  # COPY is the driver's own
        said = str(error.orig if isinstance(error, DBAPIError) else error)
        raise BackupError(f"the database refuses: {said.strip().splitlines()[0]}") from error


def check_schema(connection: Connection) -> None:
    """Refuse a database that is not as this version of robin has it."""
    found = None
    if inspect(connection).has_table(REVISIONS):
        found = connection.scalar(text(f"SELECT version_num FROM {REVISIONS}"))  # noqa: S608  a constant
    if found != HEAD:
        raise BackupError(
            f"the database's schema is {found or 'empty'}, and this needs {HEAD}: run python -m data_store migrate"
        )


def tables(connection: Connection) -> list[TableColumns]:
    """Return all tables that hold data, those that others refer to first."""
    looking = inspect(connection)
    names = [name for name, _ in looking.get_sorted_table_and_fkc_names()]
    return [
        TableColumns(
            name=name, columns=[each["name"] for each in looking.get_columns(name) if "computed" not in each]
        )
        for name in names
        if name and name != REVISIONS  # the last has no name: what refers in a circle
    ]


def lock(connection: Connection, names: Sequence[str], mode: str) -> None:
    """Keep others from what this mode does not go with, until the end of the transaction."""
    quoted = ", ".join(map(_quoter(connection), names))
    connection.execute(text(f"LOCK TABLE {quoted} IN {mode} MODE"))


def is_empty(connection: Connection, table: str) -> bool:
    """Tell whether a table has no row."""
    return not connection.scalar(text(f"SELECT EXISTS (SELECT FROM {_quoter(connection)(table)})"))  # noqa: S608  quoted


def copy_command(connection: Connection, table: TableColumns, direction: str) -> str:
    """Return the COPY of a table; columns by name, as their order is not the same everywhere."""
    quote = _quoter(connection)
    return f"COPY {quote(table.name)} ({', '.join(map(quote, table.columns))}) {direction}"


def _quoter(connection: Connection) -> Callable[[str], str]:
    return connection.dialect.identifier_preparer.quote

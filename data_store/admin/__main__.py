"""Runs one command of the administration: `python -m data_store.admin COMMAND`, each in one transaction."""

import getpass
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from psycopg2.errorcodes import INSUFFICIENT_PRIVILEGE
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from data_store.admin.arguments import check, parser
from data_store.admin.commands import COMMANDS, Answer, Context
from data_store.admin.errors import AdminError
from data_store.admin.output import as_json
from data_store.admin.registry import Registry
from data_store.migrations import HEAD
from data_store.settings import MAX_CREDENTIAL_CACHE_SECONDS, DataStoreSettings
from observability.service import load_settings

_FAILED: Final = 1
_INTERRUPTED: Final = 130


def main(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; what fails is one line on stderr."""
    whole = parser()
    try:
        options = whole.parse_args(arguments)
        check(options, whole)
        settings = load_settings(DataStoreSettings)
        with _transaction(settings) as connection:
            context = Context(
                Registry(connection, f"cli:{_os_user()}"),
                settings.api_key_pepper.get_secret_value(),
                MAX_CREDENTIAL_CACHE_SECONDS,
            )
            answer = COMMANDS[options.command](options, context)
        _let_go(answer, MAX_CREDENTIAL_CACHE_SECONDS)
    except AdminError as error:
        return _fail(str(error), _FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)
    sys.stdout.write(f"{as_json(answer.data) if options.json else answer.text}\n")
    return 0


def _let_go(answer: Answer, cache_seconds: float) -> None:
    """Wait until no instance of document_api believes any longer what has been withdrawn."""
    if not answer.withdrawn:
        return
    try:
        time.sleep(cache_seconds)
    except KeyboardInterrupt:
        raise AdminError(
            f"interrupted: it is done, but instances may let it in for up to {cache_seconds:g} s more"
        ) from None


@contextmanager
def _transaction(settings: DataStoreSettings) -> Iterator[Connection]:
    """Lend a connection in a transaction, committed at the end; what the database refuses is an AdminError."""
    engine = create_engine(
        settings.owner_url,
        poolclass=NullPool,
        connect_args={"application_name": "data-store-admin", "connect_timeout": 5},
    )
    try:
        with engine.begin() as connection:
            _check_schema(connection)
            yield connection
    except DBAPIError as error:
        raise AdminError(_told(error, settings)) from error


def _check_schema(connection: Connection) -> None:
    found = None
    if inspect(connection).has_table("alembic_version"):
        found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if found != HEAD:
        raise AdminError(
            f"the database's schema is {found or 'empty'}, and this needs {HEAD}: run python -m data_store migrate"
        )


def _told(error: DBAPIError, settings: DataStoreSettings) -> str:
    """Return what the database said, in one line, and what to do about it."""
    variable = "MIGRATION_DATABASE_URL" if settings.migration_database_url else "DATABASE_URL"
    said = str(error.orig).strip().splitlines()[0]
    code = getattr(error.orig, "pgcode", None)
    if code is None:
        return f"the database does not answer: {said}; start PostgreSQL or correct {variable}"
    if code == INSUFFICIENT_PRIVILEGE:
        return f"the database refuses: {said}; set MIGRATION_DATABASE_URL to that of the tables' owner"
    return f"the database refuses: {said}"


def _os_user() -> str:
    """Return who runs this, for the audit log; the number of whom the system has no name for, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Migrates in a process of its own: what Alembic needs stays loaded, and a service would carry it for ever (9 MiB)."""

from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final

from data_store.migrations import MigrationError, Place, is_migrated, migrate

# Everything is loaded here already; at the start there are no threads that a fork could leave behind.
_FORK: Final = get_context("fork")


def migrate_apart(place: Place, *, service_role: str | None = None) -> None:
    """Bring the schema up to date, in a child where there is something to do; raises MigrationError as `migrate` does."""
    if is_migrated(place, service_role=service_role):
        return
    told, telling = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_migrate, args=(place, service_role, telling), name="migrate")
    child.start()
    telling.close()
    try:
        problem = told.recv()
    except EOFError:
        problem = "The migration ended before it was done; start the data store once more."
    child.join()
    if problem is not None:
        raise MigrationError(problem)


def _migrate(place: Place, service_role: str | None, telling: Connection) -> None:
    """Migrate, and tell what went wrong, or that nothing did."""
    problem = None
    try:
        migrate(place, service_role=service_role)
    except MigrationError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001  the one line that the parent has for it
        problem = f"The database could not be migrated: {type(error).__name__}: {error}"
    telling.send(problem)

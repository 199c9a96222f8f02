"""Failures of the database as the problems that clients are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from psycopg2 import DataError, IntegrityError, InterfaceError, OperationalError
from psycopg2.errors import DiskFull, LockNotAvailable, QueryCanceled
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from observability import Problem, Unavailable
from observability.database import CommitUnconfirmed

# What fits first is told. 503 promises that nothing was stored.
_TOLD: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (PoolTimeoutError, 503, "All database connections are busy; try again."),
    (CommitUnconfirmed, 504, "The database did not confirm the commit; the record may be stored."),
    (IntegrityError, 409, "The record contradicts what is stored."),
    (DataError, 422, "The database cannot store a value of this record."),
    (DiskFull, 507, "The database has no room left; nothing was stored."),
    (LockNotAvailable, 503, "Others hold in the database what this needs; try again."),
    (QueryCanceled, 503, "The database took too long; try again."),
    (OperationalError, 503, "The database does not answer; try again."),
    (InterfaceError, 503, "The database does not answer; try again."),
)
_FAILURES: Final = tuple(kind for kind, _, _ in _TOLD)


@contextmanager
def failures_as_problems() -> Iterator[None]:
    """Turn what the database throws in this block into a Problem; a programming error stays what it is.

    Messages of the database never reach the client: they can hold values of other requests.
    """
    try:
        yield
    except _FAILURES as error:
        raise _problem(error) from error


def _problem(error: Exception) -> Problem:
    status, detail = next((status, detail) for kind, status, detail in _TOLD if isinstance(error, kind))
    return Unavailable(detail) if status == Unavailable.status else Problem(detail, status=status)

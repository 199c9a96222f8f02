"""What clients are told when the database fails."""

import psycopg2
import psycopg2.errors
import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from data_store.failures import failures_as_problems
from observability import Problem
from observability.database import CommitUnconfirmed

SECRET = "value of another request"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PoolTimeoutError(SECRET), 503),
        (psycopg2.OperationalError(SECRET), 503),
        (psycopg2.errors.QueryCanceled(SECRET), 503),
        (psycopg2.errors.LockNotAvailable(SECRET), 503),
        (psycopg2.errors.DiskFull(SECRET), 507),
        (psycopg2.InterfaceError(SECRET), 503),
        (CommitUnconfirmed(SECRET), 504),
        (psycopg2.errors.ForeignKeyViolation(SECRET), 409),
        (psycopg2.DataError(SECRET), 422),
    ],
)
def test_a_failure_of_the_database_has_its_status_and_not_its_message(error: Exception, status: int) -> None:
    """Messages of the database can hold values, and stay inside; the cause is kept for the log."""
    with pytest.raises(Problem) as caught, failures_as_problems():
        raise error
    assert caught.value.status == status
    assert SECRET not in caught.value.detail
    assert caught.value.__cause__ is error
    assert ("Retry-After" in caught.value.headers) == (status == 503)


@pytest.mark.parametrize(
    "error",
    [psycopg2.ProgrammingError("no such table"), psycopg2.InternalError("a trigger"), ValueError("a bug")],
)
def test_a_programming_error_stays_what_it_is(error: Exception) -> None:
    """A bug becomes a 500 with its stack trace in the log, not a refusal."""
    with pytest.raises(type(error)), failures_as_problems():
        raise error

"""Failures of the database as the problems that clients are told."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2 import DataError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from observability import Problem, Unavailable
from observability.database import CommitUnconfirmed


@contextmanager
def failures_as_problems() -> Iterator[None]:
    """Turn what the database throws in this block into a Problem; a programming error stays what it is.

    503 promises that nothing was stored. Messages of the database never reach the client: they can hold values of other requests.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise Unavailable("All database connections are busy; try again.") from error
    except CommitUnconfirmed as error:
        # Not a 503: that one promises that nothing was stored.
        raise Problem(
            "The database did not confirm the commit; the record may be stored.", status=504
        ) from error
    except IntegrityError as error:
        raise Problem("The record contradicts what is stored.", status=409) from error
    except DataError as error:
        raise Problem("The database cannot store a value of this record.", status=422) from error
    except (OperationalError, InterfaceError) as error:
        raise Unavailable("The database does not answer; try again.") from error

"""What real errors of PostgreSQL tell: their code and what of the schema they are about, or what befell the server."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from observability.exceptions import attributes_of, exception_message
from tests.canaries import MAIL
from tests.integration.conftest import PostgreSQL

PEOPLE = "CREATE TEMPORARY TABLE people (mail text PRIMARY KEY, age int NOT NULL CHECK (age > 0))"
INSERT = f"INSERT INTO people VALUES ('{MAIL}', 1)"  # noqa: S608  values in statements are what is tested


@pytest.fixture
def connection(postgresql: PostgreSQL) -> Iterator[Any]:
    """A session with a table of people."""
    with closing(psycopg2.connect(postgresql.superuser_url("postgres"))) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"{PEOPLE}; {INSERT}")
        yield connection


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (f"SELECT '{MAIL}'::int", "SQLSTATE 22P02"),
        (INSERT, "SQLSTATE 23505 table people constraint people_pkey"),
        (
            f"UPDATE people SET age = -1, mail = '2 {MAIL}'",  # noqa: S608
            "SQLSTATE 23514 table people constraint people_age_check",
        ),
        (
            f"UPDATE people SET age = NULL, mail = '2 {MAIL}'",  # noqa: S608
            "SQLSTATE 23502 table people column age",
        ),
        (f'SELECT "{MAIL}"', "SQLSTATE 42703"),
        (f"SELECT 1 '{MAIL}' 2", "SQLSTATE 42601"),
        (f"DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = '{MAIL}', HINT = '{MAIL}'; END $$", "SQLSTATE P0001"),
        (
            f"SET statement_timeout = 20; SELECT pg_sleep(60), '{MAIL}'",
            "SQLSTATE 57014: canceling statement due to statement timeout",
        ),
    ],
)
def test_an_error_tells_its_code_and_no_value(connection: Any, statement: str, told: str) -> None:
    """Its message, detail and context quote the statement and the row."""
    with pytest.raises(psycopg2.Error) as failed:
        connection.cursor().execute(statement)

    assert exception_message(failed.value) == told
    assert MAIL not in str(attributes_of(failed.value))


def test_a_connection_that_is_lost_says_so(connection: Any) -> None:
    """In the words of whoever noticed it first: PostgreSQL or libpq."""
    with pytest.raises(psycopg2.OperationalError) as failed:
        connection.cursor().execute(f"SELECT pg_terminate_backend(pg_backend_pid()), '{MAIL}'")

    assert exception_message(failed.value) in {
        "SQLSTATE 57P01: terminating connection due to administrator command",
        "server closed the connection unexpectedly",
    }
    assert MAIL not in str(attributes_of(failed.value))


def test_a_connection_that_is_refused_says_why(postgresql: PostgreSQL) -> None:
    """Server, role and database are configured, and no secret is among them."""
    with pytest.raises(psycopg2.OperationalError) as failed:
        psycopg2.connect(postgresql.url("nowhere", "stranger"), password=MAIL)

    assert 'role "stranger" does not exist' in exception_message(failed.value)
    assert MAIL not in str(attributes_of(failed.value))

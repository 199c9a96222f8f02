"""Who did what to which document: written with what was done, and never changed."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg2
import pytest

from observability.signals import DATABASE_OPERATIONS
from tests.integration.conftest import OWNER, SERVICE, PostgreSQL, data_store_on
from tests.records import DOCUMENT, DOCUMENTS, assert_problem
from tests.telemetry_spy import TelemetrySpy

ACTOR = "user:12/key:1a2b3c4d5e6f"


@pytest.fixture
def audited(database_url: str, telemetry: TelemetrySpy) -> Iterator[httpx.Client]:
    """A data store that audits reads too."""
    with data_store_on(database_url, telemetry, audit_reads=True) as client:
        yield client


def lines(postgresql: PostgreSQL, database: str) -> list[Any]:
    """Return what the audit log says, but when."""
    return postgresql.execute(
        "SELECT client_id, actor, action, document_id, correlation_id::text FROM audit_log ORDER BY id",
        database=database,
    )


def test_storing_a_document_is_written_down_with_it(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """By whom, of whom, when, and in which request."""
    request = str(uuid.uuid4())
    answer = data_store.post(
        DOCUMENTS, json=DOCUMENT, headers={"Robin-Actor": ACTOR, "X-Correlation-ID": request}
    )
    assert lines(postgresql, database) == [
        ("acme", ACTOR, "document.create", answer.json()["id"], request),
    ]
    times = "SELECT at = upload_timestamp FROM audit_log, document_metadata"
    assert postgresql.execute(times, database=database) == [(True,)]


def test_whoever_does_not_say_who_he_is_is_anonymous(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """As all are while nobody is asked."""
    data_store.post(DOCUMENTS, json=DOCUMENT)
    data_store.post(DOCUMENTS, json=DOCUMENT, headers={"Robin-Actor": ""})
    assert [line[1] for line in lines(postgresql, database)] == ["anonymous"] * 2


def test_an_actor_that_nobody_would_read_is_refused(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """And with it what he wanted done."""
    assert_problem(data_store.post(DOCUMENTS, json=DOCUMENT, headers={"Robin-Actor": "x" * 257}), 422)
    assert postgresql.count(database, "document_metadata") == 0


def test_a_document_that_is_not_stored_is_not_written_down(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """The line is part of the same transaction."""
    postgresql.execute(
        "ALTER TABLE document_metadata ADD CONSTRAINT small CHECK (file_size < 10)", database=database
    )
    assert data_store.post(DOCUMENTS, json=DOCUMENT).status_code == 409
    assert lines(postgresql, database) == []


def test_a_document_whose_line_cannot_be_written_is_not_stored(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """Nothing is done that nobody can look up."""
    postgresql.execute("ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (false)", database=database)
    assert data_store.post(DOCUMENTS, json=DOCUMENT).status_code == 409
    assert postgresql.count(database, "document_metadata") == 0


def test_reading_a_document_is_written_down_where_that_is_wanted(
    audited: httpx.Client, postgresql: PostgreSQL, database: str, telemetry: TelemetrySpy
) -> None:
    """Only what was read: neither what is not there nor another client's. It counts as one read."""
    request = str(uuid.uuid4())
    stored = audited.post(DOCUMENTS, json=DOCUMENT).json()
    path = f"{DOCUMENTS}/{stored['id']}"
    headers = {"Robin-Actor": ACTOR, "X-Correlation-ID": request}
    assert audited.get(path, headers=headers).json() == stored
    assert audited.get(f"{DOCUMENTS}/99", headers=headers).status_code == 404
    assert audited.get(f"/clients/other/documents/{stored['id']}", headers=headers).status_code == 404
    assert lines(postgresql, database)[1:] == [("acme", ACTOR, "document.read", stored["id"], request)]
    assert telemetry.series(DATABASE_OPERATIONS) == {
        ("INSERT", "document_metadata", "true"): 1,
        ("SELECT", "document_metadata", "true"): 3,
    }


def test_reading_a_version_is_written_down_as_reading_its_document(
    audited: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """The newest one and an earlier one alike; neither one that never was, nor another client's, nor a deleted document's."""
    path = f"{DOCUMENTS}/{audited.post(DOCUMENTS, json=DOCUMENT).json()['id']}"
    audited.post(f"{path}/versions", json={**DOCUMENT, "file_size": 51}).raise_for_status()
    answers = [
        audited.get(f"{path}/versions/{version}", headers={"Robin-Actor": ACTOR}) for version in (1, 2)
    ]
    assert [(answer.json()["version"], answer.json()["file_size"]) for answer in answers] == [
        (1, 50),
        (2, 51),
    ]
    assert_problem(audited.get(f"{path}/versions/3"), 404)
    assert_problem(audited.get(f"{path}/versions/1".replace("acme", "other")), 404)
    audited.delete(path).raise_for_status()
    assert_problem(audited.get(f"{path}/versions/1"), 404)
    assert_problem(audited.get(f"{path}/versions/2"), 404)
    told = [line[1:3] for line in lines(postgresql, database)]
    assert told == [
        *(("anonymous", "document.create"), ("anonymous", "document.add_version")),
        *((ACTOR, "document.read"), (ACTOR, "document.read")),
        ("anonymous", "document.delete"),
    ]


def test_reading_a_document_is_not_written_down_otherwise(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """A read stays a read."""
    stored = data_store.post(DOCUMENTS, json=DOCUMENT).json()
    assert data_store.get(f"{DOCUMENTS}/{stored['id']}").status_code == 200
    assert data_store.get(f"{DOCUMENTS}/{stored['id']}/versions/1").json() == stored
    assert [line[2] for line in lines(postgresql, database)] == ["document.create"]


@pytest.mark.parametrize("role", [SERVICE, OWNER, "postgres"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'nobody'",
        "UPDATE audit_log SET actor = 'nobody' WHERE false",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "TRUNCATE clients, document_metadata, document_versions, document_texts, summary_jobs, users, api_keys, audit_log",
        "MERGE INTO audit_log USING (SELECT 1) AS one ON true WHEN MATCHED THEN DELETE",
        "SET session_replication_role = replica; DELETE FROM audit_log",
    ],
)
def test_what_is_written_down_stays(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str, role: str, statement: str
) -> None:
    """Whoever tries, the owner of the table and the superuser included."""
    data_store.post(DOCUMENTS, json=DOCUMENT)
    before = lines(postgresql, database)
    connection = psycopg2.connect(postgresql.url(database, role))
    with pytest.raises(psycopg2.Error, match=r"append-only|permission denied"), connection:
        connection.cursor().execute(statement)
    connection.close()
    assert lines(postgresql, database) == before


def test_the_line_of_a_document_outlives_it(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """It refers to nothing that could take it along."""
    data_store.post(DOCUMENTS, json=DOCUMENT)
    postgresql.execute("DELETE FROM document_metadata; DELETE FROM clients", database=database)
    assert postgresql.count(database, "audit_log") == 1

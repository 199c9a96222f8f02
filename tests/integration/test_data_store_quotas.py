"""What a client may store, held by the statement that stores it, on a real PostgreSQL over a real socket."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.integration.conftest import PostgreSQL, data_store_on
from tests.records import DOCUMENT, DOCUMENTS, assert_problem
from tests.telemetry_spy import TelemetrySpy

SIZE = DOCUMENT["file_size"]


@pytest.fixture
def limited(database_url: str, telemetry: TelemetrySpy) -> Iterator[httpx.Client]:
    """A data store whose clients may have three documents, and bytes for two and a half."""
    with data_store_on(
        database_url, telemetry, tenant_max_documents=3, tenant_max_stored_bytes=SIZE * 5 // 2
    ) as client:
        yield client


def store(client: httpx.Client, *, size: int = SIZE, of: str = "acme") -> httpx.Response:
    """Store a document of a size."""
    return client.post(f"/clients/{of}/documents", json={**DOCUMENT, "file_size": size})


def numbers(answer: httpx.Response, status: int) -> tuple[int, int, int]:
    """Return limit, used and requested of a refusal, each of which its detail says as well."""
    problem = assert_problem(answer, status)
    limit, used, requested = problem["limit"], problem["used"], problem["requested"]
    assert f"stores {used} " in problem["detail"]
    assert f"may store {limit}" in problem["detail"]
    assert status == 409 or f"has {requested}." in problem["detail"]
    return limit, used, requested


def counted(postgresql: PostgreSQL, database: str, client: str = "acme") -> tuple[int, int]:
    """Return how many documents and bytes a client's row counts, which is what there is."""
    ((documents, stored),) = postgresql.execute(
        f"SELECT stored_documents, stored_bytes FROM clients WHERE id = '{client}'",  # noqa: S608
        database=database,
    )
    ((rows, sizes),) = postgresql.execute(
        f"SELECT count(*), coalesce(sum(file_size), 0) FROM document_metadata WHERE client_id = '{client}'",  # noqa: S608
        database=database,
    )
    assert (documents, stored) == (rows, sizes)
    return documents, stored


def test_documents_beyond_their_number_are_a_409_with_the_numbers(
    limited: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """The last one that fits is stored; the refused one is nowhere."""
    assert [store(limited, size=1).status_code for _ in range(3)] == [201] * 3
    assert numbers(store(limited, size=1), 409) == (3, 3, 1)
    assert counted(postgresql, database) == (3, 3)
    assert postgresql.count(database, "audit_log") == 3


def test_bytes_beyond_their_sum_are_a_413_with_the_numbers(
    limited: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """A smaller document still fits, to the last byte."""
    assert [store(limited).status_code for _ in range(2)] == [201] * 2
    assert numbers(store(limited), 413) == (125, 100, SIZE)
    assert numbers(store(limited, size=26), 413) == (125, 100, 26)
    assert store(limited, size=25).status_code == 201
    assert counted(postgresql, database) == (3, 125)


def test_a_first_document_that_is_too_large_makes_no_client(
    limited: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """Nothing is left behind; the client has used nothing."""
    assert numbers(store(limited, size=126), 413) == (125, 0, 126)
    assert postgresql.count(database, "clients") == 0
    assert store(limited, size=125).status_code == 201


def test_clients_do_not_count_together(limited: httpx.Client, postgresql: PostgreSQL, database: str) -> None:
    """One that is full leaves the others as they were."""
    assert [store(limited, size=1).status_code for _ in range(4)] == [201, 201, 201, 409]
    assert store(limited, size=1, of="other").status_code == 201
    assert counted(postgresql, database, "other") == (1, 1)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("max_documents = 1, max_stored_bytes = NULL", [201, 409]),
        ("max_documents = 4, max_stored_bytes = 200", [201, 201, 201, 201, 409]),
        ("max_documents = NULL, max_stored_bytes = 50", [201, 413]),
        ("max_documents = 0", [409]),
        ("max_stored_bytes = 0", [413]),
    ],
)
def test_a_clients_own_limits_stand_over_the_services(
    limited: httpx.Client, postgresql: PostgreSQL, database: str, own: str, expected: list[int]
) -> None:
    """Lower or higher, each by itself."""
    postgresql.execute("INSERT INTO clients (id) VALUES ('acme')", database=database)
    postgresql.execute(f"UPDATE clients SET {own}", database=database)  # noqa: S608
    assert [store(limited).status_code for _ in expected] == expected


def test_own_limits_allow_a_first_document_that_the_services_would_not(
    limited: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """A client may be there before its documents."""
    postgresql.execute("INSERT INTO clients (id, max_stored_bytes) VALUES ('acme', 126)", database=database)
    assert store(limited, size=126).status_code == 201
    assert counted(postgresql, database) == (1, 126)


def test_services_that_allow_nothing_store_what_a_client_may(
    postgresql: PostgreSQL, database: str, database_url: str, telemetry: TelemetrySpy
) -> None:
    """Zero is a limit, not its absence."""
    postgresql.execute("INSERT INTO clients (id, max_documents) VALUES ('acme', 1)", database=database)
    with data_store_on(database_url, telemetry, tenant_max_documents=0) as client:
        assert numbers(store(client, of="other"), 409) == (0, 0, 1)
        assert [store(client).status_code for _ in range(2)] == [201, 409]


def test_without_limits_what_is_stored_is_counted_to_the_largest_number(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """Then a document more is refused like any that is too much."""
    assert store(data_store).status_code == 201
    for statement in ("UPDATE document_metadata SET file_size = {}", "UPDATE clients SET stored_bytes = {}"):
        postgresql.execute(statement.format(2**63 - 2), database=database)
    assert store(data_store, size=1).status_code == 201
    assert numbers(store(data_store, size=1), 413) == (2**63 - 1, 2**63 - 1, 1)
    assert counted(postgresql, database) == (2, 2**63 - 1)


@pytest.mark.parametrize(
    "before",
    ["SELECT", "INSERT INTO clients (id) VALUES ('acme')"],
    ids=["of a new client", "of a client that is there"],
)
def test_uploads_that_come_at_once_fill_the_limit_exactly(
    database_url: str, postgresql: PostgreSQL, database: str, telemetry: TelemetrySpy, before: str
) -> None:
    """Of 40 at once 17 find room, not one more or less, and each refusal has numbers that were true."""
    postgresql.execute(before, database=database)
    with data_store_on(database_url, telemetry, tenant_max_stored_bytes=17 * SIZE + 1) as client:
        together = threading.Barrier(40)

        def at_once(_: int) -> httpx.Response:
            together.wait(10)
            return client.post(DOCUMENTS, json=DOCUMENT)

        with ThreadPoolExecutor(40) as threads:
            answers = list(threads.map(at_once, range(40)))
    assert Counter(answer.status_code for answer in answers) == {201: 17, 413: 23}
    assert {numbers(answer, 413) for answer in answers if answer.is_error} == {
        (17 * SIZE + 1, 17 * SIZE, SIZE)
    }
    assert counted(postgresql, database) == (17, 17 * SIZE)


def test_a_document_that_is_not_stored_does_not_count(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """The counters are changed with the document, or not at all."""
    assert store(data_store).status_code == 201
    postgresql.execute(
        "ALTER TABLE document_metadata ADD CONSTRAINT small CHECK (file_size < 100)", database=database
    )
    assert store(data_store, size=100).status_code == 409
    assert counted(postgresql, database) == (1, SIZE)

"""A record that is sent again makes no second document, on a real PostgreSQL."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx
import pytest

from tests.integration.conftest import MIGRATED, PostgreSQL, data_store_on
from tests.records import DOCUMENT, DOCUMENTS, assert_problem
from tests.telemetry_spy import spied_telemetry

KEYED: Final[dict[str, Any]] = {**DOCUMENT, "idempotency_digest": "ab" * 32}


def test_a_repetition_is_answered_with_the_first_document(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """200 instead of 201, with the bytes' name of the first one; nothing is stored, counted or audited twice."""
    first = data_store.post(DOCUMENTS, json=KEYED)
    again = data_store.post(DOCUMENTS, json={**KEYED, "storage_key": "another/name", "summary": "Another."})

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert postgresql.count(database, "document_metadata") == 1
    assert postgresql.count(database, "audit_log") == 1
    counted = postgresql.execute("SELECT stored_documents, stored_bytes FROM clients", database=database)
    assert counted == [(1, DOCUMENT["file_size"])]


def test_repetitions_at_the_same_time_make_one_document(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """However they meet, one of them stores it and all get it."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: data_store.post(DOCUMENTS, json=KEYED), range(24)))

    assert sorted(answer.status_code for answer in answers) == [200] * 23 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert postgresql.execute("SELECT stored_documents FROM clients", database=database) == [(1,)]


@pytest.mark.parametrize(
    "other",
    [{"sha256": "f" * 64}, {"file_size": 51}, {"filename": "other.txt"}, {"file_type": "text/html"}],
)
def test_another_document_under_the_same_key_is_refused(
    data_store: httpx.Client, other: dict[str, Any]
) -> None:
    """422, as the Idempotency-Key draft says; the first one stays."""
    first = data_store.post(DOCUMENTS, json=KEYED).json()
    problem = assert_problem(data_store.post(DOCUMENTS, json={**KEYED, **other}), 422)
    assert problem["detail"] == "This Idempotency-Key was used for another document."
    assert data_store.get(f"{DOCUMENTS}/{first['id']}").json() == first


def test_another_client_may_use_the_same_key(data_store: httpx.Client) -> None:
    """Clients know nothing of each other's keys."""
    mine = data_store.post(DOCUMENTS, json=KEYED)
    others = data_store.post("/clients/other/documents", json=KEYED)
    assert (mine.status_code, others.status_code) == (201, 201)
    assert mine.json()["id"] != others.json()["id"]


def test_without_a_digest_every_record_is_a_new_one(data_store: httpx.Client) -> None:
    """The same twice makes two documents."""
    ids = [data_store.post(DOCUMENTS, json=DOCUMENT).json()["id"] for _ in range(2)]
    assert ids[0] != ids[1]


def test_a_client_at_its_limit_may_still_repeat(postgresql: PostgreSQL) -> None:
    """What was stored is answered; only another document is one too many."""
    database = postgresql.create_database(template=MIGRATED)
    with (
        spied_telemetry() as telemetry,
        data_store_on(postgresql.url(database), telemetry, tenant_max_documents=1) as client,
    ):
        first = client.post(DOCUMENTS, json=KEYED)
        again = client.post(DOCUMENTS, json=KEYED)
        another = client.post(DOCUMENTS, json={**KEYED, "idempotency_digest": "cd" * 32})
    assert (first.status_code, again.status_code) == (201, 200)
    assert_problem(another, 409)


def test_which_bytes_are_documents_is_told_of_all_clients(data_store: httpx.Client) -> None:
    """Whoever sweeps the bytes knows no client."""
    for client, key in (("acme", "a/1"), ("other", "b/2")):
        stored = data_store.post(f"/clients/{client}/documents", json={**DOCUMENT, "storage_key": key})
        assert stored.status_code == 201
    answer = data_store.post("/storage-keys/known", json={"keys": ["b/2", "c/3", "a/1"]})
    assert (answer.status_code, sorted(answer.json()["keys"])) == (200, ["a/1", "b/2"])


@pytest.mark.parametrize("keys", [["x\0y"], ["\ud800"], [""], ["k"] * 1001, "a/1"])
def test_what_is_no_list_of_names_is_refused(data_store: httpx.Client, keys: object) -> None:
    """422, before the database is asked."""
    content = json.dumps({"keys": keys})  # in ASCII: httpx would not send half a character
    headers = {"Content-Type": "application/json"}
    assert_problem(data_store.post("/storage-keys/known", content=content, headers=headers), 422)

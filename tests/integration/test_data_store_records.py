"""The records' endpoints on a real PostgreSQL, over a real socket."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from data_store.body_limit import MAX_BODY_BYTES
from tests.integration.conftest import MIGRATED, PostgreSQL, data_store_on
from tests.records import DOCUMENT, DOCUMENTS, assert_problem
from tests.telemetry_spy import spied_telemetry


@dataclass(frozen=True)
class Untouched:
    """A data store that only refuses, and its database, in which nothing may ever appear."""

    client: httpx.Client
    postgresql: PostgreSQL
    database: str

    def assert_empty(self) -> None:
        """Hold that neither a document nor a client was stored."""
        assert self.postgresql.count(self.database, "document_metadata") == 0
        assert self.postgresql.count(self.database, "clients") == 0


@pytest.fixture(scope="module")
def untouched(postgresql: PostgreSQL) -> Iterator[Untouched]:
    """A data store for requests that leave nothing behind."""
    database = postgresql.create_database(template=MIGRATED)
    with (
        spied_telemetry() as telemetry,
        data_store_on(postgresql.url(database), telemetry) as client,
    ):
        yield Untouched(client, postgresql, database)


def test_a_stored_document_is_answered_with_its_id_and_time(data_store: httpx.Client) -> None:
    """POST answers 201 with what was sent, the client, an id and an RFC 3339 time in UTC."""
    answer = data_store.post(DOCUMENTS, json=DOCUMENT)
    assert answer.status_code == 201
    record = answer.json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record.pop("upload_timestamp"))
    assert record == {
        "id": 1,
        "client_id": "acme",
        **DOCUMENT,
        "version": 1,
        "tags": {},
        "deleted_at": None,
        "summary_status": "complete",
    }


def test_a_stored_document_is_read_back_as_it_was_answered(data_store: httpx.Client) -> None:
    """GET answers the same record as the POST that stored it."""
    stored = data_store.post(DOCUMENTS, json=DOCUMENT).json()
    read = data_store.get(f"{DOCUMENTS}/{stored['id']}")
    assert read.status_code == 200
    assert read.json() == stored


def test_a_document_without_a_summary_keeps_the_reason(data_store: httpx.Client) -> None:
    """No summary is a null with its reason."""
    unread = {**DOCUMENT, "summary": None, "summary_source": "none", "summary_reason": "not text"}
    stored = data_store.post(DOCUMENTS, json=unread).json()
    assert (stored["summary"], stored["summary_source"], stored["summary_reason"]) == (
        None,
        "none",
        "not text",
    )


def test_another_clients_document_is_the_same_404_as_none(data_store: httpx.Client) -> None:
    """The answer does not tell whether a document of another client exists."""
    mine = data_store.post(DOCUMENTS, json=DOCUMENT).json()["id"]
    others = assert_problem(data_store.get(f"/clients/other/documents/{mine}"), 404)
    none = assert_problem(data_store.get("/clients/other/documents/999"), 404)
    assert others["detail"] == "The client has no such document."
    assert others["detail"].replace(f"{mine}", "999") == none["detail"]
    assert others.keys() == none.keys()


def test_a_client_appears_with_its_first_document(
    data_store: httpx.Client, postgresql: PostgreSQL, database: str
) -> None:
    """The second document of a client finds the client's row."""
    assert postgresql.count(database, "clients") == 0
    for _ in range(2):
        assert data_store.post(DOCUMENTS, json=DOCUMENT).status_code == 201
    assert postgresql.execute("SELECT id FROM clients", database=database) == [("acme",)]


def test_first_documents_of_a_client_that_arrive_at_once_are_all_stored(data_store: httpx.Client) -> None:
    """Whoever makes the client's row, all the others use it."""
    together = threading.Barrier(8)

    def store(_: int) -> httpx.Response:
        together.wait(10)
        return data_store.post("/clients/new/documents", json=DOCUMENT)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(store, range(8)))
    assert [answer.status_code for answer in answers] == [201] * 8
    assert len({answer.json()["id"] for answer in answers}) == 8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("filename", "nul\0"),
        ("filename", ""),
        ("filename", "x" * 256),
        ("filename", None),
        ("filename", 5),
        ("file_size", 0),
        ("file_size", -1),
        ("file_size", 2**53),
        ("file_size", 10**400),
        ("file_size", "50"),
        ("file_size", 50.5),
        ("file_size", True),
        ("file_type", "nul\0"),
        ("sha256", "0123456789ABCDEF" * 4),
        ("sha256", "0" * 63),
        ("sha256", "0" * 64 + "\n"),
        ("storage_key", ""),
        ("storage_key", "x" * 1025),
        ("summary", "nul\0"),
        ("summary", "x" * 100_001),
        ("summary", None),
        ("summary_source", "guess"),
        ("summary_source", "none"),
        ("summary_reason", "x" * 1001),
        ("id", 7),
        ("upload_timestamp", "2025-08-20T08:10:48Z"),
    ],
)
def test_a_record_with_a_wrong_value_is_refused_by_name(
    untouched: Untouched, field: str, value: object
) -> None:
    """422 says which field is wrong, and neither document nor client is stored."""
    problem = assert_problem(untouched.client.post(DOCUMENTS, json={**DOCUMENT, field: value}), 422)
    assert field in problem["detail"]
    untouched.assert_empty()


@pytest.mark.parametrize("written", [b'"\\ud800"', b'"\xed\xa0\x80"'], ids=["escaped", "as bytes"])
@pytest.mark.parametrize("field", ["filename", "summary", "summary_reason"])
def test_half_a_character_is_refused_by_name(untouched: Untouched, field: str, written: bytes) -> None:
    """Python's JSON lets surrogates pass; UTF-8, and so PostgreSQL, knows none."""
    body = json.dumps({**DOCUMENT, field: "HERE"}).encode().replace(b'"HERE"', written)
    headers = {"Content-Type": "application/json"}
    problem = assert_problem(untouched.client.post(DOCUMENTS, content=body, headers=headers), 422)
    assert field in problem["detail"]
    untouched.assert_empty()


@pytest.mark.parametrize("field", list(DOCUMENT))
def test_a_record_without_one_of_its_fields_is_refused_by_name(untouched: Untouched, field: str) -> None:
    """Every field has to be said, even a null one."""
    incomplete = {name: value for name, value in DOCUMENT.items() if name != field}
    assert field in assert_problem(untouched.client.post(DOCUMENTS, json=incomplete), 422)["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 422, id="empty"),
        pytest.param(b"{", 422, id="cut off"),
        pytest.param(b"[]", 422, id="list"),
        pytest.param(b"null", 422, id="null"),
        pytest.param(b"\xff\xfe", 422, id="not UTF-8"),
        pytest.param(b"[" * 100_000, 400, id="nested too deeply"),
        pytest.param(b'{"file_size": ' + b"9" * 5000 + b"}", 400, id="number too long"),
        pytest.param(json.dumps({**DOCUMENT, "filename": "\ud800"}).encode(), 422, id="lone surrogate"),
        pytest.param(json.dumps({**DOCUMENT, "\ud800": 1}).encode(), 422, id="lone surrogate as a name"),
        pytest.param(b'{"file_size": NaN}', 422, id="not a number"),
        pytest.param(b" " * (MAX_BODY_BYTES + 1), 413, id="too long"),
    ],
)
def test_a_body_that_is_no_record_is_refused(untouched: Untouched, body: bytes, status: int) -> None:
    """Whatever the bytes, the answer is a 4xx problem."""
    answer = untouched.client.post(DOCUMENTS, content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, status)


def test_a_body_that_grows_too_long_without_saying_so_is_refused(untouched: Untouched) -> None:
    """A body without Content-Length is counted while it is read."""
    endless = (b" " * 65536 for _ in range(MAX_BODY_BYTES // 65536 + 1))
    answer = untouched.client.post(DOCUMENTS, content=endless, headers={"Content-Type": "application/json"})
    assert_problem(answer, 413)


def test_a_body_of_another_media_type_is_refused(untouched: Untouched) -> None:
    """A form is no record."""
    assert_problem(untouched.client.post(DOCUMENTS, data={"filename": "a"}), 422)


@pytest.mark.parametrize("doc_id", ["0", "-1", str(2**63), "9" * 5000, "abc", "1.5", "%00", "1e3", "0x1"])
def test_a_document_id_that_is_no_positive_bigint_is_refused(untouched: Untouched, doc_id: str) -> None:
    """The id never reaches PostgreSQL when it could not be one."""
    assert "doc_id" in assert_problem(untouched.client.get(f"{DOCUMENTS}/{doc_id}"), 422)["detail"]


def test_the_largest_bigint_is_an_id_like_any_other(untouched: Untouched) -> None:
    """2**63 - 1 is not there, and that is all."""
    assert_problem(untouched.client.get(f"{DOCUMENTS}/{2**63 - 1}"), 404)


@pytest.mark.parametrize("client_id", ["-acme", "a" * 129, "a%00b", "a%20b", "a%0A", "%C3%BC"])
def test_a_client_id_that_is_not_one_is_refused(untouched: Untouched, client_id: str) -> None:
    """Neither reading nor writing takes a client id out of the pattern."""
    read = untouched.client.get(f"/clients/{client_id}/documents/1")
    write = untouched.client.post(f"/clients/{client_id}/documents", json=DOCUMENT)
    assert "client_id" in assert_problem(read, 422)["detail"]
    assert "client_id" in assert_problem(write, 422)["detail"]


def test_a_whole_number_may_have_a_point(data_store: httpx.Client) -> None:
    """50.0 is an integer in JSON Schema, and so in the OpenAPI document."""
    answer = data_store.post(DOCUMENTS, json={**DOCUMENT, "file_size": 50.0})
    assert (answer.status_code, answer.json()["file_size"]) == (201, 50)


def test_the_longest_record_fits(data_store: httpx.Client) -> None:
    """Every field at its limit, each character escaped in the JSON, is stored."""
    longest = {
        "filename": "📄" * 255,
        "file_size": 2**53 - 1,
        "file_type": "é" * 255,
        "sha256": "f" * 64,
        "storage_key": "k" * 1024,
        "summary": "📄" * 100_000,
        "summary_source": "llm",
        "summary_reason": "r" * 1000,
    }
    body = json.dumps(longest, ensure_ascii=True).encode()
    answer = data_store.post(DOCUMENTS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201
    assert {name: answer.json()[name] for name in longest} == longest


def test_a_method_that_is_not_served_is_a_405_that_says_which_are(untouched: Untouched) -> None:
    """All of them, though each is a route of its own."""
    answer = untouched.client.put(f"{DOCUMENTS}/1")
    assert "DELETE, GET, PATCH" in assert_problem(answer, 405)["detail"]
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


def test_a_path_that_is_not_served_is_a_404(untouched: Untouched) -> None:
    """An unknown path is a problem too."""
    assert_problem(untouched.client.get("/nothing"), 404)

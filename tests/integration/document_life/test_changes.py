"""Documents get tags and new versions, and the same bytes are kept once; each change is told."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from observability.signals import Span
from tests.integration.conftest import PostgreSQL
from tests.integration.document_life.conftest import DOCUMENTS, new_version, put
from tests.integration.test_document_api_http import TEXT, files, upload
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy


class TestTags:
    """Names and values that clients give to documents."""

    def test_tags_are_set_and_taken_away_one_by_one(self, api: httpx.Client) -> None:
        """As JSON Merge Patch says: null takes away, what is not named stays."""
        document = f"{DOCUMENTS}/{put(api)}"
        assert api.patch(document, json={"tags": {"a": "1", "b": "2"}}).json()["tags"] == {"a": "1", "b": "2"}
        assert api.patch(document, json={"tags": {"b": None, "c": "3"}}).json()["tags"] == {
            "a": "1",
            "c": "3",
        }
        assert api.get(document).json()["tags"] == {"a": "1", "c": "3"}

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"tags": {}},
            {"tags": {"a": 1}},
            {"tags": {"a": ""}},
            {"tags": {"a b": "c"}},
            {"tags": {"a": "x" * 257}},
            {"tags": {"a": "\x00"}},
            {"tags": {f"t{n}": "x" for n in range(33)}},
            {"filename": "b.txt"},
        ],
        ids=lambda body: str(body)[:40],
    )
    def test_what_is_no_tag_is_refused(self, api: httpx.Client, body: dict[str, Any]) -> None:
        """422, and the tags are as they were."""
        document = f"{DOCUMENTS}/{put(api)}"
        assert_problem(api.patch(document, json=body), 422)
        assert api.get(document).json()["tags"] == {}

    def test_a_document_has_no_more_tags_than_it_may(self, api: httpx.Client) -> None:
        """Also when they come one after the other."""
        document = f"{DOCUMENTS}/{put(api)}"
        api.patch(document, json={"tags": {f"t{n}": "x" for n in range(32)}}).raise_for_status()
        problem = assert_problem(api.patch(document, json={"tags": {"more": "x"}}), 422)
        assert problem["detail"] == "A document may have 32 tags."
        assert len(api.get(document).json()["tags"]) == 32


class TestVersions:
    """A document becomes what is new, and what it was is kept."""

    def test_a_new_version_takes_the_documents_place(self, api: httpx.Client) -> None:
        """Under its number, with its tags; the search finds what is new."""
        number = put(api, content=b"The first words.")
        api.patch(f"{DOCUMENTS}/{number}", json={"tags": {"a": "1"}})
        answer = new_version(api, number, b"The second words.").raise_for_status().json()

        assert (answer["document_id"], answer["metadata"]["version"]) == (number, 2)
        document = api.get(f"{DOCUMENTS}/{number}").json()
        assert document == answer["metadata"]
        assert (document["file_size"], document["tags"]) == (17, {"a": "1"})
        versions = api.get(f"{DOCUMENTS}/{number}/versions").json()["versions"]
        assert [(each["version"], each["file_size"]) for each in versions] == [(2, 17), (1, 16)]
        found = {
            word: len(api.get("/clients/acme/search", params={"q": word}).json()["found"])
            for word in ("first", "second")
        }
        assert found == {"first": 0, "second": 1}

    def test_a_repeated_version_is_stored_once(self, api: httpx.Client) -> None:
        """By its key, also when the document has become another since."""
        number = put(api)
        keyed = {"headers": {"Idempotency-Key": "v2"}}
        first = new_version(api, number, b"two", **keyed).json()
        again = new_version(api, number, b"two", **keyed)
        assert (again.json(), again.headers["idempotent-replayed"]) == (first, "true")
        new_version(api, number, b"three").raise_for_status()
        assert new_version(api, number, b"two", **keyed).json()["metadata"]["version"] == 2
        assert api.get(f"{DOCUMENTS}/{number}").json()["version"] == 3

    def test_versions_that_come_at_once_are_all_kept(self, api: httpx.Client) -> None:
        """Each has a number of its own."""
        number = put(api)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda n: new_version(api, number, b"version %d" % n), range(6)))
        assert sorted(each.json()["metadata"]["version"] for each in answers) == [2, 3, 4, 5, 6, 7]
        versions = api.get(f"{DOCUMENTS}/{number}/versions").json()["versions"]
        assert [each["version"] for each in versions] == [7, 6, 5, 4, 3, 2, 1]

    def test_of_what_is_not_there_there_is_no_version(self, api: httpx.Client, tmp_path: Path) -> None:
        """404, and no bytes stay."""
        assert_problem(new_version(api, 999, b"new"), 404)
        assert_problem(api.get(f"{DOCUMENTS}/999/versions"), 404)
        assert files(tmp_path) == []


class TestSameBytes:
    """The same bytes of a client are kept once."""

    def test_bytes_that_are_stored_already_are_kept_once(self, api: httpx.Client, tmp_path: Path) -> None:
        """Two documents, one file; another client has one of its own."""
        assert put(api, "a.txt") != put(api, "b.txt")
        assert len(files(tmp_path)) == 1
        put(api, client="other")
        assert len(files(tmp_path)) == 2

    @pytest.mark.parametrize("harm", ["gone", "cut off"])
    def test_bytes_that_were_lost_are_brought_back_by_whoever_stores_them_again(
        self, api: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy, harm: str
    ) -> None:
        """What is acknowledged is there, and so is what was lost before."""
        lost = put(api, "a.txt")
        (file,) = files(tmp_path)
        file.unlink() if harm == "gone" else file.write_bytes(b"half")
        again = put(api, "b.txt")
        contents = [api.get(f"{DOCUMENTS}/{number}/content").content for number in (lost, again)]
        assert contents == [TEXT, TEXT]
        assert len(files(tmp_path)) == 1
        assert telemetry.messages("WARN")[-1] == "Lost bytes of a document are there again"

    def test_a_repeated_upload_brings_back_nothing_else(self, api: httpx.Client, tmp_path: Path) -> None:
        """Its document has become another since, whose bytes are lost."""
        keyed = {"headers": {"Idempotency-Key": "first"}}
        number = upload(api, b"one", **keyed).json()["document_id"]
        new_version(api, number, b"two").raise_for_status()
        (file,) = (path for path in files(tmp_path) if path.read_bytes() == b"two")
        file.unlink()
        upload(api, b"one", **keyed).raise_for_status()
        assert_problem(api.get(f"{DOCUMENTS}/{number}/content"), 500)
        assert api.get(f"{DOCUMENTS}/{number}/content", params={"version": 1}).content == b"one"

    def test_bytes_of_an_earlier_version_are_found_too(self, api: httpx.Client, tmp_path: Path) -> None:
        """Whoever goes back to it stores nothing."""
        number = put(api)
        new_version(api, number, b"new").raise_for_status()
        new_version(api, number, TEXT).raise_for_status()
        put(api, "again.txt")
        assert len(files(tmp_path)) == 2


def test_what_was_done_is_in_the_audit_log(api: httpx.Client, postgresql: PostgreSQL, database: str) -> None:
    """A line for each change, in its order."""
    number = put(api)
    document = f"{DOCUMENTS}/{number}"
    new_version(api, number, b"new").raise_for_status()
    api.patch(document, json={"tags": {"a": "1"}}).raise_for_status()
    for method, path in (("DELETE", document), ("POST", f"{document}/restore"), ("DELETE", document)):
        api.request(method, path).raise_for_status()
    api.post(f"{document}/purge").raise_for_status()
    lines = postgresql.execute(
        "SELECT action, document_id, actor FROM audit_log ORDER BY id", database=database
    )
    assert [action.removeprefix("document.") for action, _, _ in lines] == [
        *("create", "add_version", "change", "delete", "restore", "delete", "purge")
    ]
    assert {(document_id, actor) for _, document_id, actor in lines} == {(number, "anonymous")}


def test_each_step_is_a_span_of_its_own(api: httpx.Client, telemetry: TelemetrySpy) -> None:
    """Below the request's, with how it ended."""
    number = put(api)
    upload(api)
    for method, path in (
        ("GET", DOCUMENTS),
        ("GET", "/clients/acme/search?q=robin"),
        ("GET", f"{DOCUMENTS}/{number}/versions"),
        ("DELETE", f"{DOCUMENTS}/{number}"),
        ("POST", f"{DOCUMENTS}/{number}/restore"),
        ("DELETE", f"{DOCUMENTS}/{number}"),
        ("POST", f"{DOCUMENTS}/{number}/purge"),
    ):
        api.request(method, path).raise_for_status()
    api.patch(f"{DOCUMENTS}/{number}", json={"tags": {"a": "1"}})
    names = {
        span.name: span.attributes["outcome"]
        for span in telemetry.spans()
        if span.name
        in {
            *(Span.LIST_DOCUMENTS, Span.SEARCH_DOCUMENTS, Span.LIST_VERSIONS, Span.CHANGE_DOCUMENT),
            *(Span.DELETE_DOCUMENT, Span.RESTORE_DOCUMENT, Span.PURGE_DOCUMENT),
        }
    }
    assert names.pop(Span.CHANGE_DOCUMENT) == "rejected"
    assert len(names) == 6
    assert set(names.values()) == {"success"}

"""A document's whole life: listed, searched, tagged, given new versions, deleted, restored, purged; with the real data store."""

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import httpx
import pytest

from data_store.backup.database import bytes_kept
from observability.signals import (
    CONTENTS_REMOVED,
    DOCUMENT_CHANGES,
    DOCUMENTS_DOWNLOADED,
    REMOVED_STORAGE_KEYS_ROUTE,
    Span,
)
from tests.integration.conftest import PostgreSQL, data_store_on
from tests.integration.test_document_api_http import LIMIT, TEXT, document_api_on, files, upload
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

DOCUMENTS: Final = "/clients/acme/documents"
NAMES: Final = ("b.txt", "C.txt", "a.txt", "report 2025.txt", "Report-2026.txt")


@pytest.fixture
def api(data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy) -> Iterator[httpx.Client]:
    """A client of a document API before a real data store."""
    with document_api_on(str(data_store.base_url), tmp_path, telemetry) as client:
        yield client


@contextmanager
def sweeping(
    data_store_url: str, folder: Path, telemetry: TelemetrySpy, **settings: Any
) -> Iterator[httpx.Client]:
    """A document API that sweeps all the time."""
    with document_api_on(data_store_url, folder, telemetry, sweep_seconds=0.05, **settings) as client:
        yield client


def put(api: httpx.Client, name: str = "a.txt", content: bytes = TEXT, client: str = "acme") -> int:
    """Upload a document and return its number."""
    answer = api.put(
        f"/clients/{client}/upload-document", files={"file": (name, content, "text/plain")}
    ).raise_for_status()
    number: int = answer.json()["document_id"]
    return number


def new_version(api: httpx.Client, document: int, content: bytes, **how: Any) -> httpx.Response:
    """Upload a new version of a document."""
    return api.put(f"{DOCUMENTS}/{document}/content", files={"file": ("a.txt", content, "text/plain")}, **how)


def listed(api: httpx.Client, **query: Any) -> list[int]:
    """Return the numbers of all documents of a list, asked for page by page as its Link headers say."""
    found: list[int] = []
    answer = api.get(DOCUMENTS, params=query).raise_for_status()
    while True:
        found += [document["id"] for document in answer.json()["documents"]]
        if "next" not in answer.links:
            assert answer.json()["next"] is None
            return found
        answer = api.get(answer.links["next"]["url"]).raise_for_status()


class TestList:
    """Every document once, page by page."""

    @pytest.mark.parametrize(
        ("order", "expected"),
        [("newest", [4, 3, 2, 1, 0]), ("oldest", [0, 1, 2, 3, 4]), ("name", [1, 4, 2, 0, 3])],
    )
    @pytest.mark.parametrize("limit", [1, 2, 5, 200])
    def test_every_document_is_on_one_page(
        self, api: httpx.Client, order: str, expected: list[int], limit: int
    ) -> None:
        """In its order, however long pages are."""
        numbers = [put(api, name) for name in NAMES]
        assert listed(api, order=order, limit=limit) == [numbers[at] for at in expected]

    def test_names_that_are_the_same_do_not_hide_one_another(self, api: httpx.Client) -> None:
        """A page that ends between them goes on between them."""
        numbers = [put(api, "same.txt") for _ in range(5)]
        assert listed(api, order="name", limit=2) == numbers

    def test_what_is_stored_meanwhile_repeats_and_hides_nothing(self, api: httpx.Client) -> None:
        """The second page begins after the first one's end, whatever came before it since."""
        numbers = [put(api) for _ in range(4)]
        first = api.get(DOCUMENTS, params={"limit": 2})
        put(api)
        second = api.get(first.links["next"]["url"])
        pages = [[document["id"] for document in page.json()["documents"]] for page in (first, second)]
        assert pages == [numbers[:1:-1], numbers[1::-1]]

    def test_filters_go_together(self, api: httpx.Client) -> None:
        """By a part of the name in any case, by type, by time and by tags."""
        numbers = [put(api, name) for name in NAMES]
        api.patch(f"{DOCUMENTS}/{numbers[3]}", json={"tags": {"year": "2025", "kind": "a:b"}})
        at = api.get(f"{DOCUMENTS}/{numbers[2]}").json()["upload_timestamp"]
        for query, expected in (
            ({"name": "REPORT"}, [4, 3]),
            ({"name": "%"}, []),
            ({"file_type": "text/plain", "name": ".txt"}, [4, 3, 2, 1, 0]),
            ({"file_type": "text/html"}, []),
            ({"uploaded_from": at}, [4, 3, 2]),
            ({"uploaded_before": at}, [1, 0]),
            ({"tag": ["year:2025", "kind:a:b"]}, [3]),
            ({"tag": "year:2026"}, []),
            ({"deleted": "true"}, []),
        ):
            assert listed(api, **query) == [numbers[each] for each in expected], query
            assert listed(api, **query, limit=1) == [numbers[each] for each in expected], query

    @pytest.mark.parametrize(
        "query",
        [
            {"limit": 0},
            {"limit": 201},
            {"order": "size"},
            {"cursor": "x"},
            {"cursor": "bnVsbA"},
            {"cursor": "\x00"},
            {"uploaded_from": "yesterday"},
            {"uploaded_from": "2026-01-01T00:00:00"},
            {"tag": "year"},
            {"tag": "a b:c"},
            {"name": ""},
            {"name": "a\x00"},
            {"page": 2},
        ],
        ids=str,
    )
    def test_what_is_no_question_is_refused(self, api: httpx.Client, query: dict[str, Any]) -> None:
        """422, with the name of what is wrong."""
        assert_problem(api.get(DOCUMENTS, params=query), 422)

    def test_a_cursor_is_of_its_order(self, api: httpx.Client) -> None:
        """Another order has another place."""
        for _ in range(2):
            put(api)
        cursor = api.get(DOCUMENTS, params={"limit": 1}).json()["next"]
        problem = assert_problem(api.get(DOCUMENTS, params={"cursor": cursor, "order": "name"}), 422)
        assert problem["detail"] == "The cursor is not one that was given for this order: begin without one."

    def test_a_client_lists_and_finds_its_own_documents_alone(self, api: httpx.Client) -> None:
        """Whatever others have."""
        put(api, client="other")
        assert api.get(DOCUMENTS).json() == {"documents": [], "next": None}
        assert api.get("/clients/acme/search", params={"q": "robin"}).json() == {"found": [], "next": None}


class TestSearch:
    """By words of the name and of the text."""

    TEXTS: Final = (
        ("birds.txt", b"The robin sings. A robin is a small bird; robins are loved."),
        ("Robin_Hood-2026.txt", b"An outlaw of Sherwood."),
        ("sea.txt", "Der Fluß fließt. Ночь тиха. 東京".encode()),
        ("empty.txt", b"Nothing of it."),
    )

    @pytest.fixture
    def numbers(self, api: httpx.Client) -> list[int]:
        """The documents that are searched."""
        return [put(api, name, text) for name, text in self.TEXTS]

    def found(self, api: httpx.Client, words: str, **query: Any) -> list[dict[str, Any]]:
        """Return what is found."""
        answer = api.get("/clients/acme/search", params={"q": words, **query})
        found: list[dict[str, Any]] = answer.raise_for_status().json()["found"]
        return found

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("robin", [1, 0]),  # a name counts more
            ("ROBIN bird", [0]),
            ("hood 2026", [1]),
            ('"small bird"', [0]),
            ('"bird small"', []),
            ("robin -sherwood", [0]),
            ("sherwood OR fluß", [1, 2]),
            ("ночь", [2]),
            ("東京", [2]),
            ("bi", []),
            ("client:acme", []),
            ("' OR 1=1 --", []),
            ("!", []),
            ("robin_hood-2026.txt", []),
        ],
    )
    def test_documents_are_found_by_their_words(
        self, api: httpx.Client, numbers: list[int], words: str, expected: list[int]
    ) -> None:
        """The best first; nothing that is asked for is a language of its own."""
        found = [each["document"]["id"] for each in self.found(api, words)]
        assert sorted(found) == sorted(numbers[each] for each in expected)
        if words == "robin":
            assert found == [numbers[each] for each in expected]

    @pytest.mark.usefixtures("numbers")
    def test_an_excerpt_shows_where_the_words_are(self, api: httpx.Client) -> None:
        """As places in it, for whoever shows it marks them in his own way."""
        found = self.found(api, "robin")[1]
        assert {found["excerpt"][start:end].lower() for start, end in found["highlights"]} == {"robin"}
        assert "\x02" not in found["excerpt"]

    @pytest.mark.usefixtures("numbers")
    def test_pages_go_on_where_the_last_one_ended(self, api: httpx.Client) -> None:
        """Each document once, in the same order as on one page."""
        more = [put(api, f"{n}.txt", b"robin " * (n + 1)) for n in range(5)]
        assert len(more) == 5
        whole = [each["document"]["id"] for each in self.found(api, "robin")]
        answer = api.get("/clients/acme/search", params={"q": "robin", "limit": 2})
        pages = [each["document"]["id"] for each in answer.json()["found"]]
        while "next" in answer.links:
            answer = api.get(answer.links["next"]["url"])
            pages += [each["document"]["id"] for each in answer.json()["found"]]
        assert pages == whole
        assert len(whole) == 7

    def test_what_is_asked_for_is_told_nowhere(
        self, api: httpx.Client, telemetry: TelemetrySpy, numbers: list[int]
    ) -> None:
        """A search is as private as a document; so is a part of a name, and a tag."""
        self.found(api, "swordfish")
        listed(api, name="swordfish", tag="swordfish:1")
        api.patch(f"{DOCUMENTS}/{numbers[0]}", json={"tags": {"swordfish": "swordfish"}})
        assert "swordfish" not in telemetry.everything()


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

    def test_bytes_of_an_earlier_version_are_found_too(self, api: httpx.Client, tmp_path: Path) -> None:
        """Whoever goes back to it stores nothing."""
        number = put(api)
        new_version(api, number, b"new").raise_for_status()
        new_version(api, number, TEXT).raise_for_status()
        put(api, "again.txt")
        assert len(files(tmp_path)) == 2


class TestDelete:
    """Hidden, brought back, and done away with for ever."""

    def test_a_deleted_document_is_not_there_until_it_is_restored(
        self, api: httpx.Client, telemetry: TelemetrySpy
    ) -> None:
        """Neither by its number nor in a list or search, but among those that are deleted."""
        number = put(api)
        document = f"{DOCUMENTS}/{number}"
        assert [api.delete(document).status_code for _ in range(2)] == [204, 204]
        for answer in (
            api.get(document),
            api.patch(document, json={"tags": {"a": "1"}}),
            new_version(api, number, b"x"),
        ):
            assert_problem(answer, 404)
        assert_problem(api.get(f"{document}/versions"), 404)
        assert (listed(api), listed(api, deleted=True)) == ([], [number])
        assert api.get("/clients/acme/search", params={"q": "a"}).json()["found"] == []
        (deleted,) = api.get(DOCUMENTS, params={"deleted": True}).json()["documents"]
        assert re.fullmatch(r"\d{4}-.*Z", deleted["deleted_at"])

        restored = [api.post(f"{document}/restore") for _ in range(2)]
        assert [each.json() for each in restored] == [api.get(document).json()] * 2
        assert listed(api) == [number]
        assert telemetry.series(DOCUMENT_CHANGES) == {("acme", "deleted"): 2, ("acme", "restored"): 2}

    @pytest.mark.parametrize("what", ["restore", "purge"])
    def test_what_is_not_there_cannot_be_brought_back_or_purged(self, api: httpx.Client, what: str) -> None:
        """404, as for a document that is another client's."""
        foreign = put(api, client="other")
        api.delete(f"/clients/other/documents/{foreign}").raise_for_status()
        for number in (999, foreign):
            assert_problem(api.post(f"{DOCUMENTS}/{number}/{what}"), 404)
        assert_problem(api.delete(f"{DOCUMENTS}/{foreign}"), 404)

    def test_a_document_that_is_not_deleted_is_not_purged(self, api: httpx.Client) -> None:
        """Nothing goes for ever by one request."""
        number = put(api)
        problem = assert_problem(api.post(f"{DOCUMENTS}/{number}/purge"), 409)
        assert problem["detail"] == "The document is not deleted: delete it first."
        assert listed(api) == [number]

    def test_a_purged_document_takes_its_versions_and_its_bytes_with_it(
        self,
        data_store: httpx.Client,
        tmp_path: Path,
        telemetry: TelemetrySpy,
        postgresql: PostgreSQL,
        database: str,
    ) -> None:
        """But not those that another document has; what the client stores is counted anew."""
        with sweeping(str(data_store.base_url), tmp_path, telemetry) as api:
            kept = put(api, "kept.txt", b"shared")
            number = put(api, content=b"shared")
            new_version(api, number, b"its own").raise_for_status()
            assert len(files(tmp_path)) == 2
            api.delete(f"{DOCUMENTS}/{number}").raise_for_status()
            api.post(f"{DOCUMENTS}/{number}/purge").raise_for_status()
            eventually(lambda: len(files(tmp_path)) == 1, "its bytes are gone")

            assert [path.read_bytes() for path in files(tmp_path)] == [b"shared"]
            assert_problem(api.post(f"{DOCUMENTS}/{number}/restore"), 404)
            assert listed(api) == [kept]
        usage = "SELECT stored_documents, stored_bytes FROM clients"
        assert postgresql.execute(usage, database=database) == [(1, 6)]
        for table in ("document_versions", "removed_contents"):
            assert postgresql.count(database, table) == 0
        assert telemetry.series(CONTENTS_REMOVED) == {(): 1}

    def test_what_was_deleted_long_ago_is_purged_by_itself(
        self, database_url: str, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """RESTORE_SECONDS after its deletion; until then it can be restored."""
        with (
            data_store_on(database_url, telemetry, restore_seconds=0) as data_store,
            sweeping(str(data_store.base_url), tmp_path, telemetry) as api,
        ):
            kept, number = put(api, "kept.txt", b"kept"), put(api)
            api.delete(f"{DOCUMENTS}/{number}").raise_for_status()
            assert_problem(api.post(f"{DOCUMENTS}/{number}/restore"), 404)
            eventually(lambda: len(files(tmp_path)) == 1, "its bytes are gone")
            assert (listed(api), listed(api, deleted=True)) == ([kept], [])
        assert {span.attributes["outcome"] for span in telemetry.spans(Span.REMOVE_CONTENTS)} == {"success"}

    def test_bytes_stay_while_a_backup_reads(
        self, data_store: httpx.Client, api: httpx.Client, owner_url: str
    ) -> None:
        """It wants those of every row that it has seen; they go when it is done."""
        number = put(api)
        for method, path in (("DELETE", ""), ("POST", "/purge")):
            api.request(method, f"{DOCUMENTS}/{number}{path}").raise_for_status()
        with bytes_kept(owner_url):
            assert data_store.post(REMOVED_STORAGE_KEYS_ROUTE).json() == {"keys": []}
        assert len(data_store.post(REMOVED_STORAGE_KEYS_ROUTE).json()["keys"]) == 1

    def test_bytes_that_are_purged_while_they_are_stored_again_are_there(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """Whichever comes first: a document that is answered 200 has its bytes."""
        with sweeping(str(data_store.base_url), tmp_path, telemetry) as api:
            for _ in range(15):
                number = put(api, "old.txt", b"the same")
                api.delete(f"{DOCUMENTS}/{number}").raise_for_status()
                with ThreadPoolExecutor(4) as pool:
                    purged = pool.submit(api.post, f"{DOCUMENTS}/{number}/purge")
                    stored = [pool.submit(put, api, f"{n}.txt", b"the same") for n in range(3)]
                purged.result().raise_for_status()
                for document in (each.result() for each in stored):
                    record = data_store.get(f"{DOCUMENTS}/{document}").json()
                    assert (tmp_path / "documents" / record["storage_key"]).read_bytes() == b"the same"
                    api.delete(f"{DOCUMENTS}/{document}").raise_for_status()
                    api.post(f"{DOCUMENTS}/{document}/purge").raise_for_status()
                eventually(lambda: files(tmp_path) == [], "all bytes are gone")


class TestContent:
    """The bytes come back as they were sent."""

    CONTENT: Final = bytes(range(256)) * 500

    @pytest.fixture
    def path(self, api: httpx.Client) -> str:
        """Where the bytes of a document are had."""
        return f"{DOCUMENTS}/{put(api, 'a.bin', self.CONTENT)}/content"

    def test_a_document_is_downloaded_as_it_was_uploaded(
        self, api: httpx.Client, path: str, telemetry: TelemetrySpy
    ) -> None:
        """With what it is called, how long it is, and what makes it the same."""
        answer = api.get(path)
        assert (answer.status_code, answer.content) == (200, self.CONTENT)
        assert answer.headers["content-length"] == str(len(self.CONTENT))
        assert answer.headers["content-disposition"] == 'attachment; filename="a.bin"'
        assert answer.headers["etag"] == f'"{hashlib.sha256(self.CONTENT).hexdigest()}"'
        head = api.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == answer.headers["content-length"]
        assert list(telemetry.series(DOCUMENTS_DOWNLOADED).values()) == [2]

    @pytest.mark.parametrize(
        ("asked", "sent"),
        [
            ("bytes=0-0", slice(0, 1)),
            ("bytes=100-199", slice(100, 200)),
            ("bytes=127999-", slice(127_999, 128_000)),
            ("bytes=-10", slice(127_990, 128_000)),
            ("bytes=0-999999", slice(0, 128_000)),
            ("bytes=5-4", None),
            ("lines=1-2", None),
            ("nonsense", None),
        ],
    )
    def test_a_range_is_answered_alone_and_what_is_none_is_passed_over(
        self, api: httpx.Client, path: str, asked: str, sent: slice | None
    ) -> None:
        """As RFC 9110 has it."""
        answer = api.get(path, headers={"Range": asked})
        if sent is None:
            assert (answer.status_code, answer.content) == (200, self.CONTENT)
            return
        assert (answer.status_code, answer.content) == (206, self.CONTENT[sent])
        assert answer.headers["content-range"] == f"bytes {sent.start}-{sent.stop - 1}/128000"

    def test_a_range_behind_the_end_is_a_problem(self, api: httpx.Client, path: str) -> None:
        """That says how long the document is."""
        answer = api.get(path, headers={"Range": "bytes=128000-"})
        assert_problem(answer, 416)
        assert answer.headers["content-range"] == "bytes */128000"

    def test_whoever_has_the_bytes_is_sent_none(self, api: httpx.Client, path: str) -> None:
        """By its ETag, weak or strong, among others; a range of other bytes is the whole."""
        etag = api.head(path).headers["etag"]
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            answer = api.get(path, headers={"If-None-Match": known})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
        assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        ranged = {"Range": "bytes=0-9"}
        assert api.get(path, headers={**ranged, "If-Range": etag}).status_code == 206
        assert api.get(path, headers={**ranged, "If-Range": '"other"'}).status_code == 200

    @pytest.mark.parametrize(
        "name", ['a"; x=".txt', "ü ber.txt", "日本.txt", "a%0d%0aSet-Cookie: x", "a'b;c.txt"]
    )
    def test_a_name_is_one_whatever_it_holds(self, api: httpx.Client, name: str) -> None:
        """Nothing of it is a header or a parameter of its own."""
        answer = api.get(f"{DOCUMENTS}/{put(api, name)}/content")
        kind, _, given = answer.headers["content-disposition"].partition("; ")
        assert (kind, unquote(given.removeprefix("filename*=utf-8''"))) == ("attachment", stored_name(api))
        assert "set-cookie" not in answer.headers

    def test_each_version_has_its_bytes(self, api: httpx.Client) -> None:
        """The newest one unless another is asked for."""
        number = put(api, content=b"one")
        new_version(api, number, b"two").raise_for_status()
        path = f"{DOCUMENTS}/{number}/content"
        contents = [api.get(path, params=query).content for query in ({}, {"version": 1}, {"version": 2})]
        assert contents == [b"two", b"one", b"two"]
        assert_problem(api.get(path, params={"version": 3}), 404)
        assert_problem(api.get(path, params={"version": 0}), 422)

    @pytest.mark.parametrize("harm", ["gone", "cut off"])
    def test_bytes_that_are_lost_are_no_half_document(
        self, api: httpx.Client, path: str, tmp_path: Path, harm: str
    ) -> None:
        """500, before anything is sent."""
        (file,) = files(tmp_path)
        file.unlink() if harm == "gone" else file.write_bytes(b"half")
        assert "backup" in assert_problem(api.get(path), 500)["detail"]

    def test_a_deleted_document_and_another_clients_have_none(self, api: httpx.Client, path: str) -> None:
        """404."""
        assert_problem(api.get(path.replace("acme", "other")), 404)
        api.delete(path.removesuffix("/content")).raise_for_status()
        assert_problem(api.get(path), 404)


def stored_name(api: httpx.Client) -> str:
    """Return what the newest document is called."""
    name: str = api.get(DOCUMENTS).json()["documents"][0]["filename"]
    return name


class TestSeveralFiles:
    """One request, a result for each file."""

    def several(self, api: httpx.Client, *files: tuple[str, bytes], **how: Any) -> httpx.Response:
        """Upload several files."""
        parts = [("file", (name, content, "text/plain")) for name, content in files]
        return api.put("/clients/acme/upload-documents", files=parts, **how)

    def test_each_file_is_a_document(self, api: httpx.Client) -> None:
        """In their order, as if each had been sent alone."""
        answer = self.several(
            api, ("a.txt", b"one"), ("b.txt", b"two"), ("c.txt", b"three")
        ).raise_for_status()
        results = answer.json()["results"]
        assert [(each["filename"], each["status"], each["problem"]) for each in results] == [
            ("a.txt", 200, None),
            ("b.txt", 200, None),
            ("c.txt", 200, None),
        ]
        assert [each["document"]["id"] for each in results] == listed(api, order="oldest")

    def test_one_that_is_refused_does_not_keep_the_others_out(self, api: httpx.Client) -> None:
        """Too large, without a name, or empty: its result is the problem that it would have been."""
        files = (("a.txt", b"one"), ("..", b"x"), ("e.txt", b""), ("z.txt", b"two"))
        results = self.several(api, *files).json()["results"]
        assert [each["status"] for each in results] == [200, 422, 422, 200]
        assert results[1]["problem"]["detail"].startswith("The file has no usable name")
        assert results[1]["problem"]["correlation_id"]
        results = self.several(api, ("big.txt", b"x" * (LIMIT + 1)), ("z.txt", b"two")).json()["results"]
        assert [(each["status"], each["document"] is None) for each in results] == [(413, True), (200, False)]
        assert len(listed(api)) == 3

    def test_where_none_is_stored_the_answer_is_the_first_ones_problem(self, api: httpx.Client) -> None:
        """Whoever only looks at the status sees it; each result is there all the same."""
        problem = assert_problem(self.several(api, ("..", b"x"), ("e.txt", b"")), 422)
        assert problem["detail"].startswith("The file has no usable name")
        assert [result["status"] for result in problem["results"]] == [422, 422]

    def test_a_repeated_request_stores_nothing_twice(self, api: httpx.Client) -> None:
        """By its key; each file is found again by its place."""
        keyed = {"headers": {"Idempotency-Key": "bulk"}}
        files = (("a.txt", b"one"), ("b.txt", b"two"))
        first, second = (self.several(api, *files, **keyed).json()["results"] for _ in range(2))
        assert [each["document"] for each in second] == [each["document"] for each in first]
        assert [(each["repeated"], again["repeated"]) for each, again in zip(first, second, strict=True)] == [
            (False, True)
        ] * 2

    def test_what_came_before_the_body_broke_off_is_stored_and_said(self, api: httpx.Client) -> None:
        """The last result is why there are no more."""
        body = (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\none\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="b.txt"\r\n\r\ntw'
        )
        answer = api.put(
            "/clients/acme/upload-documents",
            content=body,
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )
        results = answer.json()["results"]
        assert [(each["filename"], each["status"]) for each in results] == [("a.txt", 200), ("b.txt", 400)]
        assert len(listed(api)) == 1

    @pytest.mark.parametrize(
        ("content", "kind", "status"),
        [(b"", "text/plain", 415), (b"--b--\r\n", "multipart/form-data; boundary=b", 422)],
    )
    def test_a_request_without_a_file_is_refused(
        self, api: httpx.Client, content: bytes, kind: str, status: int
    ) -> None:
        """As a whole."""
        headers = {"Content-Type": kind}
        assert_problem(api.put("/clients/acme/upload-documents", content=content, headers=headers), status)

    def test_there_may_be_so_many(self, api: httpx.Client) -> None:
        """The one that is too many says so, and nothing after it is stored."""
        results = self.several(api, *((f"{n}.txt", b"%d" % n) for n in range(103))).json()["results"]
        assert [each["status"] for each in results] == [200] * 100 + [422]


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

"""Documents are downloaded, whole or in ranges."""

import hashlib
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import httpx
import pytest

from observability.signals import DOCUMENTS_DOWNLOADED
from tests.integration.document_life.conftest import DOCUMENTS, listed, new_version, put
from tests.integration.test_document_api_http import files, upload
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy


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

    def test_bytes_that_cannot_be_brought_back_are_told_with_their_record(
        self, api: httpx.Client, path: str, tmp_path: Path
    ) -> None:
        """504: the second document is recorded. Once they can be, sending it again does it."""
        (file,) = files(tmp_path)
        file.unlink()
        file.mkdir()  # nothing can take its place
        problem = assert_problem(upload(api, self.CONTENT), 504)
        assert problem["detail"].startswith("The document is recorded, but its bytes")
        assert len(listed(api)) == 2
        file.rmdir()
        put(api, "a.bin", self.CONTENT)
        assert api.get(path).content == self.CONTENT

    def test_a_deleted_document_and_another_clients_have_none(self, api: httpx.Client, path: str) -> None:
        """404."""
        assert_problem(api.get(path.replace("acme", "other")), 404)
        api.delete(path.removesuffix("/content")).raise_for_status()
        assert_problem(api.get(path), 404)


def stored_name(api: httpx.Client) -> str:
    """Return what the newest document is called."""
    name: str = api.get(DOCUMENTS).json()["documents"][0]["filename"]
    return name

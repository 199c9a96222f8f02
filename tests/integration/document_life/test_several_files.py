"""Several documents are uploaded in one request."""

from typing import Any

import httpx
import pytest

from tests.integration.document_life.conftest import listed
from tests.integration.test_document_api_http import LIMIT
from tests.records import assert_problem


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

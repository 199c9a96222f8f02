"""What nginx itself answers when a request is refused or nobody answers it."""

import threading
from http.server import BaseHTTPRequestHandler

import pytest

from tests.edge import (
    MAX_UPLOAD_BYTES,
    Edge,
    die,
    received,
    reply,
)

UPLOAD = "/clients/acme/upload-document"
DOCUMENT = "/clients/acme/documents/7"


class TestOwnErrors:
    """nginx's own errors are problem+json; the services' pass untouched."""

    def test_a_path_outside_is_404(self, edge: Edge) -> None:
        """Nothing but the documented paths reaches a service."""
        for path in (
            "/page/nothing.js",
            "/page/../nginx.conf",
            "/page/",
            "/metrics",
            "/clients",
            "/healthz",
            "/_problem",
            "/nginx-health/x",
        ):
            answer = edge.request("GET", path)
            assert (answer.status, answer.problem["title"]) == (404, "Not Found")
        assert received(edge) == []
        record = edge.log_line(answer.correlation_id)
        assert (record["level"], record["context_data"]["status"]) == ("INFO", 404)

    def test_a_declared_length_over_the_limit_is_413(self, edge: Edge) -> None:
        """Refused before a byte is read, and the log still knows the method."""
        too_long = str(MAX_UPLOAD_BYTES + 64 * 1024 + 1)
        answer = edge.raw(f"PUT {UPLOAD} HTTP/1.1\r\nHost: r\r\nContent-Length: {too_long}\r\n\r\n".encode())
        assert answer.status == 413
        assert str(MAX_UPLOAD_BYTES) in answer.problem["detail"]
        assert received(edge) == []
        record = edge.log_line(answer.correlation_id)
        assert record["log_message"] == f"PUT {UPLOAD} 413"
        assert record["context_data"]["client_id"] == "acme"

    def test_the_envelope_may_exceed_the_document_limit(self, edge: Edge) -> None:
        """A document of exactly the limit fits with its multipart envelope."""
        answer = edge.request("PUT", UPLOAD, body=b"x" * (MAX_UPLOAD_BYTES + 64 * 1024))
        assert answer.status == 200

    @pytest.mark.parametrize("method", ["GET", "PUT"])
    def test_where_no_service_can_be_reached_it_is_503_with_retry_after(
        self, edge: Edge, method: str
    ) -> None:
        """All instances away: nothing was done, it may come again; in the log an error."""
        for upstream in edge.upstreams:
            upstream.close()
        answers = [edge.request(method, UPLOAD if method == "PUT" else DOCUMENT, body=b"data") for _ in "123"]
        assert {(answer.status, answer.problem["title"]) for answer in answers} == {
            (503, "Service Unavailable")
        }
        assert answers[0].header("Retry-After") == ["2"]
        line = edge.log_line(answers[0].correlation_id)
        assert (line["level"], line["context_data"]["status"]) == ("ERROR", 503)

    def test_a_service_that_falls_over_a_request_is_502_with_retry_after(self, edge: Edge) -> None:
        """It may have done what was asked."""
        for upstream in edge.upstreams:
            upstream.answer = die
        answer = edge.request("GET", DOCUMENT)
        assert (answer.status, answer.problem["title"]) == (502, "Bad Gateway")
        assert answer.header("Retry-After") == ["2"]
        assert edge.log_line(answer.correlation_id)["level"] == "ERROR"

    def test_a_service_that_does_not_answer_is_504(self, edge: Edge) -> None:
        """The upload is given up when the time is over."""
        release = threading.Event()

        def hang(_handler: BaseHTTPRequestHandler) -> None:
            release.wait(10)

        for upstream in edge.upstreams:
            upstream.answer = hang
        answer = edge.request("PUT", UPLOAD, body=b"data")
        release.set()
        assert answer.status == 504
        assert "may have been stored" in answer.problem["detail"]
        assert answer.header("Retry-After") == ["2"]
        assert edge.log_line(answer.correlation_id)["context_data"]["status"] == 504

    @pytest.mark.parametrize(
        ("request_bytes", "status"),
        [
            (b"GET /health HTTP/1.1\r\n\r\n", 400),  # no Host
            (b"GET /health HTTP/1.1\r\nHost: r\r\nContent-Length: x\r\n\r\n", 400),
            (b"this is no request\r\n\r\n", 400),
            (b"TRACE /health HTTP/1.1\r\nHost: r\r\n\r\n", 405),
            (b"FOO /health HTTP/1.1\r\nHost: r\r\n\r\n", 405),
            (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: r\r\n\r\n", 414),
            (b"GET /health HTTP/1.1\r\nHost: r\r\nX-Long: " + b"a" * 9000 + b"\r\n\r\n", 431),
            (b"PUT /health HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
            (b"PUT /nothing HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
            (b"FOO /nothing HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ],
    )
    def test_broken_requests_get_a_problem(self, edge: Edge, request_bytes: bytes, status: int) -> None:
        """Even what nginx could not parse is answered and logged with one ID."""
        answer = edge.raw(request_bytes)
        assert (answer.status, answer.problem["status"]) == (status, status)
        assert edge.log_line(answer.correlation_id)["context_data"]["status"] == status

    def test_an_unknown_method_is_told_which_are_known(self, edge: Edge) -> None:
        """RFC 9110: a 405 has Allow; other errors have none."""
        assert edge.request("BREW", DOCUMENT).header("Allow") == ["GET, PUT"]
        assert edge.request("GET", "/nothing").header("Allow") == []

    @pytest.mark.parametrize("status", [404, 413, 422, 500, 503])
    def test_a_services_error_passes_untouched(self, edge: Edge, status: int) -> None:
        """Its body, type and Retry-After are the service's, even where nginx has an error of that status."""
        body = b'{"title": "mine"}'
        for upstream in edge.upstreams:
            upstream.answer = reply(status, body, "application/problem+json", Retry_After="9")
        answer = edge.request("GET", DOCUMENT)
        assert (answer.status, answer.body) == (status, body)
        assert answer.header("Retry-After") == ["9"]

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_services_refusal_passes_with_its_challenge(self, edge: Edge, status: int) -> None:
        """A client learns from it how to say who he is."""
        body, challenge = b'{"title": "who?"}', 'Bearer realm="robin", error="invalid_token"'
        for upstream in edge.upstreams:
            upstream.answer = reply(status, body, "application/problem+json", WWW_Authenticate=challenge)
        answer = edge.request("GET", DOCUMENT)
        assert (answer.status, answer.body) == (status, body)
        assert answer.header("WWW-Authenticate") == [challenge]

"""What nginx's logs say of a request, and what they never say."""

import json
import time

import pytest

from tests.edge import (
    Edge,
    reply,
)

UPLOAD = "/clients/acme/upload-document"
DOCUMENT = "/clients/acme/documents/7"
A_KEY = f"robin_{'0' * 12}_{'a' * 64}"
TRACE_RESPONSE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"


class TestAccessLog:
    """One valid JSON object for each request, with the contract's fields."""

    def test_a_line_has_the_contracts_fields(self, edge: Edge) -> None:
        """Names, types and values of an ordinary upload."""
        for upstream in edge.upstreams:
            upstream.answer = reply(200, b'{"ok": true}', traceresponse=TRACE_RESPONSE)
        before = time.time()
        answer = edge.request("PUT", f"{UPLOAD}?debug=1", body=b"data")
        record = edge.log_line(answer.correlation_id)
        assert before - 1 < record.pop("timestamp") < time.time() + 1
        context = record.pop("context_data")
        assert record == {
            "level": "INFO",
            "service": "nginx",
            "correlation_id": answer.correlation_id,
            "log_message": f"PUT {UPLOAD} 200",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "span_id": "b7ad6b7169203331",
        }
        assert isinstance(context.pop("duration"), float)
        assert isinstance(context.pop("upstream_duration"), float)
        assert context.pop("bytes_received") > 4
        assert context.pop("bytes_sent") > 12
        assert context.pop("upstream") in {f"127.0.0.1:{upstream.port}" for upstream in edge.upstreams}
        assert context == {
            "client_id": "acme",
            "method": "PUT",
            "path": UPLOAD,
            "status": 200,
            "upstream_status": "200",
        }

    @pytest.mark.parametrize(
        ("target", "path", "client_id"),
        [
            ("/clients/acme/documents/7?name=Alice", "/clients/acme/documents/7", "acme"),
            ("/clients/acme/upload-document", "/clients/acme/upload-document", "acme"),
            ("/clients/acme/upload-documents", "/clients/acme/upload-documents", "acme"),
            ("/clients/acme/documents?name=alice", "/clients/acme/documents", "acme"),
            ("/clients/acme/search?q=alice", "/clients/acme/search", "acme"),
            *(
                (f"/clients/acme/documents/7/{what}?x=alice", f"/clients/acme/documents/7/{what}", "acme")
                for what in ("content", "versions", "restore", "purge")
            ),
            ("/clients/acme/documents/7/alice", "unmatched", ""),
            ("/clients/acme/documents/4111111111111111/content", "unmatched", "acme"),
            ("/docs?token=abc", "/docs", ""),
            ("/openapi.json", "/openapi.json", ""),
            ("/clients/acme/documents/alice@example.org", "unmatched", ""),
            ("/clients/alice@example.org/documents/7", "unmatched", ""),
            ("/clients/acme/documents/7/4111111111111111", "unmatched", ""),
            ("/clients/acme/documents/41111111111111114111", "unmatched", ""),
            ("/clients/acme/documents/4111111111111111?x=1", "unmatched", "acme"),
            (f"/clients/{A_KEY}/documents/7", "unmatched", ""),
            (f"/clients/x{A_KEY.upper()}/upload-document", "unmatched", ""),
            (f"/clients/{A_KEY.replace('_', '%5f')}/documents/7", "unmatched", ""),
            ("/%63lients/acme/documents/7", "unmatched", "acme"),
            ("/clients/acme//upload%2Ddocument?of=alice", "unmatched", "acme"),
            ("/clients/acme", "unmatched", ""),
            ("/Alice%20Example", "unmatched", ""),
            ("/_problem", "unmatched", ""),
        ],
    )
    def test_only_a_known_path_is_written(self, edge: Edge, target: str, path: str, client_id: str) -> None:
        """What somebody mistyped may be a name, a mail address or a key."""
        record = edge.log_line(edge.request("GET", target).correlation_id)
        context = record["context_data"]
        assert (context["path"], context["client_id"]) == (path, client_id)
        assert record["log_message"] == f"GET {path} {context['status']}"

    def test_whose_document_it_was_is_known_when_no_service_answers(self, edge: Edge) -> None:
        """An error page has another path, and a path with escapes is not written."""
        for upstream in edge.upstreams:
            upstream.close()
        record = edge.log_line(edge.request("GET", "/%63lients/acme/documents/7").correlation_id)
        assert (record["context_data"]["status"], record["context_data"]["client_id"]) == (503, "acme")

    def test_an_unknown_method_is_not_written(self, edge: Edge) -> None:
        """It is whatever a client sent."""
        record = edge.log_line(edge.raw(b"ALICE /health HTTP/1.1\r\nHost: r\r\n\r\n").correlation_id)
        assert (record["log_message"], record["context_data"]["method"]) == ("- /health 405", "-")

    def test_no_address_of_a_client_is_written(self, edge: Edge) -> None:
        """Who sent a request is known by the credential, in document_api."""
        line = edge.log_line(edge.request("GET", DOCUMENT).correlation_id)
        line["context_data"].pop("upstream")  # our own
        assert "127.0.0.1" not in json.dumps(line)

    def test_the_error_log_has_nothing_of_a_request(self, edge: Edge) -> None:
        """Not even where nginx itself is in trouble: no path, query, header, name or address."""
        for upstream in edge.upstreams:
            upstream.close()
        (edge.said.parent / "nginx" / "client_body").rmdir()  # a body that nginx wants to keep on disk
        secret = "c4n4ry"
        path = f"/clients/{secret}/documents/7?q={secret}"
        headers = {"Host": secret, "Authorization": secret, "Referer": f"http://{secret}/"}
        assert edge.request("GET", path, headers=headers).status == 503
        assert edge.request("PUT", path, headers=headers, body=secret.encode() * 5000).status == 500
        assert edge.raw(f"GET /{secret} HTTP/1.1\r\nHost: {secret} x\r\n\r\n".encode()).status == 400
        assert edge.raw(f"GET / HTTP/1.1\r\nX-{secret}: {'a' * 9000}\r\n\r\n".encode()).status == 431
        assert edge.said.read_text() == ""

    @pytest.mark.parametrize(
        "target",
        [
            b'/clients/a"b/documents/1',
            b"/clients/a\\u0022b/documents/1",
            b"/clients/\xff\xfe/documents/1",
            b"/clients/%22%5c%0a/documents/1",
            b'/clients/x/documents/1?q="\\\xff',
            b"/'<script>{}$(id)",
            b"http://other/clients/x/documents/1",
        ],
    )
    def test_odd_paths_give_valid_json(self, edge: Edge, target: bytes) -> None:
        """Quotes, backslashes and bytes that are no UTF-8 do not break the line."""
        answer = edge.raw(b"GET " + target + b" HTTP/1.1\r\nHost: r\r\n\r\n")
        record = edge.log_line(answer.correlation_id)
        assert record["context_data"]["method"] == "GET"
        assert "?" not in record["context_data"]["path"]

    def test_a_forged_traceresponse_does_not_get_in(self, edge: Edge) -> None:
        """Only the form of the standard counts."""
        for upstream in edge.upstreams:
            upstream.answer = reply(200, b"{}", traceresponse='00-"},{"-x-03')
        record = edge.log_line(edge.request("GET", DOCUMENT).correlation_id)
        assert (record["trace_id"], record["span_id"]) == ("", "")

    def test_health_is_logged_only_when_it_fails(self, edge: Edge) -> None:
        """Good health makes no line, bad health does."""
        quiet = [edge.request("GET", path).correlation_id for path in ("/health", "/nginx-health")]
        for upstream in edge.upstreams:
            upstream.answer = reply(503, b"{}")
        loud = edge.request("GET", "/health").correlation_id
        assert edge.log_line(loud)["level"] == "ERROR"
        text = edge.access_log.read_text()
        assert not any(value in text for value in quiet)

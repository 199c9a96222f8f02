"""The load balancer's real configuration in a real nginx, in front of small real servers."""

import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from local_stack.nginx import LoadBalancer
from tests.edge import (
    MAX_UPLOAD_BYTES,
    Answer,
    Edge,
    Upstream,
    die,
    ended,
    load_balancer,
    received,
    reply,
    running,
    two_upstreams,
)
from tests.ports import free_port
from tests.waiting import eventually

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
A_UUID4 = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
UPLOAD = "/clients/acme/upload-document"
DOCUMENT = "/clients/acme/documents/7"
A_KEY = f"robin_{'0' * 12}_{'a' * 64}"
ANOTHER_KEY = f"robin_{'0' * 12}_{'b' * 64}"
TRACE_RESPONSE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"


@pytest.fixture
def upstreams() -> Iterator[list[Upstream]]:
    """Two document_api stand-ins."""
    with two_upstreams() as servers:
        yield servers


@pytest.fixture
def edge(tmp_path: Path, upstreams: list[Upstream]) -> Iterator[Edge]:
    """The real nginx with the real template in front of both."""
    port = free_port()
    balancer = load_balancer(tmp_path, port, upstreams)
    balancer.write()
    with running(balancer, port, upstreams) as running_edge:
        yield running_edge


class TestCorrelationId:
    """One ID for each request, a UUID4, the same everywhere."""

    def test_an_id_is_minted_when_there_is_none(self, edge: Edge) -> None:
        """Header, upstream and log line carry the same new UUID4."""
        answer = edge.request("GET", DOCUMENT)
        assert UUID4.fullmatch(answer.correlation_id)
        assert received(edge)[0].header("X-Correlation-ID") == [answer.correlation_id]
        assert edge.log_line(answer.correlation_id)["context_data"]["path"] == DOCUMENT

    def test_minted_ids_are_uuid4_in_every_variant_and_never_repeat(self, edge: Edge) -> None:
        """Sixty-four requests give sixty-four valid IDs with all four variant digits among them."""
        ids = {edge.request("GET", "/nginx-health").correlation_id for _ in range(64)}
        assert len(ids) == 64
        assert all(UUID4.fullmatch(value) and uuid.UUID(value).version == 4 for value in ids)
        assert {value[19] for value in ids} == set("89ab")

    def test_a_clients_uuid4_is_kept(self, edge: Edge) -> None:
        """What the client sent comes back and goes on."""
        sent = str(uuid.uuid4())
        answer = edge.request("GET", DOCUMENT, headers={"X-Correlation-ID": sent})
        assert answer.correlation_id == sent
        assert received(edge)[0].header("X-Correlation-ID") == [sent]

    @pytest.mark.parametrize(
        "sent",
        [
            A_UUID4.upper(),
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "6ba7b810-9dad-41d1-70b4-00c04fd430c8",  # a variant that is none of RFC 9562
            f"{A_UUID4}, {A_UUID4}",
            f'{A_UUID4}"',
            '", "admin": "true',
            "garbage",
            "{" + A_UUID4 + "}",
            A_UUID4.replace("-", ""),
            "a" * 4000,
            "%0d%0aSet-Cookie: a=b",
            "☃",
        ],
    )
    def test_anything_else_is_replaced(self, edge: Edge, sent: str) -> None:
        """A value that is no lower-case UUID4 goes nowhere: not back, not on, not into the log."""
        answer = edge.raw(
            f"GET {DOCUMENT} HTTP/1.1\r\nHost: robin\r\nX-Correlation-ID: {sent}\r\n\r\n".encode()
        )
        assert UUID4.fullmatch(answer.correlation_id)
        assert answer.correlation_id.lower() != sent.lower()
        assert received(edge)[0].header("X-Correlation-ID") == [answer.correlation_id]
        edge.log_line(answer.correlation_id)
        assert sent.encode() not in edge.access_log.read_bytes()

    def test_two_headers_are_replaced_by_one(self, edge: Edge) -> None:
        """Whom to believe is not guessed."""
        first, second = uuid.uuid4(), uuid.uuid4()
        headers = f"X-Correlation-ID: {first}\r\nX-Correlation-ID: {second}\r\n"
        answer = edge.raw(f"GET {DOCUMENT} HTTP/1.1\r\nHost: robin\r\n{headers}\r\n".encode())
        assert answer.correlation_id not in {str(first), str(second)}
        assert received(edge)[0].header("X-Correlation-ID") == [answer.correlation_id]

    def test_the_services_own_header_does_not_make_a_second_one(self, edge: Edge) -> None:
        """The answer has the header exactly once, errors of the service included."""
        for upstream in edge.upstreams:
            upstream.answer = reply(500, b"{}", X_Correlation_ID=str(uuid.uuid4()))
        assert len(edge.request("GET", DOCUMENT).header("X-Correlation-ID")) == 1


class TestOwnErrors:
    """nginx's own errors are problem+json; the services' pass untouched."""

    def test_a_path_outside_is_404(self, edge: Edge) -> None:
        """Nothing but the documented paths reaches a service."""
        for path in ("/", "/metrics", "/clients", "/healthz", "/_problem", "/nginx-health/x"):
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

    def test_no_service_is_502_with_retry_after(self, edge: Edge) -> None:
        """All instances away: an error of 5xx, logged as such."""
        for upstream in edge.upstreams:
            upstream.close()
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


class TestBalancing:
    """More than one instance: reads move on, uploads never twice."""

    def test_requests_go_to_every_instance(self, edge: Edge) -> None:
        """The load is shared."""
        for _ in range(8):
            edge.request("GET", DOCUMENT)
        assert all(upstream.seen for upstream in edge.upstreams)

    def test_a_get_is_answered_when_one_instance_is_gone(self, edge: Edge) -> None:
        """Nobody notices a stopped instance; the log names both tries."""
        edge.upstreams[0].close()
        answers = [edge.request("GET", DOCUMENT) for _ in range(4)]
        assert {answer.status for answer in answers} == {200}
        records = [edge.log_line(answer.correlation_id)["context_data"] for answer in answers]
        retried = next(record for record in records if "," in record["upstream"])
        levels = {edge.log_line(answer.correlation_id)["level"] for answer in answers}
        assert levels == {"INFO", "WARNING"}
        assert retried["upstream_status"] == "502, 200"
        assert isinstance(retried["upstream_duration"], float)

    def test_a_get_is_answered_when_an_instance_dies_over_it(self, edge: Edge) -> None:
        """Read by the first, answered by the second."""
        edge.upstreams[0].answer = die
        assert [edge.request("GET", DOCUMENT).status for _ in range(4)] == [200] * 4
        assert len(edge.upstreams[0].seen) == 1

    def test_an_upload_is_not_sent_twice(self, edge: Edge) -> None:
        """The instance took the whole upload and died: it may be stored, so nobody else gets it."""
        for upstream in edge.upstreams:
            upstream.answer = die
        answer = edge.request("PUT", UPLOAD, body=b"data")
        assert (answer.status, answer.problem["status"]) == (502, 502)
        assert [(seen.method, seen.body) for seen in received(edge)] == [("PUT", b"data")]

    def test_an_upload_is_not_sent_twice_under_an_odd_spelling(self, edge: Edge) -> None:
        """Doubled slashes and escapes do not get around the rule."""
        for upstream in edge.upstreams:
            upstream.answer = die
        edge.request("PUT", "/clients//acme/%75pload-document", body=b"data")
        assert len(received(edge)) == 1

    def test_an_upload_is_streamed_on(self, edge: Edge) -> None:
        """The service sees an upload before its end has come in: nginx does not keep it on disk first."""
        for upstream in edge.upstreams:
            upstream.answer = reply(201, b"{}")
        head = f"PUT {UPLOAD} HTTP/1.1\r\nHost: r\r\nContent-Length: 100\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
            connection.sendall(head + b"x" * 50)
            eventually(lambda: _busy(edge), "an upload is under way")
            connection.sendall(b"x" * 50)
            assert b" 201 " in connection.recv(4096)


def _busy(edge: Edge) -> bool:
    """Say whether an upstream has a connection whose request is not complete."""
    handlers = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
    return bool(handlers) and not received(edge)


class TestForwarding:
    """What goes on to the services."""

    def test_untrusted_headers_are_dropped_and_the_trace_goes_on(self, edge: Edge) -> None:
        """Baggage and forged forwarding headers stop here; traceparent passes."""
        traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        edge.request(
            "GET",
            DOCUMENT,
            headers={
                "baggage": "a=b",
                "X-Forwarded-For": "6.6.6.6",
                "traceparent": traceparent,
                "Host": "robin:1",
            },
        )
        (seen,) = received(edge)
        assert seen.header("baggage") == []
        assert seen.header("X-Forwarded-For") == ["127.0.0.1"]
        assert seen.header("X-Forwarded-Proto") == ["http"]
        assert seen.header("traceparent") == [traceparent]
        assert seen.header("Host") == ["robin:1"]

    def test_nobody_outside_says_who_acts(self, edge: Edge) -> None:
        """The services' own header stops here, however it is spelt."""
        edge.request("GET", DOCUMENT, headers={"Robin-Actor": "user:1", "robin_actor": "user:2"})
        (seen,) = received(edge)
        assert [value for name, value in seen.headers if "actor" in name.lower()] == []

    def test_each_request_has_a_name_that_nobody_outside_gives_it(self, edge: Edge) -> None:
        """By it an upload that is tried twice is the same one: nobody makes his own that of another."""
        for name in ("Robin-Request-Id", "robin_request_id"):
            edge.request("GET", DOCUMENT, headers={name: "mine"})
        named = [
            value
            for seen in received(edge)
            for name, value in seen.headers
            if name.lower().replace("_", "-") == "robin-request-id"
        ]
        assert len(named) == len(set(named)) == 2
        assert all(re.fullmatch("[0-9a-f]{32}", value) for value in named)

    def test_credentials_arrive_as_they_were_sent(self, edge: Edge) -> None:
        """Who somebody is, is for document_api to find out."""
        headers = {"X-API-Key": "robin_0123456789ab_secret", "Authorization": "Bearer a.b.c"}
        edge.request("GET", DOCUMENT, headers=headers)
        (seen,) = received(edge)
        assert {name: seen.header(name) for name in headers} == {
            name: [value] for name, value in headers.items()
        }

    def test_path_and_query_arrive_as_they_were_sent(self, edge: Edge) -> None:
        """nginx does not decode or clean the path for the service."""
        path = "/clients/a%2Fb/documents/1?x=%20y"
        edge.request("GET", path)
        assert received(edge)[0].path == path

    def test_health_and_documentation_are_proxied(self, edge: Edge) -> None:
        """The paths beside /clients/ that the service has."""
        for path in ("/health", "/docs", "/openapi.json"):
            assert edge.request("GET", path).status == 200
        assert [seen.path for seen in sorted(received(edge), key=lambda seen: seen.path)] == [
            "/docs",
            "/health",
            "/openapi.json",
        ]

    def test_nginx_answers_for_its_own_health(self, edge: Edge) -> None:
        """With no service alive too."""
        for upstream in edge.upstreams:
            upstream.close()
        answer = edge.request("GET", "/nginx-health")
        assert (answer.status, json.loads(answer.body)) == (200, {"status": "healthy", "service": "nginx"})

    def test_the_version_is_not_shown(self, edge: Edge) -> None:
        """Neither in a header nor in an error."""
        assert edge.request("GET", "/nothing").header("Server") == ["nginx"]


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
        assert (record["context_data"]["status"], record["context_data"]["client_id"]) == (502, "acme")

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
        assert edge.request("GET", path, headers=headers).status == 502
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


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class TestHardening:
    """What a browser is told, and what no client gets."""

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"GET /clients/acme/documents/7 HTTP/1.1\r\nHost: r\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: r\r\n\r\n",
            b"GET /nginx-health HTTP/1.1\r\nHost: r\r\n\r\n",
            b"GET /nothing HTTP/1.1\r\nHost: r\r\n\r\n",
            b"BREW /health HTTP/1.1\r\nHost: r\r\n\r\n",
            b"this is no request\r\n\r\n",
        ],
    )
    def test_every_answer_has_the_security_headers_once(self, edge: Edge, request_bytes: bytes) -> None:
        """Those of the service, and nginx's own errors; over plain HTTP nothing is said of HTTPS."""
        answer = edge.raw(request_bytes)
        assert {name: answer.header(name) for name in SECURITY_HEADERS} == {
            name: [value] for name, value in SECURITY_HEADERS.items()
        }
        assert answer.header("Strict-Transport-Security") == []

    @pytest.mark.parametrize("upstream_says", ["private, max-age=60", ""])
    def test_what_is_a_tenants_is_never_kept_on_the_way(self, edge: Edge, upstream_says: str) -> None:
        """Whatever the service says of it, and its errors too."""
        says = {"Cache_Control": upstream_says} if upstream_says else {}
        for upstream in edge.upstreams:
            upstream.answer = reply(200, b"{}", **says)
        odd = [
            ("GET", path)
            for path in ("/clients", "/%63lients/acme/documents/7", "//clients/acme/documents/7")
        ]
        for method, path in (("GET", DOCUMENT), ("PUT", UPLOAD), ("BREW", DOCUMENT), *odd):
            assert edge.request(method, path).header("Cache-Control") == ["no-store"], path
        assert edge.request("GET", "/docs").header("Cache-Control") == [upstream_says][: len(says)]

    def test_the_documentations_page_may_load_what_it_needs(self, edge: Edge) -> None:
        """FastAPI's page has its code from a CDN; nothing else may."""
        (policy,) = edge.request("GET", "/docs").header("Content-Security-Policy")
        assert "script-src 'unsafe-inline' https://cdn.jsdelivr.net" in policy
        assert "frame-ancestors 'none'" in policy


def shortened(balancer: LoadBalancer, *directives: str) -> None:
    """Give a rendered configuration shorter time-outs, each of which it must have."""
    site = balancer.config_dir / "robin.conf"
    text = site.read_text()
    for directive in directives:
        text, count = re.subn(rf"^(    {directive}) \d+s;", r"\1 500ms;", text, flags=re.MULTILINE)
        assert count == 1, directive
    site.write_text(text)


class TestSlowClients:
    """Who holds a connection and says nothing is cut off, and leaves the services alone."""

    @pytest.fixture
    def edge(self, tmp_path: Path, upstreams: list[Upstream]) -> Iterator[Edge]:
        """The real configuration, less patient."""
        port = free_port()
        balancer = load_balancer(tmp_path, port, upstreams)
        balancer.write()
        shortened(balancer, "client_header_timeout", "client_body_timeout", "send_timeout")
        with running(balancer, port, upstreams) as running_edge:
            yield running_edge

    def test_headers_that_do_not_come_in_time_end_the_connection(self, edge: Edge) -> None:
        """The time is for all of them: one more each moment does not help."""
        with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: r\r\n")

            def dribble() -> bool:
                try:
                    connection.sendall(b"X-A: b\r\n")
                except OSError:
                    return True
                return False

            eventually(dribble, "nginx has closed the connection")
        assert received(edge) == []

    def test_a_body_that_stops_is_given_up(self, edge: Edge) -> None:
        """Both sides are closed: no worker of the service waits for the rest."""
        with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
            connection.sendall(f"PUT {UPLOAD} HTTP/1.1\r\nHost: r\r\nContent-Length: 100\r\n\r\nx".encode())
            assert ended(connection)
        assert "408" in edge.access_log.read_text()

    def test_one_address_gets_its_connections_and_no_more(
        self, tmp_path: Path, upstreams: list[Upstream]
    ) -> None:
        """Two uploads are under way; another request is refused, and taken when they have ended."""
        port = free_port()
        # An upload that is under way waits as long as this test does.
        limits = {"connections_per_address": 2, "proxy_read_timeout": "60s"}
        balancer = load_balancer(tmp_path, port, upstreams, **limits)
        balancer.write()
        with running(balancer, port, upstreams) as edge:
            head = f"PUT {UPLOAD} HTTP/1.1\r\nHost: r\r\nContent-Length: 100\r\n\r\nx".encode()
            with ExitStack() as busy:

                def refused_beside_uploads() -> Answer | None:
                    answer = edge.request("GET", DOCUMENT)
                    if answer.status == 429:
                        return answer
                    # Of those that came before, one may have been refused beside the last of these questions.
                    upload = busy.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
                    upload.sendall(head)
                    return None

                refused = eventually(refused_beside_uploads, "a request beside two uploads is refused")
                assert (refused.problem["title"], refused.header("Retry-After")) == (
                    "Too Many Requests",
                    ["2"],
                )
            eventually(lambda: edge.request("GET", DOCUMENT).status == 200, "there is room again")


class TestFloodGuard:
    """Where everybody must say who he is, each credential has a rate."""

    @pytest.fixture
    def edge(self, tmp_path: Path, upstreams: list[Upstream]) -> Iterator[Edge]:
        """One request a second, so that a few are a flood, on a busy machine too."""
        port = free_port()
        balancer = load_balancer(tmp_path, port, upstreams, auth_mode="required", requests_per_second=1)
        balancer.write()
        with running(balancer, port, upstreams) as running_edge:
            yield running_edge

    @pytest.mark.parametrize(
        ("mine", "others"),
        [
            ({"X-API-Key": A_KEY}, {"X-API-Key": ANOTHER_KEY}),
            ({"Authorization": f"Bearer {'a' * 90}one"}, {"Authorization": f"Bearer {'a' * 90}two"}),
            ({"X-API-Key": A_KEY, "Authorization": f"Bearer {'a' * 90}"}, {"X-API-Key": ANOTHER_KEY}),
            ({}, {"X-API-Key": ANOTHER_KEY}),
        ],
    )
    def test_a_flood_is_refused_and_nobody_elses_request(
        self, edge: Edge, mine: dict[str, str], others: dict[str, str]
    ) -> None:
        """429 with Retry-After as problem+json; another credential is served meanwhile."""
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: edge.request("GET", DOCUMENT, headers=mine), range(12)))
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.status for answer in answers} == {200, 429}
        assert {answer.problem["title"] for answer in refused} == {"Too Many Requests"}
        assert [answer.header("Retry-After") for answer in refused] == [["2"]] * len(refused)
        assert edge.request("GET", DOCUMENT, headers=others).status == 200

    def test_two_at_once_are_not_held_up(self, edge: Edge) -> None:
        """Only more of them are paced to the rate, which is one a second here."""
        keys = iter(range(100))

        def both_within_a_second() -> bool:
            mine = {"X-API-Key": f"{A_KEY[:-2]}{next(keys):02d}"}
            started = time.monotonic()
            with ThreadPoolExecutor(2) as pool:
                answers = pool.map(lambda _: edge.request("GET", DOCUMENT, headers=mine).status, range(2))
                assert [*answers] == [200, 200]
            return time.monotonic() - started < 0.9

        eventually(
            both_within_a_second, "two requests at once are answered without waiting for the next second"
        )

    def test_an_address_has_a_rate_with_all_its_credentials(
        self, tmp_path: Path, upstreams: list[Upstream]
    ) -> None:
        """Another one in each request makes no more of them."""
        port = free_port()
        limits = {"requests_per_second": 1000, "requests_per_second_per_address": 1}
        balancer = load_balancer(tmp_path, port, upstreams, auth_mode="required", **limits)
        balancer.write()
        shown = [{"X-API-Key": f"{A_KEY[:-2]}{n:02x}"} for n in range(24)]
        with running(balancer, port, upstreams) as edge, ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda headers: edge.request("GET", DOCUMENT, headers=headers), shown))
        assert {answer.status for answer in answers} == {200, 429}
        assert {answer.problem["status"] for answer in answers if answer.status != 200} == {429}

    def test_made_up_tokens_take_nobodys_room(self, tmp_path: Path, upstreams: list[Upstream]) -> None:
        """However long they are, and however many: the oldest is forgotten, and nobody refused."""
        port = free_port()
        limits = {"requests_per_second": 1000, "requests_per_second_per_address": 100_000}
        balancer = load_balancer(tmp_path, port, upstreams, auth_mode="required", **limits)
        balancer.write()
        site = balancer.config_dir / "robin.conf"
        text, count = re.subn("zone=credentials:10m", "zone=credentials:32k", site.read_text())
        assert count == 1
        site.write_text(text)
        sizes = (7600, 64, 1000, 300)
        tokens = [{"Authorization": f"Bearer {n:0{sizes[n % 4]}}"} for n in range(400)]
        with running(balancer, port, upstreams) as edge:
            answers = {
                edge.request("GET", DOCUMENT, headers=headers).status
                for headers in (*tokens, {"X-API-Key": A_KEY})
            }
            said = edge.said.read_text()
        assert (answers, said) == ({200}, "")

    def test_what_is_no_credential_counts_for_its_address(self, edge: Edge) -> None:
        """Something else in each request, and another path, make no more of them."""
        odd = [{"X-API-Key": f"{A_KEY}{n}"} for n in range(4)] + [
            *({"Authorization": f"Basic {n}"} for n in range(2)),
            *({"Authorization": f"Bearer {n}"} for n in range(2)),  # shorter than any signature
        ]
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(
                lambda n: edge.request("GET", f"/clients/c{n}/documents/1", headers=odd[n]).status, range(8)
            )
        assert list(answers).count(429) >= 4

    def test_in_open_mode_nobody_is_limited(self, tmp_path: Path, upstreams: list[Upstream]) -> None:
        """The demonstration and the benchmarks come from one address."""
        port = free_port()
        limits = {"requests_per_second": 1, "requests_per_second_per_address": 1}
        balancer = load_balancer(tmp_path, port, upstreams, **limits)
        balancer.write()
        with running(balancer, port, upstreams) as edge, ThreadPoolExecutor(8) as pool:
            assert {*pool.map(lambda _: edge.request("GET", DOCUMENT).status, range(24))} == {200}

"""The load balancer's real configuration in a real nginx, in front of small real servers."""

import json
import re
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from local_stack.nginx import LoadBalancer
from tests.ports import free_port
from tests.waiting import eventually, until_up

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
A_UUID4 = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
UPLOAD = "/clients/acme/upload-document"
DOCUMENT = "/clients/acme/documents/7"
TRACE_RESPONSE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"
MAX_UPLOAD_BYTES = 1000


@dataclass
class Seen:
    """One request as an upstream server saw it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        """Return the values of one header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Upstream:
    """A real HTTP server that keeps what it saw and answers as it is told."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = reply(200, b'{"ok": true}')
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = read_body(self)
                upstream.seen.append(Seen(self.command, self.path, self.headers.items(), body))
                upstream.answer(self)

            do_GET = do_PUT = do_HEAD = handle_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: pytest shows what failed."""

        return Handler

    def close(self) -> None:
        """Stop listening, as a dead instance does; a second time does nothing."""
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()


def read_body(handler: BaseHTTPRequestHandler) -> bytes:
    """Read a request's body, with a length or in chunks."""
    if "chunked" not in handler.headers.get("Transfer-Encoding", ""):
        return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    body = b""
    while size := int(handler.rfile.readline() or b"0", 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def reply(
    status: int, body: bytes, content_type: str = "application/json", **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return an answer to give."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def die(handler: BaseHTTPRequestHandler) -> None:
    """Take the whole request and fall over before the answer."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


@dataclass
class Edge:
    """A running nginx: its port and its access log."""

    port: int
    access_log: Path
    process: subprocess.Popen[bytes]
    upstreams: list[Upstream] = field(default_factory=list)

    def request(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> "Answer":
        """Send one request on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            return Answer.read(connection.getresponse())
        finally:
            connection.close()

    def raw(self, request: bytes) -> "Answer":
        """Send bytes that no client library would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request)
            response = HTTPResponse(connection)
            response.begin()
            return Answer.read(response)

    def log_line(self, correlation_id: str) -> dict[str, Any]:
        """Return the access-log line of one request, waiting until nginx has written it."""

        def mine() -> dict[str, Any] | None:
            records = map(json.loads, self.access_log.read_bytes().splitlines())
            return next((record for record in records if record["correlation_id"] == correlation_id), None)

        return eventually(mine, f"an access-log line has {correlation_id}")


@dataclass
class Answer:
    """An answer, read to its end."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @classmethod
    def read(cls, response: HTTPResponse) -> Self:
        """Read everything off the wire."""
        return cls(response.status, response.getheaders(), response.read())

    def header(self, name: str) -> list[str]:
        """Return the values of one header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def correlation_id(self) -> str:
        """The one correlation ID in the headers."""
        (value,) = self.header("X-Correlation-ID")
        return value

    @property
    def problem(self) -> dict[str, Any]:
        """The body of an error of nginx's own."""
        assert self.header("Content-Type") == ["application/problem+json"]
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["correlation_id"] == self.correlation_id
        assert problem["type"] == "about:blank"
        assert problem["title"]
        assert problem["detail"]
        return problem


def listens(port: int) -> bool:
    """Say whether something answers on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def upstreams() -> Iterator[list[Upstream]]:
    """Two document_api stand-ins."""
    servers = [Upstream(), Upstream()]
    yield servers
    for server in servers:
        server.close()


@pytest.fixture
def edge(tmp_path: Path, upstreams: list[Upstream]) -> Iterator[Edge]:
    """The real nginx with the real template in front of both."""
    port = free_port()
    balancer = LoadBalancer(
        listen=f"127.0.0.1:{port}",
        upstream_ports=[upstream.port for upstream in upstreams],
        max_upload_bytes=MAX_UPLOAD_BYTES,
        access_log=tmp_path / "a folder" / "access.json",
        config_dir=tmp_path / "config dir",
        run_dir=tmp_path / "run dir",
        proxy_read_timeout="1s",
    )
    balancer.access_log.parent.mkdir()
    balancer.write()
    with subprocess.Popen(balancer.command) as process:
        try:
            until_up(process, lambda: listens(port), seconds=10)
            yield Edge(port, balancer.access_log, process, upstreams)
        finally:
            process.terminate()


def received(edge: Edge) -> list[Seen]:
    """Return all requests that reached an upstream."""
    return [seen for upstream in edge.upstreams for seen in upstream.seen]


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

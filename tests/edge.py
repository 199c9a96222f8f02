"""The load balancer in a test: a real nginx with the real configuration, and small real servers behind it."""

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from local_stack.nginx import LoadBalancer
from tests.waiting import eventually, until_up

START_SECONDS = 10
MAX_UPLOAD_BYTES = 200_000


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

    def __init__(self, port: int = 0) -> None:
        self.seen: list[Seen] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = reply(200, b'{"ok": true}')
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
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
    """A running nginx: its port, its access log and what it said on stderr."""

    port: int
    access_log: Path
    process: subprocess.Popen[bytes]
    said: Path
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


def ended(connection: socket.socket) -> bool:
    """Wait until the other side closes, and say that it did."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


@contextmanager
def two_upstreams() -> Iterator[list[Upstream]]:
    """Two stand-ins for document_api."""
    servers = [Upstream(), Upstream()]
    try:
        yield servers
    finally:
        for server in servers:
            server.close()


def load_balancer(folder: Path, port: int, upstreams: list[Upstream], **options: Any) -> LoadBalancer:
    """Return a load balancer in front of them, with everything it writes in folders with spaces in their names."""
    balancer = LoadBalancer(
        listen=f"127.0.0.1:{port}",
        upstream_ports=[upstream.port for upstream in upstreams],
        max_upload_bytes=MAX_UPLOAD_BYTES,
        access_log=folder / "a folder" / "access.json",
        config_dir=folder / "config dir",
        run_dir=folder / "run dir",
        **{"proxy_read_timeout": "1s", **options},
    )
    balancer.access_log.parent.mkdir(exist_ok=True)
    return balancer


@contextmanager
def running(balancer: LoadBalancer, port: int, upstreams: list[Upstream]) -> Iterator[Edge]:
    """Run nginx as its configuration, which has been written, says; what it says on stderr is kept."""
    said = balancer.run_dir / "stderr.txt"
    with said.open("wb") as stderr, subprocess.Popen(balancer.command, stderr=stderr) as process:
        try:
            until_up(process, lambda: listens(port), seconds=START_SECONDS)
            yield Edge(port, balancer.access_log, process, said, upstreams)
        finally:
            process.terminate()


def received(edge: Edge) -> list[Seen]:
    """Return all requests that reached an upstream."""
    return [seen for upstream in edge.upstreams for seen in upstream.seen]

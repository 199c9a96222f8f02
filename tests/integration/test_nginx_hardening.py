"""Security headers, slow clients, and addresses that want too much."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from local_stack.nginx import LoadBalancer
from tests.edge import (
    Answer,
    Edge,
    Upstream,
    ended,
    load_balancer,
    received,
    reply,
    running,
)
from tests.ports import free_port
from tests.waiting import eventually

UPLOAD = "/clients/acme/upload-document"
DOCUMENT = "/clients/acme/documents/7"
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

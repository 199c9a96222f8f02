"""What nginx does in Docker beside the shared template, in a real nginx: data_store's load balancer, the log's rotation."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from local_stack.nginx import binary
from tests.ports import free_port
from tests.waiting import eventually, until_up

NGINX = Path(__file__).parents[2] / "nginx"
RECORD = "/clients/acme/documents"
START_SECONDS = 10


class DataStore:
    """A small real server that counts what it is asked, and answers or falls over."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.falls = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port: int = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                store.asked.append(self.command)
                if store.falls:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST = handle_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: pytest shows what failed."""

        return Handler

    def close(self) -> None:
        """Stop listening; a second time does nothing."""
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()


def replaced(text: str, old: str, new: str) -> str:
    """Replace what must be there exactly once."""
    assert text.count(old) == 1, old
    return text.replace(old, new)


@contextmanager
def running(config: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run nginx with a configuration of Docker's, its /tmp and user replaced by this machine's."""
    file = folder / "nginx.conf"
    root = "user root;\n" if os.geteuid() == 0 else ""
    file.write_text(root + "daemon off;\n" + config.replace("/tmp/", f"{folder}/"))  # noqa: S108
    command = (str(binary()), "-e", "stderr", "-p", f"{folder}/", "-c", str(file))
    with subprocess.Popen(command) as process:
        try:
            until_up(process, lambda: listens(port), seconds=START_SECONDS)
            yield process
        finally:
            process.terminate()


def listens(port: int) -> bool:
    """Say whether something answers on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def status(port: int, method: str, path: str) -> int:
    """Send one request on a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=b"{}" if method == "POST" else None)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@pytest.fixture
def stores() -> Iterator[tuple[DataStore, DataStore]]:
    """Two data stores."""
    both = (DataStore(), DataStore())
    yield both
    for store in both:
        store.close()


@pytest.fixture
def balancer(tmp_path: Path, stores: tuple[DataStore, DataStore]) -> Iterator[int]:
    """The real configuration in front of both; only the names that Docker would resolve are replaced."""
    port = free_port()
    text = (NGINX / "data-store.conf").read_text()
    text = replaced(text, "listen 8001;", f"listen 127.0.0.1:{port};")
    text = replaced(
        text,
        "server data-store:8001 resolve max_fails=1 fail_timeout=5s;",
        "".join(f"server 127.0.0.1:{store.port} max_fails=1 fail_timeout=5s;" for store in stores),
    )
    with running(text, tmp_path, port):
        yield port


class TestDataStoresLoadBalancer:
    """document_api keeps its connections open; requests are spread all the same."""

    def test_requests_of_one_connection_are_spread_evenly(
        self, balancer: int, stores: tuple[DataStore, DataStore]
    ) -> None:
        """Every request goes to the next data store, not every connection."""
        connection = HTTPConnection("127.0.0.1", balancer, timeout=10)
        for _ in range(20):
            connection.request("GET", f"{RECORD}/1")
            connection.getresponse().read()
        connection.close()
        assert [len(store.asked) for store in stores] == [10, 10]

    def test_a_data_store_that_is_gone_is_passed_over(
        self, balancer: int, stores: tuple[DataStore, DataStore]
    ) -> None:
        """Nobody notices, not even who stores something: it was not sent to the dead one."""
        stores[0].close()
        assert {status(balancer, method, RECORD) for method in ("GET", "POST") for _ in range(5)} == {200}
        assert len(stores[1].asked) == 10

    def test_a_read_is_tried_again_on_another_data_store(
        self, balancer: int, stores: tuple[DataStore, DataStore]
    ) -> None:
        """The first takes the request and falls over."""
        stores[0].falls = True
        assert {status(balancer, "GET", f"{RECORD}/1") for _ in range(4)} == {200}
        assert stores[0].asked

    def test_what_may_have_been_stored_is_never_sent_twice(
        self, balancer: int, stores: tuple[DataStore, DataStore]
    ) -> None:
        """The answer says that it was lost on the way: only document_api knows whether it may be done twice."""
        for store in stores:
            store.falls = True
        assert status(balancer, "POST", RECORD) == 502
        assert [*stores[0].asked, *stores[1].asked] == ["POST"]

    def test_what_was_not_sent_is_told_apart_from_what_was(
        self, balancer: int, stores: tuple[DataStore, DataStore]
    ) -> None:
        """Without any data store the answer is 503: surely not stored, to be tried again."""
        for store in stores:
            store.close()
        assert [status(balancer, method, RECORD) for method in ("POST", "GET", "POST")] == [503, 503, 503]

    def test_it_tells_its_own_health(self, balancer: int, stores: tuple[DataStore, DataStore]) -> None:
        """Without asking anybody."""
        assert status(balancer, "GET", "/nginx-health") == 200
        assert [store.asked for store in stores] == [[], []]


def test_the_access_log_is_rotated_and_no_line_is_lost(tmp_path: Path) -> None:
    """Docker's own script beside Docker's main configuration: two files at most, and every request is in one of them."""
    port, log = free_port(), tmp_path / "access.json"
    (tmp_path / "site.conf").write_text(
        f"server {{ listen 127.0.0.1:{port}; access_log {log}; location / {{ return 200; }} }}"
    )
    text = replaced(
        (NGINX / "nginx.conf").read_text(),
        "include /etc/nginx/conf.d/*.conf;",
        "include site.conf;",
    )
    with running(text, tmp_path, port):
        rotating = subprocess.Popen(
            [NGINX / "rotate-access-log.sh"],
            start_new_session=True,
            env=os.environ
            | {
                "NGINX_ACCESS_LOG": str(log),
                "NGINX_ACCESS_LOG_MAX_BYTES": "500",
                "NGINX_ACCESS_LOG_CHECK_SECONDS": "0.05",
                "NGINX_PID_FILE": str(tmp_path / "nginx.pid"),
            },
        )
        try:
            paths = [f"/{'long' * 200}", "/one", "/two"]
            assert status(port, "GET", paths[0]) == 200
            older = eventually(lambda: [*tmp_path.glob("access.1.json")], "the full log is renamed")[0]
            eventually(lambda: log.exists() and paths[0] not in log.read_text(), "nginx has opened a new log")
            assert [status(port, "GET", path) for path in paths[1:]] == [200, 200]
            # A worker may write to the renamed file until it has heard the signal.
            eventually(
                lambda: all(f"GET {path} " in older.read_text() + log.read_text() for path in paths),
                "every line is in one of both",
            )
            assert rotating.wait(START_SECONDS) == 0
        finally:
            os.killpg(rotating.pid, 9)

"""How a service ends on SIGTERM: whoever was connected, or was about to be, has his answer."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, Self

import psutil
import pytest

from tests.ports import free_port
from tests.waiting import eventually, until_up

CHECKOUT: Final = Path(__file__).parents[2]
SECONDS: Final = 30
# Answers after as many milliseconds as the path says, with the id of its process.
SERVICE: Final = """
import asyncio, os
from observability.service import ServiceSettings, serve
def app():
    async def answer(scope, receive, send):
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(int(scope["path"][1:]) / 1000)
        body = str(os.getpid()).encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    return answer
if __name__ == "__main__":
    serve("patient:app", ServiceSettings())
"""


class Service:
    """A service that runs."""

    def __init__(self, folder: Path, port: int, **variables: str) -> None:
        (folder / "patient.py").write_text(SERVICE)
        self.port = port
        self.process = subprocess.Popen(
            [sys.executable, "-m", "patient"],
            cwd=CHECKOUT,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{folder}:{CHECKOUT}",
                "PORT": str(port),
                **variables,
            },
        )

    def connection(self) -> HTTPConnection:
        """Return a connection to it."""
        return HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def pid_that_answers(self) -> int | None:
        """Return which process answers, None when none does."""
        connection = self.connection()
        try:
            return ask(connection)
        except ConnectionRefusedError:
            return None
        finally:
            connection.close()

    def listens(self) -> bool:
        """Tell whether the process that was started listens itself."""
        found = psutil.Process(self.process.pid).net_connections("tcp")
        return any(one.status == psutil.CONN_LISTEN for one in found)

    def end(self) -> int:
        """Send SIGTERM and return how it ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def running(folder: Path, port: int, **variables: str) -> Iterator[Service]:
    """Run a service until the block ends."""
    service = Service(folder, port, **variables)
    try:
        until_up(service.process, service.pid_that_answers, seconds=SECONDS)
        yield service
    finally:
        service.process.kill()
        service.process.wait()


def ask(connection: HTTPConnection, path: str = "/0") -> int:
    """Send a request, with a body, and return which process answered."""
    connection.request("PUT", path, body=b"x" * 1000)
    response = connection.getresponse()
    assert response.status == 200
    return int(response.read())


class Askers:
    """Threads that ask without a pause, each on one connection or on a new one for each request."""

    def __init__(self, service: Service, count: int, *, keep_alive: bool) -> None:
        self.results: Counter[str] = Counter()
        self.pids: set[int] = set()
        self._enough = threading.Event()
        self._service = service
        self._keep_alive = keep_alive
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.results["answered"] > 100, "they are answered", seconds=SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        connection = self._service.connection()
        while not self._enough.is_set():
            try:
                self.pids.add(ask(connection))
                self.results["answered"] += 1
            except ConnectionRefusedError:
                self.results["refused"] += 1
                connection.close()
                self._enough.wait(0.01)
            except (OSError, HTTPException) as error:
                self.results[f"lost: {error!r}"] += 1
                connection.close()
            if not self._keep_alive:
                connection.close()
        connection.close()

    def lost(self) -> list[str]:
        """Return what became of requests that had neither an answer nor a closed port."""
        return [result for result in self.results if result.startswith("lost")]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "a connection each"])
def test_sigterm_under_load_loses_no_request(tmp_path: Path, workers: str, *, keep_alive: bool) -> None:
    """Each is answered, or finds the port closed, which is safe to try again."""
    with running(tmp_path, free_port(), WORKERS=workers) as service:
        with Askers(service, 16, keep_alive=keep_alive) as askers:
            service.end()
            eventually(lambda: askers.results["refused"] > 16, "the port is closed", seconds=SECONDS)

        assert askers.lost() == []


def test_a_request_under_way_is_finished(tmp_path: Path) -> None:
    """One that takes long is waited for, on a connection that it is the last of."""
    with running(tmp_path, free_port()) as service:
        connection = service.connection()
        connection.request("PUT", "/2500", body=b"x")
        eventually(lambda: psutil.Process(service.process.pid).net_connections("tcp")[1:])
        service.process.send_signal(signal.SIGTERM)
        response = connection.getresponse()

        assert response.status == 200
        assert response.getheader("Connection") == "close"


def test_while_it_ends_an_idle_connection_is_asked_for_no_more(tmp_path: Path) -> None:
    """Whoever was just about to send on it is answered, and told to close it."""
    with running(tmp_path, free_port()) as service:
        connection = service.connection()
        ask(connection)
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda: _is_told_to_close(service), "new connections are told to close")
        connection.request("PUT", "/0", body=b"x")
        response = connection.getresponse()

        assert (response.status, response.getheader("Connection")) == (200, "close")


def _is_told_to_close(service: Service) -> bool:
    other = service.connection()
    try:
        other.request("PUT", "/0", body=b"x")
        return other.getresponse().getheader("Connection") == "close"
    finally:
        other.close()


def test_without_connections_it_ends_at_once(tmp_path: Path) -> None:
    """Nobody is waited for who is not there."""
    with running(tmp_path, free_port()) as service:
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(2)


def test_a_successor_takes_over_at_the_same_port_without_a_refused_connection(tmp_path: Path) -> None:
    """With REUSE_PORT the next process begins before this one ends: nobody finds the port closed."""
    port = free_port()
    with (
        running(tmp_path, port, REUSE_PORT="true") as service,
        Askers(service, 16, keep_alive=False) as askers,
    ):
        successor = Service(tmp_path, port, REUSE_PORT="true")
        try:
            eventually(successor.listens, "the successor listens", seconds=SECONDS)
            service.end()
            eventually(lambda: successor.process.pid in askers.pids, "the successor answers")
        finally:
            askers.__exit__()
            successor.end()

    assert askers.results.keys() == {"answered"}


def test_a_second_process_at_the_same_port_is_refused_without_that(tmp_path: Path) -> None:
    """By default two services by mistake at one port are told of it."""
    with running(tmp_path, free_port()) as service:
        second = Service(tmp_path, service.port)

        assert second.process.wait(SECONDS) == 2


def test_workers_end_when_the_process_that_looks_after_them_is_killed(tmp_path: Path) -> None:
    """Left over, they would hold the port, and whoever starts the service anew could not."""
    with running(tmp_path, free_port(), WORKERS="2") as service:
        workers = psutil.Process(service.process.pid).children(recursive=True)
        service.process.kill()

        _, alive = psutil.wait_procs(workers, timeout=SECONDS)
        assert alive == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", service.port))

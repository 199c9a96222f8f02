"""The faults, each done for real to a running stack."""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil
import psycopg2

from local_stack.postgres import SERVICE_ROLE, database_url, service_password
from local_stack.state import State
from tests.e2e import faults
from tests.e2e.conftest import RunningStack
from tests.faults import clock

CHECKOUT: Final = Path(__file__).parents[2]
_AWAY_SECONDS: Final = 200
# gRPC connects again after two minutes at the latest, or a fifth more: so late comes what Jaeger could not be sent.
_RECONNECT_SECONDS: Final = 150.0
_RESTART_SECONDS: Final = 120.0
_FLOOD_A_SECOND: Final = 900  # some three times what two cores can do
_SLOW_CLIENTS: Final = 40
_END_OTHERS: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> ALL (%s)"
)
_DISK_BYTES: Final = 64 * 1024 * 1024


def _untouched(_stack: RunningStack) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Fault:
    """What is done to a stack under load, `seconds` long; `around` is prepared before the load and mended after all checks.

    Clients must not notice what is `hidden`: every request is answered well, and its telemetry is complete, unless the
    fault `loses_telemetry`, as that of a store's or a service's last second.
    """

    name: str
    strikes: Callable[[RunningStack], AbstractContextManager[None]]
    seconds: float = 0.0
    around: Callable[[RunningStack], AbstractContextManager[None]] = _untouched
    hidden: bool = False
    loses_telemetry: bool = False
    quick_seconds: float = 1.0  # a request that takes longer is none that is well again
    # Of telemetry of which nothing came for so long nothing is waited for: more than twice the longest pause between two
    # tries of the collector.
    silent_seconds: float = 12.0


def kill(*pids: int) -> None:
    """End processes without a word."""
    assert pids, "there is nothing to kill"
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def _killed(urls: list[str]) -> Iterator[None]:
    """Kill what listens there; whoever looks after the stack starts it again."""
    kill(*(pid for url in urls for pid in faults.listeners(url)))
    yield


def _kills(*names: str) -> Callable[[RunningStack], AbstractContextManager[None]]:
    """Return a fault that kills what listens at these endpoints."""

    def strike(stack: RunningStack) -> AbstractContextManager[None]:
        found = [stack.endpoints[name] for name in names]
        return _killed([url for each in found for url in (each if isinstance(each, list) else [each])])

    return strike


def _one_document_api(stack: RunningStack) -> AbstractContextManager[None]:
    return _killed(stack.endpoints["document_api"][:1])


@contextmanager
def _two_workers(stack: RunningStack) -> Iterator[None]:
    stack.up(WORKERS="2")
    try:
        yield
    finally:
        stack.up()


@contextmanager
def _a_worker(stack: RunningStack) -> Iterator[None]:
    """Kill one of two processes that serve one port; their parent replaces it."""
    processes = {
        process
        for pid in faults.listeners(stack.endpoints["document_api"][0])
        for process in (psutil.Process(pid), *psutil.Process(pid).children())
    }
    workers = [process.pid for process in processes if "spawn_main" in " ".join(process.cmdline())]
    kill(*workers[:1])
    yield


@contextmanager
def _postgresql(stack: RunningStack) -> Iterator[None]:
    """Kill the server; those of its processes that serve connections end by themselves."""
    kill(*faults.listeners(f"http://127.0.0.1:{stack.environment['POSTGRES_PORT']}"))
    yield


@contextmanager
def _away(stack: RunningStack, names: tuple[str, ...], *, collector_dies: bool) -> Iterator[None]:
    """Keep back ends away for a while, and kill the collector meanwhile."""
    with faults.stopped(stack, *names):
        if collector_dies:
            kill(*faults.listeners(stack.endpoints["collector"]))
        time.sleep(_AWAY_SECONDS)
        yield


def _back_ends_away(stack: RunningStack) -> AbstractContextManager[None]:
    return _away(stack, ("jaeger", "prometheus", "victoria-logs"), collector_dies=True)


@contextmanager
def _small_disk(stack: RunningStack) -> Iterator[None]:
    """Put a small file system in the place of the uploads' folder. Only root may."""
    folder = stack.state / "uploads"
    options = f"size={_DISK_BYTES},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        for name in ("incoming", "documents"):
            (folder / name).mkdir()
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def _full(stack: RunningStack) -> Iterator[None]:
    """Use all of the disk."""
    ballast = stack.state / "uploads" / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


def _slow_database(stack: RunningStack) -> AbstractContextManager[None]:
    return faults.slow_inserts(stack, 1.0)


@contextmanager
def _no_connections(stack: RunningStack) -> Iterator[None]:
    """Take every connection that PostgreSQL has, those of the data store first."""
    port = int(stack.environment["POSTGRES_PORT"])
    url = database_url(port, service_password(State(stack.state)), SERVICE_ROLE)
    mine = [psycopg2.connect(url)]
    mine[0].autocommit = True
    try:
        while True:
            try:
                mine.append(psycopg2.connect(url))
            except psycopg2.OperationalError:
                with mine[0].cursor() as cursor:
                    cursor.execute(_END_OTHERS, ([each.info.backend_pid for each in mine],))
                    if not cursor.rowcount:
                        break
        yield
    finally:
        for connection in mine:
            connection.close()


class _Model(http.server.BaseHTTPRequestHandler):
    """A model that answers what is no answer, or nothing at all."""

    hangs = False

    def do_POST(self) -> None:
        """Answer garbage, or wait until the client has gone."""
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.hangs:
            self.connection.recv(1)
            return
        body = json.dumps({"choices": [{"message": {"content": ["\0", 7]}}]}).encode()[:-3]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _model(*, hangs: bool) -> Callable[[RunningStack], AbstractContextManager[None]]:
    """Return what gives the stack such a model."""

    @contextmanager
    def around(stack: RunningStack) -> Iterator[None]:
        handler = type("Model", (_Model,), {"hangs": hangs})
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_address[1]}/v1"
            stack.up(LLM_BASE_URL=address, LLM_MODEL="none", LLM_TIMEOUT_SECONDS="2")
            try:
                yield
            finally:
                stack.up()
                server.shutdown()

    return around


@contextmanager
def _nothing(_stack: RunningStack) -> Iterator[None]:
    yield


@contextmanager
def _overload(stack: RunningStack) -> Iterator[None]:
    """Send three times what the machine can do, from a process of its own."""
    command = [sys.executable, "-m", "tests.faults.flood", stack.endpoints["nginx"], str(_FLOOD_A_SECOND)]
    with subprocess.Popen(command, cwd=CHECKOUT) as flood:
        try:
            yield
        finally:
            flood.terminate()


@contextmanager
def _byte_by_byte(stack: RunningStack) -> Iterator[None]:
    """Hold uploads open that send one byte a second."""
    url, over = httpx.URL(stack.endpoints["nginx"]), threading.Event()
    head = (
        "PUT /clients/slow/upload-document HTTP/1.1\r\nHost: robin\r\nContent-Length: 1000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    )
    with ExitStack() as stack_of_sockets:
        clients = [
            stack_of_sockets.enter_context(socket.create_connection((url.host, url.port or 80)))
            for _ in range(_SLOW_CLIENTS)
        ]
        for client in clients:
            client.sendall(head.encode())

        def drip() -> None:
            while not over.wait(1):
                for client in clients:
                    with suppress(OSError):
                        client.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            yield
        finally:
            over.set()
            dripping.join()


@contextmanager
def _rolling_restart(stack: RunningStack) -> Iterator[None]:
    """Restart the services as the command does that is there for it."""
    done = stack.run(sys.executable, "-m", "local_stack", "restart", seconds=_RESTART_SECONDS)
    assert done.returncode == 0, done.stderr
    yield


FAULTS: Final = (
    Fault("kill -9 of a document_api worker", _a_worker, around=_two_workers),
    Fault("kill -9 of one document_api", _one_document_api),
    Fault("kill -9 of all document_api", _kills("document_api")),
    Fault("kill -9 of data_store", _kills("data_store")),
    Fault("kill -9 of PostgreSQL", _postgresql),
    Fault("kill -9 of the collector", _kills("collector"), hidden=True),
    Fault("kill -9 of Jaeger", _kills("jaeger"), hidden=True),
    Fault("kill -9 of Prometheus", _kills("prometheus"), hidden=True),
    Fault("kill -9 of the log store", _kills("logs"), hidden=True, loses_telemetry=True),
    Fault("kill -9 of nginx", _kills("nginx")),
    Fault(
        f"back ends away for {_AWAY_SECONDS} s, collector killed meanwhile",
        _back_ends_away,
        hidden=True,
        silent_seconds=_RECONNECT_SECONDS,
    ),
    Fault("rolling restart", _rolling_restart, hidden=True),
    Fault("uploads' disk full", _full, seconds=10, around=_small_disk),
    Fault("database locked", faults.locked_documents, seconds=10),
    Fault("database slow", _slow_database, seconds=10),
    Fault("PostgreSQL out of connections", _no_connections, seconds=10),
    Fault("model hangs", _nothing, seconds=10, around=_model(hangs=True), hidden=True, quick_seconds=5),
    Fault("model answers garbage", _nothing, seconds=10, around=_model(hangs=False), hidden=True),
    Fault("three times too much", _overload, seconds=10),
    Fault("clients that send a byte a second", _byte_by_byte, seconds=40, hidden=True),
    Fault("clock jumps an hour ahead, and back", clock.jump, seconds=15, around=clock.shiftable, hidden=True),
)

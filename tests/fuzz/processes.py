"""Both services as they are run, and what they hold: open files and tasks."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil

from tests.ports import free_port
from tests.waiting import eventually, until_up

_CHECKOUT: Final = Path(__file__).parents[2]
_START_SECONDS: Final = 60
_NO_COLLECTOR: Final = 1  # a port where nobody listens


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    files: Counter[str]
    tasks: int

    def is_no_more_than(self, other: "Held") -> bool:
        """Compare."""
        return self.files.total() <= other.files.total() and self.tasks <= other.tasks


@dataclass(frozen=True)
class Service:
    """A running service."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        """All that it has written."""
        return _log(self.folder, self.name).read_text(errors="replace")

    def held(self) -> Held:
        """Ask it what it holds."""
        file = _tasks_file(self.folder, self.name)
        file.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        eventually(file.exists, "the service tells its tasks")
        return Held(_open_files(self.process.pid), int(file.read_text()))


def _open_files(pid: int) -> Counter[str]:
    """Count the files and connections that a process has open, but for what gRPC does to reach a collector."""
    files = Counter(
        f"{each.status} {each.laddr} {each.raddr}"
        for each in psutil.Process(pid).net_connections("tcp")
        if each.raddr and each.raddr.port != _NO_COLLECTOR
    )
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            target = link.readlink()
            if target.is_absolute():  # a socket's is none
                files[str(target)] += 1
    return files


@contextmanager
def running(module: str, folder: Path, **variables: str) -> Iterator[Service]:
    """Run a service until the block ends; what it writes is kept."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PORT": str(port),
        "TASKS_FILE": str(_tasks_file(folder, module)),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{_NO_COLLECTOR}",
    }
    with _log(folder, module).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.counted", module],
            cwd=_CHECKOUT,
            env={**environment, **variables},
            stdout=log,
            stderr=log,
        )
    service = Service(module, port, process, folder)
    try:
        until_up(process, lambda: _answers(service.url), seconds=_START_SECONDS)
        yield service
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return bool(httpx.get(f"{url}/health", timeout=10).status_code)
    return False


def _log(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"


def _tasks_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.tasks"

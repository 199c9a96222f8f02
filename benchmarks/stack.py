"""The whole local stack with its default settings, on free ports and in a folder of its own."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.errors import BenchmarkError
from benchmarks.options import Options
from benchmarks.system import free_ports
from local_stack.postgres import outside_home
from local_stack.settings import CHECKOUT, PORT_STEP, Settings
from local_stack.state import State
from local_stack.supervision import Supervisor

# What a shell may hold that would change the defaults.
FOREIGN = ("OTEL_", "LLM_", "ALERT_", "COMPOSE_", "TENANT_")
# The first run on a machine builds the Go programs.
START_SECONDS = 1800
STOP_SECONDS = 240
ADMIN_SECONDS = 60


@dataclass(frozen=True)
class RunningStack:
    """Where it is: its folder, and the addresses of its parts; how it is started."""

    state: Path
    endpoints: Mapping[str, Any]
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        """The address of the whole system."""
        url: str = self.endpoints["nginx"]
        return url

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop it in order until the block ends: all that it holds is on the disk then."""
        _local_stack("down", self.environment, STOP_SECONDS)
        yield
        _local_stack("up", self.environment, START_SECONDS)

    def processes(self) -> dict[str, psutil.Process]:
        """Return the supervised process of each part."""
        parts = Supervisor(State(self.state)).processes().values()
        return {part.name: psutil.Process(part.pid) for part in parts if part.pid}

    def administer(self, *arguments: str) -> str:
        """Run a command of the administration and return what it prints."""
        return _local_stack("admin", self.environment, ADMIN_SECONDS, *arguments)


@contextmanager
def running_stack(options: Options, **variables: str) -> Iterator[RunningStack]:
    """Run it until the block ends; `variables` are what is not left at its default."""
    options.home.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="stack-", dir=options.home))
    environment = {
        **_plain(options.environment),
        **_ports(),
        **variables,
        "ROBIN_STATE_DIR": str(folder),
    }
    try:
        _local_stack("up", environment, START_SECONDS)
        yield RunningStack(folder, json.loads(State(folder).endpoints_file.read_text()), environment)
    finally:
        _local_stack("down", environment, STOP_SECONDS)
        shutil.rmtree(outside_home(State(folder)), ignore_errors=True)
        shutil.rmtree(folder)


def _local_stack(command: str, environment: Mapping[str, str], seconds: float, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "local_stack", command, *arguments],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"`local_stack {command}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _plain(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what would change the stack: its settings are the defaults."""
    settings = {name.upper() for name in Settings.model_fields}
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(FOREIGN) and name not in settings and not name.endswith("_URL")
    }


def _ports() -> dict[str, str]:
    free = free_ports()
    names = [name.upper() for name in Settings.model_fields if name.endswith("_port")]
    ports = {name: str(next(free)) for name in names if name != "DOCUMENT_API_PORT"}
    # Its instances are ten apart: beyond all the others.
    last = max(map(int, ports.values()))
    return ports | {"DOCUMENT_API_PORT": str(last + PORT_STEP)}

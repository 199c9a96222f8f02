"""Whole local stacks on free ports in temporary folders, for the end-to-end tests."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser

from local_stack.postgres import outside_home
from local_stack.settings import PORT_STEP
from local_stack.state import State
from tests.browser import Visit, browser, visit
from tests.ports import free_port

CHECKOUT: Final = Path(__file__).parents[2]
# The first run on a machine builds the Go programs.
START_SECONDS: Final = 1500
STOP_SECONDS: Final = 240
PORTS: Final = (
    "HTTP_PORT",
    "DATA_STORE_PORT",
    "POSTGRES_PORT",
    "OTLP_GRPC_PORT",
    "COLLECTOR_HEALTH_PORT",
    "COLLECTOR_METRICS_PORT",
    "JAEGER_PORT",
    "JAEGER_OTLP_PORT",
    "JAEGER_HEALTH_PORT",
    "JAEGER_METRICS_PORT",
    "PROMETHEUS_PORT",
    "ALERTMANAGER_PORT",
    "BLACKBOX_PORT",
    "VICTORIALOGS_PORT",
)
SETTINGS: Final = {
    # Telemetry arrives within a second.
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "OTEL_BLRP_SCHEDULE_DELAY": "200",
    "OTEL_METRIC_EXPORT_INTERVAL": "500",
    # Small, so that bodies beyond it are sent quickly; nginx, services and checks all have to follow.
    "MAX_UPLOAD_BYTES": str(1024 * 1024),
    "DOCUMENT_API_INSTANCES": "2",
}
# What a developer's shell may hold, and the stack under test must not see.
FOREIGN: Final = ("OTEL_", "LLM_", "ALERT_", "AWS_", "STORAGE_")


@dataclass(frozen=True)
class RunningStack:
    """A stack that runs, and how it was started."""

    environment: dict[str, str]
    state: Path
    endpoints: dict[str, Any]

    def run(self, *command: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command of the checkout against this stack."""
        return subprocess.run(
            command,
            cwd=CHECKOUT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def up(self, **settings: str) -> None:
        """Start what does not run, and restart what these settings change."""
        started = replace(self, environment={**self.environment, **settings}).run(
            sys.executable, "-m", "local_stack", "up", seconds=START_SECONDS
        )
        assert started.returncode == 0, f"the stack did not start:\n{started.stdout}\n{started.stderr}"

    def admin(self, *arguments: str) -> str:
        """Administer clients, users and keys, and return what is printed."""
        done = self.run(sys.executable, "-m", "local_stack", "admin", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run test_observability.py."""
        return self.run(sys.executable, "test_observability.py", *arguments)


@contextmanager
def running_stack(settings: Mapping[str, str]) -> Iterator[RunningStack]:
    """A whole stack with these settings, taken down at the end, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="robin-e2e-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user where the tests run as root
    environment = {**_environment(folder), **settings}
    running = RunningStack(environment, folder, {})
    try:
        running.up()
        endpoints = json.loads((folder / "run" / "endpoints.json").read_text())
        yield RunningStack(environment, folder, endpoints)
    finally:
        stopped = running.run(sys.executable, "-m", "local_stack", "down", seconds=STOP_SECONDS)
        shutil.rmtree(outside_home(State(folder)), ignore_errors=True)
        shutil.rmtree(folder)
    assert stopped.returncode == 0, f"the stack did not stop:\n{stopped.stdout}\n{stopped.stderr}"


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """The stack that the tests of a session share; whoever breaks something mends it."""
    with running_stack({}) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser of the page's tests."""
    with browser() as running:
        yield running


@pytest.fixture
def visited(chromium: Browser, stack: RunningStack) -> Iterator[Visit]:
    """The page of the shared stack, freshly opened."""
    with visit(chromium, stack.endpoints["nginx"]) as opened:
        yield opened


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    """A client for the stack."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


def _environment(folder: Path) -> dict[str, str]:
    """The shell's environment without what would reach the stack, and with ports of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN) and not name.endswith(("_URL", "_PORT"))
    }
    return {**kept, **SETTINGS, **_free_ports(), "ROBIN_STATE_DIR": str(folder)}


def _free_ports() -> dict[str, str]:
    single = {name: str(free_port()) for name in PORTS}
    return {**single, "DOCUMENT_API_PORT": str(free_port(above=(PORT_STEP,)))}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show how long each alert took, there and back."""
    rows = [
        value
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "alert"
    ]
    if rows:
        terminalreporter.section("alerts")
    for story, alert, arrived, resolved in rows:
        terminalreporter.write_line(
            f"{story:24} {alert!s:50} told in {arrived:5.1f} s, over in {resolved:5.1f} s"
        )

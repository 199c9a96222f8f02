"""`up`: composes the stack and waits until all of it is well, or names what is not."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from docker_stack.compose import Compose
from docker_stack.containers import Container, problems
from local_stack.closing import closing_table
from local_stack.errors import StackError, UsageError
from local_stack.log_files import tail
from local_stack.progress import Progress
from local_stack.state import State, write_atomically

# Counted from when every container has been started.
HEALTHY_SECONDS = 180.0
TELLING_LINES = 15
LOOK_SECONDS = 1.0
# The engine waits longer before each restart: a container that is seen waiting this often has ended some times.
GIVEN_UP_AFTER_RESTARTS = 5
HTTP_DEFAULT, HTTPS_DEFAULT = 80, 443

# What is shown at the end: title, service, port inside the container, path, remark.
SHOWN = (
    ("dashboards", "grafana", 3000, "", "Grafana"),
    ("metrics", "prometheus", 9090, "", "Prometheus"),
    ("traces", "jaeger", 16686, "", "Jaeger"),
    ("logs", "loki", 3100, "/loki/api/v1/labels", "Loki; read them in Grafana"),
    ("alerts", "alertmanager", 9093, "", "Alertmanager"),
)

# What test_observability.py asks for: key, service and port inside the container.
ENDPOINTS = {
    "data_store": ("data-store-lb", 8001),
    "collector_health": ("otel-collector", 13133),
    "jaeger": ("jaeger", 16686),
    "prometheus": ("prometheus", 9090),
    "alertmanager": ("alertmanager", 9093),
    "blackbox": ("blackbox-exporter", 9115),
    "logs": ("loki", 3100),
}


class Up:
    """One run of `up`."""

    def __init__(self, compose: Compose, state: State, progress: Progress) -> None:
        self._compose = compose
        self._state = state
        self._progress = progress
        self._log = state.logs / "compose.log"
        self._well: set[str] = set()
        self._restarts: Counter[str] = Counter()

    def run(self) -> None:
        """Bring everything up, or say which service failed and what it wrote."""
        if self._state.supervised:
            raise StackError(
                "robin runs as local processes: stop it first with ./setup-and-run.sh --local --down"
            )
        if refusal := self._compose.model.refusal:
            raise UsageError(refusal)
        self._state.create()
        with self._state.locked():
            self._start()
            self._wait_until_well()
            containers = self._compose.containers()
            ca_file = self._compose.ca_file
            addresses = endpoints(containers) | ({"ca_file": str(ca_file)} if ca_file else {})
            write_atomically(self._state.endpoints_file, json.dumps(addresses, indent=2) + "\n", 0o644)
            self._progress.line(table(containers, ca_file))

    def _start(self) -> None:
        self._compose.make_certificates()
        self._progress.step(f"docker compose up --detach --build (log: {self._log})")
        with self._log.open("w") as output, self._compose.up(output) as process:
            while not _ended(process):
                waiting = self._look()
                said = next(iter(tail([self._log], 1)), "").strip()
                self._progress.tick(said or _waiting(waiting))
        if process.returncode != 0:
            raise self._compose_failure(process.returncode)

    def _wait_until_well(self) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        while waiting := self._look():
            if guilty := self._given_up():
                raise self._failure(guilty)
            if time.monotonic() > deadline:
                raise self._failure(waiting)
            self._progress.tick(_waiting(waiting))
            time.sleep(LOOK_SECONDS)

    def _look(self) -> Mapping[str, str]:
        """Tell which containers have become well, and return what is wrong with the others."""
        containers, model = self._compose.containers(), self._compose.model
        found = problems(containers, model.services, model.jobs)
        for name, problem in found.items():
            if problem is None and name not in self._well:
                self._well.add(name)
                self._progress.step(f"{name} is well")
        self._restarts.update(each.name for each in containers if each.state == "restarting")
        return {name: problem for name, problem in found.items() if problem is not None}

    def _broken(self) -> dict[str, str]:
        """Containers that waiting does not cure, unless they are just being restarted."""
        jobs = self._compose.model.jobs
        return {
            each.name: each.broken
            for each in self._compose.containers()
            if each.broken and not each.is_done(jobs)
        }

    def _given_up(self) -> dict[str, str]:
        """Broken containers without those that a restart may still cure."""
        recovering = {
            each.name
            for each in self._compose.containers()
            if each.state == "restarting" and self._restarts[each.name] < GIVEN_UP_AFTER_RESTARTS
        }
        return {name: reason for name, reason in self._broken().items() if name not in recovering}

    def _compose_failure(self, code: int) -> StackError:
        """Compose gave up: a container that is broken is the reason, else what Compose itself said."""
        if guilty := self._broken():
            return self._failure(guilty)
        lines = tail([self._log], TELLING_LINES)
        return StackError(f"docker compose up ended with {code} ({self._log}):\n{_indented(lines)}")

    def _failure(self, reasons: Mapping[str, str]) -> StackError:
        by_name = {container.name: container for container in self._compose.containers()}
        parts = [self._story(name, reason, by_name.get(name)) for name, reason in reasons.items()]
        return StackError("\n".join([*parts, self._what_runs(by_name.values())]))

    def _story(self, name: str, reason: str, container: Container | None) -> str:
        if container is None:
            return f"{name} does not run: {reason}"
        said = self._compose.health_output(container) if container.health == "unhealthy" else ""
        head = f"{name} does not run: {reason}" + (f" ({said})" if said else "")
        lines = self._compose.last_lines(container.service, TELLING_LINES)
        return f"{head}\n  last lines of {container.service}:\n{_indented(lines)}"

    @staticmethod
    def _what_runs(containers: Iterable[Container]) -> str:
        running = ", ".join(each.name for each in containers if each.problem is None) or "nothing"
        return f"well: {running}\ngo on with: ./setup-and-run.sh --docker    stop with: ./setup-and-run.sh --down"


def table(containers: Sequence[Container], ca_file: Path | None = None) -> str:
    """Return where everything is, by the ports that are really published."""
    ports = _published(containers)
    rows = [
        (title, address(ports[service, inside]) + path + (f"  ({remark})" if remark else ""))
        for title, service, inside, path, remark in SHOWN
        if (service, inside) in ports
    ]
    return closing_table(_way_in(ports), rows, ca_file)


def endpoints(containers: Sequence[Container]) -> dict[str, str | list[str]]:
    """Return the addresses for programs; what has instances and is not published is reached through nginx alone."""
    ports = _published(containers)
    found: dict[str, str | list[str]] = {"nginx": _way_in(ports), "document_api": [], "data_store": []}
    for key, (service, inside) in ENDPOINTS.items():
        if (service, inside) in ports:
            found[key] = address(ports[service, inside])
    return found


def _published(containers: Sequence[Container]) -> Mapping[tuple[str, int], int]:
    return {(each.service, inside): port for each in containers for inside, port in each.ports.items()}


def _way_in(ports: Mapping[tuple[str, int], int]) -> str:
    """Return the address of nginx: by HTTPS where that is published."""
    https = ports.get(("nginx", HTTPS_DEFAULT))
    if https is None:
        return address(ports.get(("nginx", HTTP_DEFAULT), HTTP_DEFAULT))
    return "https://localhost" if https == HTTPS_DEFAULT else f"https://localhost:{https}"


def address(port: int) -> str:
    """Return the address of a published port."""
    return "http://localhost" if port == HTTP_DEFAULT else f"http://localhost:{port}"


def _waiting(problems_by_name: Mapping[str, str]) -> str:
    return "waiting for " + ", ".join(problems_by_name)


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _ended(process: subprocess.Popen[str]) -> bool:
    try:
        process.wait(timeout=LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True

"""What runs: the containers as `docker compose ps` lists them, and what is wrong with each."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local_stack.health import HttpProbe

# Asked from outside, by the port inside the container: the collector's image has nothing that could ask itself,
# and nginx's and Loki's answers say more than that their process is there.
PROBES = {"nginx": (80, "/health"), "otel-collector": (13133, "/"), "loki": (3100, "/ready")}


@dataclass(frozen=True)
class Container:
    """One container of the composed stack."""

    name: str
    service: str
    state: str
    health: str = ""
    exit_code: int = 0
    ports: Mapping[int, int] = field(default_factory=dict)  # inside: published

    @property
    def broken(self) -> str | None:
        """What waiting does not cure, None when there is no such thing."""
        if self.state == "running" and self.health == "unhealthy":
            return "its health check fails"
        if self.state == "restarting":
            return "it ends after every start"
        if self.state in {"exited", "dead"}:
            return f"it ended with {self.exit_code}"
        return None

    def is_done(self, jobs: frozenset[str]) -> bool:
        """Whether it is a job that has ended well."""
        return self.service in jobs and self.state == "exited" and self.exit_code == 0

    @property
    def problem(self) -> str | None:
        """What is wrong by what the engine knows, None when it is well or has no health check."""
        if self.broken or self.state != "running":
            return self.broken or self.state
        return None if self.health in {"", "healthy"} else "its health check has not passed yet"


def parse_ps(output: str) -> list[Container]:
    """Read `docker compose ps --format json`: one array up to Compose 2.20, one object a line since."""
    text = output.strip()
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return sorted(map(_container, rows), key=lambda container: container.name)


def _container(row: Mapping[str, Any]) -> Container:
    published = {
        port["TargetPort"]: port["PublishedPort"]
        for port in row.get("Publishers") or ()
        if port["PublishedPort"]
    }
    return Container(
        row["Name"], row["Service"], row["State"], row.get("Health") or "", row["ExitCode"], published
    )


def problems(
    containers: Sequence[Container], services: Iterable[str], jobs: frozenset[str]
) -> dict[str, str | None]:
    """Return what is wrong with each container, and with each service that has none; None: it is well."""
    found = {container.name: _problem(container, jobs) for container in containers}
    there = {container.service for container in containers}
    return found | {service: "it has no container" for service in services if service not in there}


def _problem(container: Container, jobs: frozenset[str]) -> str | None:
    if container.service in jobs and container.state == "running":
        return "it has not ended yet"
    return None if container.is_done(jobs) else container.problem or _outside(container)


def _outside(container: Container) -> str | None:
    inside, path = PROBES.get(container.service, (0, ""))
    port = container.ports.get(inside)
    return HttpProbe(port, path).problem() if port else None

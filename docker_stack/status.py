"""`status`: every container, what the engine knows of it and what it answers from outside."""

from collections.abc import Sequence

from docker_stack.compose import Compose
from docker_stack.containers import Container, problems
from docker_stack.up import address
from local_stack.exit_codes import Health
from local_stack.progress import Progress


def status(compose: Compose, progress: Progress) -> Health:
    """Show a table of all containers and say whether all are well."""
    containers, model = compose.containers(), compose.model
    if not any(container.state == "running" for container in containers):
        progress.line("the composed stack does not run; start it with: ./setup-and-run.sh --docker")
        return Health.NOT_RUNNING
    found = problems(containers, model.services, model.jobs)
    for line in rows(containers, found, model.jobs):
        progress.line(line)
    return Health.UNHEALTHY if any(found.values()) else Health.HEALTHY


def rows(containers: Sequence[Container], found: dict[str, str | None], jobs: frozenset[str]) -> list[str]:
    """Return the table, line by line."""
    by_name = {container.name: container for container in containers}
    width = max(map(len, found))
    head = f"{'CONTAINER':<{width}} {'STATE':<10} {'URL':<24} HEALTH"
    return [head, *(_row(name, by_name.get(name), problem, width, jobs) for name, problem in found.items())]


def _row(
    name: str, container: Container | None, problem: str | None, width: int, jobs: frozenset[str]
) -> str:
    state = container.state if container else "-"
    published = min(container.ports.items(), default=None) if container else None
    url = address(published[1]) if published else "-"
    well = "done" if container and container.service in jobs else "healthy"
    return f"{name:<{width}} {state:<10} {url:<24} {problem or well}"

"""Before anything is checked: is everything there that the checks talk to?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from observability_checks.backends.jaeger import Jaeger
from observability_checks.backends.log_store import LogStore, UnknownLogStoreError, detect
from observability_checks.backends.prometheus import Prometheus
from observability_checks.options import Targets
from observability_checks.polling import describe

START_COMMAND = "./setup-and-run.sh"


class CouldNotRunError(Exception):
    """Nothing could be checked; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class BackEnds:
    """The three servers that keep telemetry, each known to answer."""

    jaeger: Jaeger
    prometheus: Prometheus
    logs: LogStore


def reach_back_ends(http: httpx.Client, targets: Targets, *, with_api: bool) -> BackEnds:
    """Return the back ends; raise CouldNotRunError naming every server that does not answer."""
    jaeger = Jaeger(http, targets.one("jaeger"))
    prometheus = Prometheus(http, targets.one("prometheus"))
    problems = [*_missing("Jaeger", jaeger.ping), *_missing("Prometheus", prometheus.ping)]
    if with_api:
        problems += _missing("nginx and document-api", lambda: http.get(f"{targets.one('nginx')}/health"))
    try:
        logs = detect(http, targets.all("logs"))
    except UnknownLogStoreError as error:
        raise _not_reachable([*problems, f"log store: {error}"]) from error
    if problems:
        raise _not_reachable(problems)
    return BackEnds(jaeger, prometheus, logs)


def _missing(name: str, ask: Callable[[], object]) -> list[str]:
    try:
        ask()
    except httpx.HTTPError as error:
        return [f"{name}: {describe(error)}"]
    except httpx.InvalidURL as error:
        return [f"{name}: {error}"]
    return []


def _not_reachable(problems: Sequence[str]) -> CouldNotRunError:
    lines = (f"not reachable: {problem}" for problem in problems)
    return CouldNotRunError("\n".join((*lines, f"start the stack with {START_COMMAND}")))

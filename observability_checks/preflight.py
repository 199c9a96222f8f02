"""Before anything is checked: is everything there that the checks talk to?"""

from collections.abc import Callable, Sequence

import httpx

from observability.signals import HEALTH_ROUTE
from observability_checks.api import Api
from observability_checks.options import Targets
from telemetry_queries.back_ends import BackEnds
from telemetry_queries.failures import describe
from telemetry_queries.jaeger import Jaeger
from telemetry_queries.log_store import UnknownLogStoreError, detect
from telemetry_queries.prometheus import Prometheus

START_COMMAND = "./setup-and-run.sh"


class CouldNotRunError(Exception):
    """Nothing could be checked; the message says why, and what to do."""


def reach_back_ends(http: httpx.Client, targets: Targets, *, api: Api | None = None) -> BackEnds:
    """Return the back ends, each known to answer; raise CouldNotRunError naming every server that does not answer, or an API that refuses us."""
    jaeger = Jaeger(http, targets.one("jaeger"))
    prometheus = Prometheus(http, targets.one("prometheus"))
    problems = [*_missing("Jaeger", jaeger.ping), *_missing("Prometheus", prometheus.ping)]
    if api is not None:
        problems += _missing("nginx and document-api", lambda: api.send("GET", HEALTH_ROUTE))
    try:
        logs = detect(http, targets.all("logs"))
    except UnknownLogStoreError as error:
        raise _not_reachable([*problems, f"log store: {error}"]) from error
    if problems:
        raise _not_reachable(problems)
    if api is not None:
        _must_be_let_in(api)
    return BackEnds(jaeger, prometheus, logs)


def _must_be_let_in(api: Api) -> None:
    """Raise CouldNotRunError where robin asks who sends requests, and would not let these in."""
    exchange = api.send("GET", HEALTH_ROUTE)
    if exchange.status == httpx.codes.UNAUTHORIZED:
        raise CouldNotRunError("robin does not accept the operator's key of --credentials: issue another one")
    if isinstance(exchange.body, dict) and "components" not in exchange.body:
        raise CouldNotRunError(
            "robin asks who sends a request (AUTH_MODE=required): give --credentials FILE with a line for each client and"
            " its API key, and one with - and an operator's"
        )


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

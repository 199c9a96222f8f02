"""Health: every server answers, every component is healthy, and health requests count but make no trace."""

from collections.abc import Callable, Mapping, Sequence

import httpx

from observability import signals
from observability.health import OVERALL
from observability.signals import HEALTH_ROUTE, HealthStatus
from observability_checks.api import Exchange
from observability_checks.context import Context, Group, id_problems
from observability_checks.contract.expected import requests_series
from observability_checks.counters import Series
from observability_checks.metering import HEALTH
from observability_checks.polling import Problems
from telemetry_queries.failures import describe
from telemetry_queries.loki import logql_refusal
from telemetry_queries.sources import Source

_COMPONENTS = {
    Source.DOCUMENT_API: ("file_system", "data_store"),
    Source.DATA_STORE: ("document_metadata", "users", "clients"),
}
_COUNTERS = [
    *(requests_series(service, "GET", HEALTH_ROUTE, 200) for service in _COMPONENTS),
    *(
        Series(signals.HEALTH_CHECKS.prometheus_name, service, (OVERALL, HealthStatus.HEALTHY))
        for service in _COMPONENTS
    ),
]


def run(context: Context) -> None:
    """Ask every server how it is."""
    group = Group(context, "health")
    meter = context.meter(HEALTH)
    _server(group, "nginx", f"{context.api.url}/nginx-health")
    exchange = context.api.send("GET", HEALTH_ROUTE)
    group.add("document-api through nginx", _exchange_problems(exchange), "healthy, with all components")
    _services(group, Source.DOCUMENT_API, "document_api", document_api_problems)
    _services(group, Source.DATA_STORE, "data_store", data_store_problems)
    _back_ends(group)
    deadline = context.deadline()
    group.wait(
        "health metrics",
        lambda: metric_problems(meter.risen()),
        deadline,
        "requests and health checks of both services were counted",
    )
    # The metric has arrived by now, and spans arrive no later: a trace that is not there is not on its way.
    traces = context.traces(exchange.correlation_id)
    group.add(
        "no trace of a health request", [f"found {each.trace_id}" for each in traces], "none, as it must be"
    )


def _back_ends(group: Group) -> None:
    targets = group.context.targets
    _server(group, "OTel collector", targets.one("collector_health"))
    _server(group, "Jaeger", f"{targets.one('jaeger')}/api/services")
    _server(group, "Prometheus", f"{targets.one('prometheus')}/-/ready")
    _server(group, "Alertmanager", f"{targets.one('alertmanager')}/-/ready")
    logs = group.context.back_ends.logs
    _check(group, logs.name, logs.ping)
    for url in targets.all("logs"):
        if refusal := logql_refusal(group.context.http, url):
            group.skip(f"LogQL at {url}", refusal)


def _server(group: Group, name: str, url: str) -> None:
    _check(group, name, lambda: group.context.http.get(url).raise_for_status())


def _check(group: Group, name: str, ask: Callable[[], object]) -> None:
    try:
        ask()
    except httpx.HTTPError as error:
        group.add(name, [describe(error)], "")
    else:
        group.add(name, [], "answers")


def _services(group: Group, name: str, key: str, problems: Callable[[object], Sequence[str]]) -> None:
    """Every instance that is reached directly; what is not stands in the answer through nginx."""
    for number, url in enumerate(group.context.targets.all(key), start=1):
        _service(group, f"{name} {number}", f"{url}{HEALTH_ROUTE}", problems)


def _service(group: Group, name: str, url: str, problems: Callable[[object], Sequence[str]]) -> None:
    try:
        answer = group.context.http.get(url, headers=group.context.api.credentials.headers(HEALTH_ROUTE))
        found = [*_status_problems(answer.status_code), *problems(_json(answer))]
    except httpx.HTTPError as error:
        found = [describe(error)]
    group.add(name, found, "healthy, with all components")


def _json(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None


def _status_problems(status: int) -> list[str]:
    return [] if status == httpx.codes.OK else [f"status {status}, expected 200"]


def _exchange_problems(exchange: Exchange) -> list[str]:
    return [*_status_problems(exchange.status), *id_problems(exchange), *document_api_problems(exchange.body)]


def document_api_problems(body: object) -> list[str]:
    """Components of document-api's health answer."""
    if not isinstance(body, dict):
        return [f"expected a JSON object, found {body!r}"]
    components = body.get("components") or {}
    return [
        *_status_of("status", body.get("status")),
        *(
            problem
            # Those that it always has, and what else it is told to use.
            for name in dict.fromkeys((*_COMPONENTS[Source.DOCUMENT_API], *components))
            for problem in _status_of(name, components.get(name))
        ),
        *(f"no {name}" for name in ("service", "timestamp", "version") if not body.get(name)),
    ]


def data_store_problems(body: object) -> list[str]:
    """Database and tables of data-store's health answer."""
    if not isinstance(body, dict):
        return [f"expected a JSON object, found {body!r}"]
    database, tables = body.get("database") or {}, body.get("tables") or {}
    return [
        *_status_of("status", body.get("status")),
        *_status_of("database", database.get("status")),
        *([] if isinstance(database.get("latency_ms"), int | float) else ["no latency_ms of the database"]),
        *(
            problem
            for name in _COMPONENTS[Source.DATA_STORE]
            for problem in _status_of(name, tables.get(name))
        ),
    ]


def _status_of(name: str, status: object) -> list[str]:
    return [] if status == HealthStatus.HEALTHY else [f"{name} is {status}, expected {HealthStatus.HEALTHY}"]


def metric_problems(risen: Mapping[Series, int]) -> Problems:
    """Counters that must have risen; others ask for the health too, so that only a lower bound can be checked."""
    return [f"{series} did not rise" for series in _COUNTERS if risen.get(series, 0) < 1]

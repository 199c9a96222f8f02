"""How the system does: traffic, errors, latency, alerts and error budget of the last hour, out of Prometheus."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from observability.signals import HTTP_REQUEST_DURATION, HTTP_REQUESTS
from telemetry_queries.failures import describe
from telemetry_queries.models import Alert, RangeSeries
from telemetry_queries.prometheus import Prometheus

WINDOW_SECONDS: Final = 3600
STEP_SECONDS: Final = 30
# As the objectives count (monitoring/slo.yaml): neither health nor those who look at telemetry.
_OF_CLIENTS: Final = 'path=~"/clients/.*"'
_RATE: Final = "2m"
_ANSWERED: Final = f"sum by (service_name) (rate({HTTP_REQUESTS.prometheus_name}{{{_OF_CLIENTS}}}[{_RATE}]))"
_FAILED: Final = (
    f'sum by (service_name) (rate({HTTP_REQUESTS.prometheus_name}{{{_OF_CLIENTS}, status=~"5.."}}[{_RATE}]))'
)
CHARTS: Final[Mapping[str, str]] = {
    "requests_per_second": _ANSWERED,
    "error_ratio": f"({_FAILED} or 0 * {_ANSWERED}) / ({_ANSWERED} > 0)",
    "p95_seconds": (
        "histogram_quantile(0.95, sum by (service_name, le) "
        f"(rate({HTTP_REQUEST_DURATION.prometheus_name}_bucket{{{_OF_CLIENTS}}}[{_RATE}])))"
    ),
}
PROBES: Final = "min by (service, instance) (probe_success)"
BUDGETS: Final = "slo:error_budget_remaining:ratio"
OBJECTIVES: Final = "slo:objective:ratio"


@dataclass(frozen=True, slots=True)
class Probe:
    """One address that the blackbox exporter asks for its health."""

    service: str
    instance: str
    up: bool


@dataclass(frozen=True, slots=True)
class Objective:
    """What is promised, and what is left of the error budget of 30 days: 1 is untouched, below 0 the promise is broken."""

    service: str
    slo: str
    objective: float
    budget_remaining: float | None


@dataclass(slots=True)
class Overview:
    """Everything that is known of the last hour. `gaps` says what could not be asked for."""

    since: float
    until: float
    charts: dict[str, Sequence[RangeSeries]] = field(default_factory=dict)
    probes: Sequence[Probe] = ()
    alerts: Sequence[Alert] = ()
    objectives: Sequence[Objective] = ()
    gaps: list[str] = field(default_factory=list)


def overview(prometheus: Prometheus, *, now: float) -> Overview:
    """Ask for the hour before a moment (unix seconds); what cannot be had leaves a gap."""
    found = Overview(since=now - WINDOW_SECONDS, until=now)
    for ask in (_ask_charts, _ask_probes, _ask_alerts, _ask_objectives):
        try:
            ask(found, prometheus)
        except httpx.HTTPError as error:
            found.gaps.append(describe(error))
            break  # the next one would only take as long
    return found


def _ask_charts(found: Overview, prometheus: Prometheus) -> None:
    for name, expression in CHARTS.items():
        found.charts[name] = prometheus.query_range(expression, found.since, found.until, STEP_SECONDS)


def _ask_probes(found: Overview, prometheus: Prometheus) -> None:
    probes = (
        Probe(sample.labels.get("service", ""), sample.labels.get("instance", ""), bool(sample.value))
        for sample in prometheus.query(PROBES)
    )
    found.probes = sorted(probes, key=lambda probe: (probe.service, probe.instance))


def _ask_alerts(found: Overview, prometheus: Prometheus) -> None:
    found.alerts = sorted(prometheus.alerts(), key=lambda alert: (alert.state, alert.severity, alert.name))


def _ask_objectives(found: Overview, prometheus: Prometheus) -> None:
    left = {_key(sample.labels): sample.value for sample in prometheus.query(BUDGETS)}
    found.objectives = [
        Objective(*_key(sample.labels), sample.value, left.get(_key(sample.labels)))
        for sample in sorted(prometheus.query(OBJECTIVES), key=lambda sample: _key(sample.labels))
    ]


def _key(labels: Mapping[str, str]) -> tuple[str, str]:
    return labels.get("service", ""), labels.get("slo", "")

"""Overview: are requests answered, quickly and without errors, is everything healthy, and what fires."""

from typing import Final

from monitoring.generate.board import Board, Row
from monitoring.generate.boards.common import (
    ANY,
    CORRELATION_ID,
    DATABASE,
    DOCUMENT_API,
    DOCUMENTS,
    ERROR_RATE,
    LATENCY,
    LOGS,
    OF_ROUTE,
    OF_SERVICE,
    OVERVIEW,
    PIPELINE,
    ROUTE,
    RUNTIME,
    SERVICE,
)
from monitoring.generate.panels import (
    RUNBOOKS,
    Column,
    Target,
    above,
    below,
    found_traces,
    heatmap,
    lines,
    log_lines,
    stat,
    states,
    table,
)
from monitoring.generate.promql import (
    OF_USERS,
    RANGE,
    RATE,
    SERVER_ERRORS,
    aggregate,
    increase,
    quantile,
    rate,
    series,
    share,
    zero_unless,
)
from observability.signals import (
    DOCUMENTS_UPLOADED,
    HEALTH_CHECK_DURATION,
    HEALTH_CHECKS,
    HTTP_ERRORS,
    HTTP_IN_PROGRESS,
    HTTP_REQUEST_DURATION,
    HTTP_REQUESTS,
    REQUESTS_SHED,
    TELEMETRY_DROPPED,
    Attribute,
)

_BY_SERVICE: Final = ("service_name",)
_BY_ROUTE: Final = ("service_name", "method", "path")
_CHOSEN: Final = (OF_SERVICE, OF_ROUTE, OF_USERS)
_NO_REQUESTS: Final = "no requests"
_NONE_FIRES: Final = "No alert"
_NO_OBJECTIVE: Final = "no objective"
_SLO: Final = 'service=~"$service"'
_FIRING: Final = 'alertstate="firing"'
_PENDING: Final = 'alertstate="pending"'


def _error_share(*by: str, window: str = RATE) -> str:
    answered = rate(HTTP_REQUESTS, *_CHOSEN, by=by, window=window)
    failed = zero_unless(rate(HTTP_REQUESTS, *_CHOSEN, SERVER_ERRORS, by=by, window=window), answered)
    return share(failed, answered)


def _latency(ratio: float, *by: str, window: str = RATE) -> str:
    return quantile(ratio, HTTP_REQUEST_DURATION, *_CHOSEN, by=by, window=window)


_BURN_RATES: Final = {"1h": "1 hour", "6h": "6 hours", "1d": "1 day", "3d": "3 days"}


def _burn_rate(window: str) -> str:
    return f"slo:error_ratio:rate{window}{{{_SLO}}} / on (slo, service) (1 - slo:objective:ratio{{{_SLO}}})"


def _alerts(severity: str) -> str:
    firing = aggregate("count", series("ALERTS", _FIRING, f'severity="{severity}"'))
    return zero_unless(firing)


_CHECKS: Final = increase(HEALTH_CHECKS, OF_SERVICE, by=("service_name", "component"), window=RATE)
_FAILED_CHECKS: Final = increase(
    HEALTH_CHECKS, OF_SERVICE, 'status!="healthy"', by=("service_name", "component"), window=RATE
)

_NOW: Final = (
    stat(
        "Requests",
        "Answered in a second, health requests not counted",
        Target(expr=rate(HTTP_REQUESTS, *_CHOSEN, by=_BY_SERVICE), legend="{{service_name}}"),
        unit="reqps",
        alerts=("LowThroughput",),
        no_value=_NO_REQUESTS,
    ),
    stat(
        "Failures on our side",
        "Share of the requests that were answered 5xx",
        Target(expr=_error_share(*_BY_SERVICE), legend="{{service_name}}"),
        unit="percentunit",
        steps=ERROR_RATE,
        alerts=("HighErrorRate",),
        no_value=_NO_REQUESTS,
    ),
    stat(
        "95th percentile",
        "The slowest 5% of the requests took at least this long",
        Target(expr=_latency(0.95, *_BY_SERVICE), legend="{{service_name}}"),
        unit="s",
        steps=LATENCY,
        alerts=("HighLatency",),
        no_value=_NO_REQUESTS,
    ),
    stat(
        "Error budget left",
        "Of the objective's 30 days: 100% is untouched, below 0% the objective is missed",
        Target(expr=f"slo:error_budget_remaining:ratio{{{_SLO}}}", legend="{{service}} {{slo}}"),
        unit="percentunit",
        steps=below(0.25, 0),
        alerts=("ErrorBudgetBurn",),
        no_value=_NO_OBJECTIVE,
    ),
    stat(
        "Alerts firing",
        "Now, whatever their service; the table below names them",
        Target(expr=_alerts("critical"), legend="critical"),
        Target(expr=_alerts("warning"), legend="warning"),
        steps=ANY,
    ),
    stat(
        "Documents stored",
        "In the time shown, by all tenants",
        Target(expr=increase(DOCUMENTS_UPLOADED), legend="documents"),
        over_time=False,
        defaults={"decimals": 0},
        links=(DOCUMENTS,),
    ),
    stat(
        "Requests under way",
        "Being answered now",
        Target(
            expr=aggregate("sum", series(HTTP_IN_PROGRESS, OF_SERVICE), "service_name"),
            legend="{{service_name}}",
        ),
        no_value=_NO_REQUESTS,
    ),
    stat(
        "Telemetry lost",
        "Spans and log records that the services could not hand over in the time shown",
        Target(expr=zero_unless(increase(TELEMETRY_DROPPED)), legend="items"),
        over_time=False,
        defaults={"decimals": 0},
        steps=ANY,
        alerts=("TelemetryDropped",),
        links=(PIPELINE,),
    ),
)

_REQUESTS: Final = (
    lines(
        "Requests by route and status",
        "Answered in a second, health requests not counted; a point is one request",
        Target(
            expr=rate(HTTP_REQUESTS, *_CHOSEN, by=(*_BY_ROUTE, "status")),
            legend="{{service_name}} {{method}} {{path}} {{status}}",
        ),
        unit="reqps",
        width=12,
        alerts=("LowThroughput",),
        links=(LOGS,),
        no_value=_NO_REQUESTS,
    ),
    lines(
        "Time to answer",
        "Median, 95th and 99th percentile; a point is one request",
        *(
            Target(expr=_latency(ratio, *_BY_SERVICE), legend=f"{{{{service_name}}}} {name}")
            for ratio, name in ((0.5, "median"), (0.95, "95%"), (0.99, "99%"))
        ),
        unit="s",
        width=12,
        steps=LATENCY,
        alerts=("HighLatency",),
        links=(DATABASE, LOGS),
        no_value=_NO_REQUESTS,
    ),
    lines(
        "Failures on our side",
        "Share of the requests to each service that were answered 5xx",
        Target(expr=_error_share(*_BY_SERVICE), legend="{{service_name}}"),
        unit="percentunit",
        steps=ERROR_RATE,
        alerts=("HighErrorRate",),
        links=(LOGS,),
        no_value=_NO_REQUESTS,
    ),
    lines(
        "Errors by kind",
        "4xx and 5xx answered in a second: what clients get wrong, and what we do",
        Target(
            expr=rate(HTTP_ERRORS, OF_SERVICE, OF_ROUTE, by=("service_name", "status", "error_type")),
            legend="{{service_name}} {{status}} {{error_type}}",
        ),
        unit="reqps",
        alerts=("HighErrorRate",),
        links=(LOGS,),
        no_value="no errors",
    ),
    heatmap(
        "Spread of the times to answer",
        "How many requests took how long: two bands are two kinds of requests",
        Target(
            expr=increase(HTTP_REQUEST_DURATION, *_CHOSEN, by=("le",), part="_bucket", window=RATE),
            legend="{{le}}",
        ),
        unit="s",
        alerts=("HighLatency",),
        no_value=_NO_REQUESTS,
    ),
    lines(
        "95th percentile by route",
        "The slowest 5% of the requests of each route took at least this long",
        Target(expr=_latency(0.95, *_BY_ROUTE), legend="{{service_name}} {{method}} {{path}}"),
        unit="s",
        steps=LATENCY,
        alerts=("HighLatency",),
        links=(DATABASE,),
        no_value=_NO_REQUESTS,
    ),
    lines(
        "Load of each instance",
        "Requests in a second: whether they are spread evenly",
        Target(
            expr=rate(HTTP_REQUESTS, *_CHOSEN, by=("service_name", "instance")),
            legend="{{service_name}} {{instance}}",
        ),
        unit="reqps",
        links=(RUNTIME,),
        no_value=_NO_REQUESTS,
    ),
    lines(
        "Requests under way by method",
        "Being answered at each moment: what rises and stays is stuck",
        Target(
            expr=aggregate("sum", series(HTTP_IN_PROGRESS, OF_SERVICE), "service_name", "method"),
            legend="{{service_name}} {{method}}",
        ),
        links=(RUNTIME,),
        no_value=_NO_REQUESTS,
    ),
    lines(
        "Refused for overload",
        "Requests in a second that were answered 503 at once because the service had too much in hand",
        Target(
            expr=rate(REQUESTS_SHED, OF_SERVICE, by=("service_name", "method", "path")),
            legend="{{service_name}} {{method}} {{path}}",
        ),
        unit="reqps",
        links=(RUNTIME,),
        no_value="nothing is refused for overload",
    ),
    table(
        "Routes",
        "Rate, errors and duration of each route in the time shown",
        Target(expr=rate(HTTP_REQUESTS, *_CHOSEN, by=_BY_ROUTE, window=RANGE)),
        Target(expr=_error_share(*_BY_ROUTE, window=RANGE)),
        Target(expr=_latency(0.5, *_BY_ROUTE, window=RANGE)),
        Target(expr=_latency(0.95, *_BY_ROUTE, window=RANGE)),
        columns=(
            Column("service_name", "Service"),
            Column("method", "Method"),
            Column("path", "Route"),
            Column("Value #A", "Requests", "reqps"),
            Column("Value #B", "5xx", "percentunit", ERROR_RATE),
            Column("Value #C", "Median", "s", LATENCY),
            Column("Value #D", "95%", "s", LATENCY),
        ),
        width=24,
        alerts=("HighErrorRate", "HighLatency"),
        no_value=_NO_REQUESTS,
    ),
)

_HEALTH: Final = (
    states(
        "Health from outside",
        "Whether each address answers its health check, asked by the blackbox exporter",
        Target(
            expr=aggregate("min", series("probe_success", _SLO), "service", "instance"),
            legend="{{service}} {{instance}}",
        ),
        names={1: ("up", "green"), 0: ("down", "red")},
        steps=below(1, 1),
        width=12,
        alerts=("ServiceDown", "ServiceAbsent"),
    ),
    states(
        "Health by component",
        "Each service's own checks: red while one of them is not healthy",
        Target(
            expr=f"({zero_unless(_FAILED_CHECKS, _CHECKS)}) > bool 0", legend="{{service_name}} {{component}}"
        ),
        names={0: ("healthy", "green"), 1: ("not healthy", "red")},
        steps=((1, "red"),),
        width=12,
        alerts=("ServiceDown",),
        no_value="no checks",
    ),
    lines(
        "Health checks by result",
        "Checks of each component by their result, within a minute or the width of a point",
        Target(
            expr=increase(HEALTH_CHECKS, OF_SERVICE, by=("service_name", "component", "status"), window=RATE),
            legend="{{service_name}} {{component}} {{status}}",
        ),
        no_value="no checks",
    ),
    lines(
        "Time of health checks",
        "95th percentile by component",
        Target(
            expr=quantile(0.95, HEALTH_CHECK_DURATION, OF_SERVICE, by=("service_name", "component")),
            legend="{{service_name}} {{component}}",
        ),
        unit="s",
        no_value="no checks",
    ),
    lines(
        "Time of probes",
        "Until each address has answered the blackbox exporter",
        Target(
            expr=aggregate("max", series("probe_duration_seconds", _SLO), "service", "instance"),
            legend="{{service}} {{instance}}",
        ),
        unit="s",
        alerts=("ServiceDown",),
    ),
)

_OBJECTIVES: Final = (
    lines(
        "Error budget left",
        "Of the objective's 30 days: it falls while requests fail or are slow, and heals as they grow old; below 0%"
        " the objective is missed, and a line at -100% may be far lower",
        Target(
            expr=f"clamp_min(slo:error_budget_remaining:ratio{{{_SLO}}}, -1)", legend="{{service}} {{slo}}"
        ),
        unit="percentunit",
        below_zero=True,
        defaults={"max": 1},
        steps=below(0.25, 0),
        alerts=("ErrorBudgetBurn",),
        no_value=_NO_OBJECTIVE,
    ),
    lines(
        "Burn rate",
        "How many times faster than allowed the budget is used, over four windows; the lines are the alerts'",
        *(
            Target(expr=_burn_rate(window), legend=f"{{{{service}}}} {{{{slo}}}} {name}")
            for window, name in _BURN_RATES.items()
        ),
        unit="suffix:x",
        steps=((1, "yellow"), (3, "orange"), (6, "red"), (14.4, "dark-red")),
        alerts=("ErrorBudgetBurn",),
        no_value=_NO_OBJECTIVE,
    ),
    table(
        "Objectives",
        "What is promised, how much of it was missed lately, and what is left of the budget",
        Target(expr=f"slo:objective:ratio{{{_SLO}}}"),
        Target(expr=f"slo:error_ratio:rate1h{{{_SLO}}}"),
        Target(expr=f"slo:error_ratio:rate3d{{{_SLO}}}"),
        Target(expr=f"slo:error_budget_remaining:ratio{{{_SLO}}}"),
        columns=(
            Column("service", "Service"),
            Column("slo", "Objective"),
            Column("Value #A", "Promised", "percentunit"),
            Column("Value #B", "Missed, 1 hour", "percentunit"),
            Column("Value #C", "Missed, 3 days", "percentunit"),
            Column("Value #D", "Budget left", "percentunit", below(0.25, 0)),
        ),
        alerts=("ErrorBudgetBurn",),
        no_value=_NO_OBJECTIVE,
    ),
)

_ALERTS: Final = (
    table(
        "Alerts that fire now",
        "Click a name for its runbook",
        Target(expr=aggregate("max", series("ALERTS", _FIRING), "alertname", "severity", "service", "area")),
        columns=(
            Column("alertname", "Alert", url=f"{RUNBOOKS}/${{__value.raw}}.md"),
            Column("severity", "Severity"),
            Column("service", "Service"),
            Column("area", "Area"),
            Column("Value", "Firing"),
        ),
        width=12,
        no_value=_NONE_FIRES,
    ),
    states(
        "Alerts over time",
        "Pending: its condition holds, but not yet for long enough",
        Target(
            expr=aggregate(
                "max",
                f"2 * {series('ALERTS', _FIRING)} or {series('ALERTS', _PENDING)}",
                "alertname",
                "severity",
                "service",
            ),
            legend="{{alertname}} {{severity}} {{service}}",
        ),
        names={1: ("pending", "orange"), 2: ("firing", "red")},
        steps=above(1, 2),
        width=12,
        no_value=_NONE_FIRES,
    ),
)

_ONE_REQUEST: Final = (
    log_lines(
        "Its log lines",
        "From every service, the newest first",
        # Nothing written at the top is no request, rather than every line without an ID.
        f'{{service_namespace="robin"}} | {Attribute.CORRELATION_ID}!="" | {Attribute.CORRELATION_ID}="$correlation_id"',
        width=12,
        links=(LOGS,),
        no_value="Write an X-Correlation-ID at the top",
    ),
    found_traces(
        "Its traces",
        "Click the trace ID",
        service=DOCUMENT_API,
        tags=f"{Attribute.CORRELATION_ID}=$correlation_id",
        width=12,
        height=9,
        no_value="Write an X-Correlation-ID at the top",
    ),
)

BOARD: Final = Board(
    uid=OVERVIEW,
    title="robin: overview",
    description="Requests, health, objectives and alerts of all services, and one request in full",
    refresh="10s",
    variables=(SERVICE, ROUTE, CORRELATION_ID),
    rows=(
        Row("Now", _NOW),
        Row("Alerts", _ALERTS),
        Row(
            "Requests (a point above the lines is one request: click it for its trace and its log lines)",
            _REQUESTS,
        ),
        Row("Health", _HEALTH),
        Row("Objectives", _OBJECTIVES),
        Row("One request (write its X-Correlation-ID at the top)", _ONE_REQUEST),
    ),
)

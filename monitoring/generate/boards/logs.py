"""Logs: how much is written by whom, what went wrong, what was slow, and the lines of one tenant or request."""

from typing import Final

from monitoring.generate.board import Board, Row, Variable
from monitoring.generate.boards.common import (
    DATABASE,
    LOGS,
    NGINX,
    OVERVIEW,
    POSTGRESQL,
    ROUTE,
    SERVICE,
    TENANT,
)
from monitoring.generate.panels import Target, above, lines, log_lines, ranking, stat
from observability.signals import Attribute

# Loki wants a matcher that cannot be empty; all services are.
_EVERY: Final = '{service_namespace="robin", service_name=~"$service"'
_LINES: Final = f'{_EVERY}, severity_text=~"$level"}} | {Attribute.CLIENT_ID}=~"$tenant" |~ "(?i)$search"'
_OF_TENANTS: Final = f'{_LINES} | {Attribute.CLIENT_ID}!=""'
_BAD: Final = f'{_EVERY}, severity_text=~"WARNING|ERROR|CRITICAL"}} | {Attribute.CLIENT_ID}=~"$tenant"'
_NGINX: Final = f'{{service_name="{NGINX}"}} | {Attribute.CLIENT_ID}=~"$tenant"'
# SLOW_REQUEST_SECONDS, whose default it is.
_OVER: Final = "context_data_duration > 1"
# Statements and uploads have durations too, but no status.
_SLOW: Final = f'{_EVERY}}} | context_data_status!="" | {_OVER} | context_data_path=~"$route" | {Attribute.CLIENT_ID}=~"$tenant"'
_NONE: Final = "no lines"


def _count(selected: str, *by: str, window: str = "$__auto") -> str:
    counted = f"(count_over_time({selected} [{window}]))"
    return f"sum by ({', '.join(by)}) {counted}" if by else f"sum{counted}"


def _ask(expression: str, legend: str = "") -> Target:
    return Target(expr=expression, legend=legend, source="loki")


_NOW: Final = (
    stat(
        "Lines",
        "That are chosen, in the time shown",
        _ask(_count(_LINES, window="$__range"), "lines"),
        over_time=False,
        no_value=_NONE,
    ),
    stat(
        "Warnings",
        "In the time shown: slow requests and statements, fallbacks of the summary",
        _ask(_count(_BAD.replace("WARNING|ERROR|CRITICAL", "WARNING"), window="$__range"), "warnings"),
        over_time=False,
        steps=above(1),
        no_value="none",
    ),
    stat(
        "Errors",
        "In the time shown, critical ones too",
        _ask(_count(_BAD.replace("WARNING|", ""), window="$__range"), "errors"),
        over_time=False,
        steps=((1, "red"),),
        no_value="none",
    ),
    stat(
        "Slow requests",
        "That took over 1 s, in the time shown: as nginx saw them, so that each counts once, whatever its route",
        _ask(_count(f"{_NGINX} | {_OVER}", window="$__range"), "requests"),
        over_time=False,
        steps=above(1),
        no_value="none",
    ),
)

_VOLUME: Final = (
    lines(
        "Lines by service and level",
        "That are chosen, within the width of a point",
        _ask(_count(_LINES, "service_name", "severity_text"), "{{service_name}} {{severity_text}}"),
        bars=True,
        stacked=True,
        width=12,
        no_value=_NONE,
    ),
    lines(
        "Warnings and errors by service",
        "Within the width of a point",
        _ask(_count(_BAD, "service_name", "severity_text"), "{{service_name}} {{severity_text}}"),
        bars=True,
        stacked=True,
        width=12,
        alerts=("HighErrorRate",),
        links=(OVERVIEW,),
        no_value="no warnings and no errors",
    ),
    ranking(
        "Tenants by lines",
        "Of the services and of nginx, in the time shown: every tenant by its own name",
        _ask(
            f"topk(10, {_count(_OF_TENANTS, Attribute.CLIENT_ID, window='$__range')})",
            f"{{{{{Attribute.CLIENT_ID}}}}}",
        ),
        no_value=_NONE,
    ),
    lines(
        "Answers as nginx saw them",
        "Requests by status, within the width of a point",
        _ask(_count(_NGINX, "context_data_status"), "{{context_data_status}}"),
        bars=True,
        stacked=True,
        links=(OVERVIEW,),
        no_value="no requests",
    ),
    lines(
        "Time to answer as nginx saw it",
        "95th percentile by the instance that answered; the time to receive and to send is in it",
        _ask(
            f"quantile_over_time(0.95, {_NGINX} | unwrap context_data_duration [$__auto])"
            " by (context_data_upstream)",
            "{{context_data_upstream}}",
        ),
        unit="s",
        alerts=("HighLatency",),
        links=(OVERVIEW,),
        no_value="no requests",
    ),
)

_FOUND: Final = (
    log_lines(
        "Warnings and errors",
        "Of all services that are chosen, nginx and PostgreSQL among them; open one for its trace and its request",
        _BAD,
        alerts=("HighErrorRate",),
        links=(OVERVIEW,),
        no_value="No warnings and no errors",
    ),
    log_lines(
        "Slow requests",
        "That took over 1 s, a line of each service that answered; nginx knows raw paths only and is left out once a"
        " route is chosen",
        _SLOW,
        width=12,
        alerts=("HighLatency",),
        links=(DATABASE,),
        no_value="Nothing was slow",
    ),
    log_lines(
        "PostgreSQL's lines",
        "Slow and failed statements, checkpoints, starts; never the text of a statement, which holds values",
        f'{{service_name="{POSTGRESQL}"}}',
        width=12,
        links=(DATABASE,),
        no_value=_NONE,
    ),
    log_lines(
        "Lines that are chosen",
        "By service, level, tenant and text, as chosen at the top",
        _LINES,
        links=(OVERVIEW,),
        no_value=_NONE,
    ),
)

BOARD: Final = Board(
    uid=LOGS,
    title="robin: logs",
    description="The log lines of all services, of nginx and of PostgreSQL",
    variables=(
        SERVICE,
        Variable(
            name="level",
            label="Level",
            description="As the contract names levels",
            values=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        ),
        ROUTE,
        TENANT,
        Variable(name="search", label="Text", description="That the line contains, as a regular expression"),
    ),
    rows=(
        Row("Now", _NOW),
        Row("How much", _VOLUME),
        Row("Lines (open one for its trace and for all lines of its request)", _FOUND),
    ),
)

"""Every PromQL expression of the project: dashboards, rules and documents."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.boards import targets
from tests.documents import fenced

ROOT: Final = Path(__file__).parents[1]
MONITORING: Final = ROOT / "monitoring"
DOCUMENTS: Final = (
    ROOT / "README.md",
    ROOT / "observability-dashboard.md",
    *sorted((ROOT / "docs" / "runbooks").glob("*.md")),
)
# Parts of the names of counters that the collector makes only once it loses something.
COLLECTOR_FAILURES: Final = (
    "otelcol_exporter_enqueue_failed_",
    "otelcol_exporter_send_failed_",
    "otelcol_exporter_(send|enqueue)_failed_",
)
# What Grafana puts in the place of its variables before it asks: "all", and a range that holds some samples.
VARIABLES: Final = (
    (re.compile(r"\$__(rate_interval|range|interval|auto)"), "1m"),
    (re.compile(r"\$\{?[A-Za-z_]\w*(:\w+)?\}?"), ".*"),
)


@dataclass(frozen=True)
class Query:
    """An expression and where it stands."""

    place: str
    expression: str

    def __str__(self) -> str:
        """Say both, for messages."""
        return f"{self.place}: {self.expression}"


def dashboard_queries() -> Iterator[Query]:
    """Yield each panel's, with Grafana's variables filled in."""
    for board, panel, target in targets("prometheus"):
        yield Query(f"{board}, {panel['title']}", _filled(target["expr"]))


def recording_queries() -> Iterator[Query]:
    """Yield what recording rules compute."""
    return (Query(rule["record"], rule["expr"]) for rule in rules() if "record" in rule)


def alert_queries() -> Iterator[Query]:
    """Yield the alerts' conditions, which are empty while all is well."""
    for rule in rules():
        if "alert" in rule:
            yield Query(f"{rule['alert']} ({rule['labels']['severity']})", rule["expr"])


def rules() -> Iterator[dict[str, Any]]:
    """Yield each rule of each file."""
    for file in sorted((MONITORING / "prometheus" / "rules").glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def document_queries() -> Iterator[Query]:
    """Yield those in fenced blocks, and in the rows of tables that name the signal `metrics`."""
    for document in DOCUMENTS:
        text = document.read_text()
        found = fenced(text, "promql")
        for row in re.findall(r"^\|[^|]*\| metrics \|(.*)\|$", text, re.MULTILINE):
            found += re.findall(r"`([^`]+)`", row)
        yield from (Query(document.name, each.strip()) for each in found)


def logsql_queries() -> Iterator[Query]:
    """Yield the documents' queries of VictoriaLogs."""
    for document in DOCUMENTS:
        yield from (Query(document.name, each) for each in fenced(document.read_text(), "logsql"))


def selectors(tree: Any) -> Iterator[str]:
    """Yield every series selector of a syntax tree as Prometheus' /api/v1/parse_query gives it."""
    if isinstance(tree, list):
        for each in tree:
            yield from selectors(each)
    elif isinstance(tree, dict):
        if tree.get("type") in {"vectorSelector", "matrixSelector"}:
            matchers = (
                f"{each['name']}{each['type']}{json.dumps(each['value'])}" for each in tree["matchers"]
            )
            yield f"{{{','.join(matchers)}}}"
        for each in tree.values():
            yield from selectors(each)


def _filled(expression: str) -> str:
    for pattern, value in VARIABLES:
        expression = pattern.sub(value, expression)
    return expression

"""Dashboards ask for what there is, say what they show, and lead to where one goes next."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from monitoring.generate.__main__ import main
from monitoring.generate.boards import BOARDS
from monitoring.generate.panels import RUNBOOKS, Target, below, lines, thresholds
from monitoring.generate.promql import share, zero_unless
from observability.signals import METRICS, TELEMETRY_DROPPED, MetricSpec
from tests.boards import FILES
from tests.promql import metrics
from tests.queries import rules

ROOT: Final = Path(__file__).parents[2]
MONITORING: Final = ROOT / "monitoring"
SOURCES: Final[Mapping[str, str]] = {
    source["uid"]: source["type"]
    for source in yaml.safe_load(
        (MONITORING / "grafana" / "provisioning" / "datasources" / "robin.yaml").read_text()
    )["datasources"]
}
RULES: Final = list(rules())
COLUMNS: Final = 24
# Lines and traces have no numbers.
WITHOUT_NUMBERS: Final = "string"

# Metrics that other programs of the stack make, and their labels beside job and instance.
OTHERS: Final[Mapping[str, frozenset[str]]] = {
    pattern: frozenset(labels.split())
    for pattern, labels in {
        r"up|scrape_duration_seconds": "",
        r"ALERTS": "alertname alertstate severity service area",
        r"probe_\w+": "service",
        r"slo:\w+:\w+": "slo service",
        r"service:\w+:\w+": "service_name",
        r"otelcol_receiver_\w+": "receiver transport",
        r"otelcol_exporter_\w+": "exporter data_type",
        r"otelcol_process_\w+": "",
        r"process_(cpu_seconds_total|resident_memory_bytes|start_time_seconds)": "",
        r"prometheus_rule_\w+": "rule_group",
        r"prometheus_(tsdb|notifications)_\w+": "",
        r"prometheus_target_scrapes_sample_\w+": "",
        r"prometheus_http_requests_total": "handler code",
        r"alertmanager_notification_requests_\w+": "integration",
        r"system_cpu_time_seconds_total": "cpu state",
        r"system_cpu_load_average_\d+m": "",
        r"system_memory_usage_bytes": "state",
        r"system_filesystem_usage_bytes": "device mode mountpoint state type",
    }.items()
}
EVERYWHERE: Final = frozenset({"job", "instance", "service_name"})
OWN: Final[Mapping[str, MetricSpec]] = {metric.prometheus_name: metric for metric in METRICS}

STRING: Final = re.compile(r"\"[^\"]*\"")
GROUPING: Final = re.compile(r"\b(?:by|without|on) \(([^)]*)\)")
SELECTOR: Final = re.compile(r"\b([a-zA-Z_:][\w:]*)\{([^}]*)\}")
OUTERMOST: Final = re.compile(
    r"[( ]*(?:(?:time\(\)|1) - |(?:topk|histogram_quantile)\([\d.]+, )*[( ]*(?:sum|max|min|count)(?: by \(([^)]*)\))? ?\("
)
NAME: Final = re.compile(r"\b[a-zA-Z_][\w:]*\b(?!\s*\()")
LIMIT: Final = re.compile(r"[<>] ([\d.]+)(?![\d.])|\[(\d+)m\]\)$", re.MULTILINE)
PART_OF_A_HISTOGRAM: Final = re.compile(r"_(?:bucket|count|sum)$")
WINDOW: Final = re.compile(r"\b(?:rate|increase)\([^[]*\[([^]]*)\]")
VARIABLE: Final = re.compile(r"\$\{?(\w*[a-z]\w*)")


def limits(expression: str) -> set[float]:
    """Return what an alert compares with, absence in seconds; what is more than nothing is at least one."""
    found = {
        float(number) if number else 60 * float(minutes) for number, minutes in LIMIT.findall(expression)
    }
    return found | ({1.0} if 0 in found else set())


LIMITS: Final = {
    name: set[float]().union(*(limits(rule["expr"]) for rule in RULES if rule.get("alert") == name))
    for name in {rule["alert"] for rule in RULES if "alert" in rule}
}
# Its alert is about how fast it falls.
LIMITS_OF_THEIR_OWN: Final = {"Error budget left"}


@dataclass(frozen=True)
class Query:
    """A query of a panel, to be named where it fails."""

    board: str
    panel: dict[str, Any]
    target: dict[str, Any]

    @property
    def text(self) -> str:
        """Return the expression."""
        return str(self.target["expr"])

    def __str__(self) -> str:
        """Say where it stands."""
        return f"{self.board}, {self.panel['title']}, {self.target['refId']}"


def read(board: Path) -> dict[str, Any]:
    """Return a dashboard."""
    found: dict[str, Any] = json.loads(board.read_text())
    return found


def panels(board: Path) -> list[dict[str, Any]]:
    """Return the panels of a dashboard that show something."""
    found = [panel for panel in read(board)["panels"] if panel["type"] != "row"]
    assert found
    return found


def queries(source: str = "prometheus") -> Iterator[Query]:
    """Yield the queries of all dashboards to one kind of data source."""
    for board in FILES:
        for panel in panels(board):
            for target in panel["targets"]:
                if target["datasource"]["type"] == source:
                    yield Query(board.stem, panel, target)


def numbers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the panels that show numbers, with the dashboard's name."""
    for board in FILES:
        for panel in panels(board):
            if panel["fieldConfig"]["defaults"]["unit"] != WITHOUT_NUMBERS:
                yield board.stem, panel


def labels_of(metric: str) -> frozenset[str] | None:
    """Return the labels that a metric may have, or nothing where there is no such metric."""
    if spec := OWN.get(metric):
        return EVERYWHERE | {label.replace(".", "_") for label in spec.labels} | {"le"}
    found = [labels for pattern, labels in OTHERS.items() if re.fullmatch(pattern, metric)]
    return EVERYWHERE.union(*found) if found else None


def grouped(expression: str) -> set[str]:
    """Return the labels that the outermost aggregation leaves, but for the buckets' own."""
    if found := OUTERMOST.match(expression) or GROUPING.search(expression):
        return {label.strip() for label in (found[1] or "").split(",")} - {"le", ""}
    return set()


every_board = pytest.mark.parametrize("board", FILES, ids=lambda path: path.stem)


def test_there_are_six_dashboards_under_uids_that_alerts_link_to() -> None:
    """Files and uids have the names that were settled."""
    assert {path.stem: read(path)["uid"] for path in FILES} == {
        name: f"robin-{name}" for name in ("overview", "documents", "database", "pipeline", "runtime", "logs")
    }


def test_the_files_are_what_the_generator_makes() -> None:
    """Nobody has edited them by hand, or forgotten to generate them."""
    assert main(["--check"]) == 0
    assert {path.stem for path in FILES} == BOARDS.keys()


@every_board
def test_dashboards_name_the_data_sources_that_are_there(board: Path) -> None:
    """In panels, in their queries, in variables and annotations."""
    named = [panel["datasource"] for panel in panels(board)]
    named += [target["datasource"] for panel in panels(board) for target in panel["targets"]]
    named += [each["datasource"] for each in read(board)["annotations"]["list"]]
    named += [each["datasource"] for each in read(board)["templating"]["list"] if each["type"] == "query"]
    assert [source for source in named if SOURCES.get(source["uid"]) != source["type"]] == []


@every_board
def test_panels_have_an_id_of_their_own_and_lie_side_by_side(board: Path) -> None:
    """Grafana would move one that lies upon another."""
    cells: Counter[tuple[int, int]] = Counter()
    placed = read(board)["panels"]
    for panel in placed:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells.update(
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        )
    assert max(cells.values()) == 1
    assert len({panel["id"] for panel in placed}) == len(placed)


@every_board
def test_every_panel_says_what_it_shows(board: Path) -> None:
    """Title, description and unit; a title is there once, so that one can speak of it."""
    shown = panels(board)
    assert [
        panel["title"]
        for panel in shown
        if not (
            panel["title"] and len(panel["description"]) > 10 and panel["fieldConfig"]["defaults"]["unit"]
        )
    ] == []
    titles = Counter((panel["type"] == "stat", panel["title"]) for panel in shown)
    assert [title for title, count in titles.items() if count > 1] == []


@every_board
def test_no_placeholder_is_left(board: Path) -> None:
    """Neither an import's inputs, nor words that somebody meant to replace, nor an unfilled template."""
    text = board.read_text()
    assert re.findall(r"TODO|FIXME|XXX|__inputs|\$\{DS_|None\b|\{\}\}|\bfoo\b|MetricSpec", text) == []


def test_every_panel_of_numbers_has_thresholds_in_order() -> None:
    """From a base without a value upwards."""
    for board, panel in numbers():
        base, *steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        values = [step["value"] for step in steps]
        assert base["value"] is None, (board, panel["title"])
        assert values == sorted(values), (board, panel["title"])


def test_every_query_asks_for_metrics_that_are_there() -> None:
    """A name that nobody records would be an empty panel."""
    assert [
        (str(query), name) for query in queries() for name in metrics(query.text) if labels_of(name) is None
    ] == []
    assert [str(query) for query in queries() if not metrics(query.text)] == []


def test_every_recorded_series_is_recorded_by_a_rule() -> None:
    """Under the name that the dashboards use."""
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    used = {name for query in queries() for name in metrics(query.text) if ":" in name}
    assert used
    assert used - recorded == set()


def test_every_label_is_one_of_the_metric() -> None:
    """A matcher or a grouping by a label that is not there would be wrong without a word."""
    wrong = []
    for query in queries():
        for metric, matchers in SELECTOR.findall(query.text):
            known = labels_of(PART_OF_A_HISTOGRAM.sub("", metric) if metric not in OWN else metric) or set()
            used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", STRING.sub('""', matchers)))
            wrong += [(str(query), metric, label) for label in used - known]
        known = frozenset[str]().union(*(labels_of(name) or () for name in metrics(query.text)))
        used = {label.strip() for labels in GROUPING.findall(query.text) for label in labels.split(",")}
        wrong += [(str(query), label) for label in used - known]
    assert wrong == []


def test_rates_follow_the_width_of_a_point_or_the_time_shown() -> None:
    """A fixed window has gaps when one zooms in, and skips samples when one zooms out."""
    wrong = [
        (str(query), window)
        for query in queries()
        for window in WINDOW.findall(STRING.sub("", query.text))
        if window != ("$__rate_interval" if query.target["range"] else "$__range")
        and not (query.panel["type"] == "table" and window == "$__range")
    ]
    assert wrong == []


def test_every_series_is_named_by_what_tells_it_apart() -> None:
    """A legend holds the labels that the expression groups by, and no others."""
    drawn = [
        query
        for source in ("prometheus", "loki")
        for query in queries(source)
        if query.panel["type"] not in {"table", "logs", "heatmap"}
    ]
    assert drawn
    assert [str(query) for query in drawn if not query.target["legendFormat"]] == []
    wrong = [
        (str(query), labels)
        for query in drawn
        if "slo:" not in query.text
        and "label_replace" not in query.text
        and (labels := set(re.findall(r"\{\{(\w+)\}\}", query.target["legendFormat"])) ^ grouped(query.text))
    ]
    assert wrong == []


def test_exemplars_are_on_wherever_there_are_some() -> None:
    """Over time only, and at the buckets of a histogram: a number or a table cannot show a point."""
    kept = {
        f"{name}_bucket" if metric.kind == "histogram" else name
        for name, metric in OWN.items()
        if metric.exemplars
    }
    for query in queries():
        found = bool(kept & set(NAME.findall(STRING.sub("", query.text))))
        wanted = found and query.panel["type"] in {"timeseries", "heatmap"}
        assert query.target.get("exemplar", False) == wanted, str(query)


@every_board
def test_variables_are_used_where_they_are_defined(board: Path) -> None:
    """One that is not defined would stay in the query as it is; one that is not used would promise something."""
    defined = {variable["name"] for variable in read(board)["templating"]["list"]}
    used = {
        name
        for panel in panels(board)
        for target in panel["targets"]
        for text in (target.get("expr", ""), target.get("tags", ""))
        for name in VARIABLE.findall(text)
        if not name.startswith("__")
    }
    assert used == defined


@every_board
def test_a_choice_of_everything_takes_all_values(board: Path) -> None:
    """All is a regular expression that takes every value, so variables stand in matchers by regular expression."""
    variables = read(board)["templating"]["list"]
    assert all(each["allValue"] == ".*" for each in variables if each["type"] != "textbox")
    several = {each["name"] for each in variables if each.get("multi")}
    texts = [target.get("expr", "") for panel in panels(board) for target in panel["targets"]]
    compared = re.findall(r"(\S\S)\"\$(\w+)\"", " ".join(texts))
    assert {operator for operator, name in compared if name in several} <= {"=~"}


def test_every_metric_of_the_contract_is_on_a_dashboard() -> None:
    """What is measured can be seen."""
    shown = set[str]().union(*(metrics(query.text) for query in queries()))
    assert OWN.keys() - shown == set()


@every_board
def test_dashboards_link_to_each_other(board: Path) -> None:
    """By the tag that all of them have, with the time shown and the variables."""
    (link,) = read(board)["links"]
    assert (link["type"], link["keepTime"], link["includeVars"]) == ("dashboards", True, True)
    assert set(link["tags"]) <= set(read(board)["tags"])


def linked(start: str) -> Iterator[tuple[str, str]]:
    """Yield the links of panels that start so: where they stand, and what follows, without a query."""
    for board in FILES:
        for panel in panels(board):
            for link in panel["links"]:
                if link["url"].startswith(start):
                    yield f"{board.stem}, {panel['title']}", link["url"].removeprefix(start).split("?")[0]


def test_every_link_of_a_panel_leads_to_another_dashboard_or_a_runbook() -> None:
    """To one that is there."""
    uids = {f"robin-{path.stem}" for path in FILES}
    boards, runbooks = list(linked("/d/")), list(linked(f"{RUNBOOKS}/"))
    assert len(boards) + len(runbooks) == sum(len(panel["links"]) for path in FILES for panel in panels(path))
    assert [(place, uid) for place, uid in boards if uid not in uids or place.startswith(uid[6:])] == []
    written = {path.name for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert [(place, name) for place, name in runbooks if name not in written] == []


def test_every_alert_has_a_panel_that_shows_its_quantity() -> None:
    """And leads to its runbook."""
    shown = {name.removesuffix(".md") for _, name in linked(f"{RUNBOOKS}/")}
    assert LIMITS.keys() - shown == set()
    assert shown - LIMITS.keys() == set()


def test_every_alert_leads_to_a_dashboard_with_the_variables_that_it_sets() -> None:
    """A variable that the dashboard does not have would be ignored without a word."""
    variables = {
        board["uid"]: {variable["name"] for variable in board["templating"]["list"]}
        for board in map(read, FILES)
    }
    urls = [rule["annotations"]["dashboard_url"] for rule in RULES if "alert" in rule]
    assert urls
    for url in urls:
        uid, _, parameters = url.partition("/d/")[2].partition("?")
        assert set(re.findall(r"\bvar-(\w+)=", parameters)) <= variables[uid], url


def test_the_limit_that_a_panel_draws_is_the_alerts_own() -> None:
    """A panel that leads to an alert's runbook turns orange where the alert fires."""
    drawn = 0
    for board, panel in numbers():
        alerts = [link["url"].split("/")[-1].removesuffix(".md") for link in panel["links"]]
        steps = {step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]} - {None}
        known = set[float]().union(*(LIMITS.get(alert, set()) for alert in alerts))
        if panel["type"] in {"stat", "timeseries"} and known and panel["title"] not in LIMITS_OF_THEIR_OWN:
            assert steps <= known, (board, panel["title"])
            drawn += len(steps)
    assert drawn


def test_every_annotation_asks_for_metrics_that_are_there() -> None:
    """Firing alerts and restarts, on every dashboard."""
    for board in FILES:
        asked = {each["name"]: each["expr"] for each in read(board)["annotations"]["list"]}
        assert asked.keys() == {"Alerts", "Restarts"}
        assert [name for text in asked.values() for name in metrics(text) if labels_of(name) is None] == []


def test_lines_of_one_request_are_none_while_no_request_is_named() -> None:
    """An ID compared with an empty text would choose every line that has none."""
    compared = 0
    for board in FILES:
        written = {each["name"] for each in read(board)["templating"]["list"] if each["type"] == "textbox"}
        for query in (each for each in queries("loki") if each.board == board.stem):
            for label, name in re.findall(r'(\w+)="\$(\w+)"', query.text):
                assert name not in written or f'| {label}!=""' in query.text, str(query)
                compared += 1
    assert compared


def test_slow_requests_are_requests() -> None:
    """Statements and uploads have durations without a status; only nginx writes one line for each request."""
    asked = [query for query in queries("loki") if query.panel["title"] == "Slow requests"]
    assert {query.panel["type"] for query in asked} == {"stat", "logs"}
    for query in asked:
        of_nginx = query.text.removeprefix("sum(count_over_time(").startswith('{service_name="nginx"}')
        assert of_nginx or 'context_data_status!=""' in query.text, str(query)
        assert of_nginx == (query.panel["type"] == "stat"), str(query)


def test_panels_of_lost_telemetry_name_the_signals_that_are_counted() -> None:
    """Metric points are not: what a later batch says of a counter makes up for one that is lost."""
    words = {"traces": "spans", "logs": "log records", "metrics": "metric points"}
    told = [
        query.panel["description"].lower()
        for query in queries()
        if TELEMETRY_DROPPED.prometheus_name in metrics(query.text)
    ]
    assert len(told) == 3
    signals = TELEMETRY_DROPPED.labels["signal"]
    assert isinstance(signals, frozenset)
    counted = {words[signal] for signal in signals}
    assert [{word for word in words.values() if word in text} for text in told] == [counted] * 3


def test_what_may_be_negative_is_drawn_below_zero_and_all_else_from_zero() -> None:
    """A budget that is overspent would lie under the edge."""
    kinds = {
        (panel["title"] == "Error budget left", "min" in panel["fieldConfig"]["defaults"])
        for _, panel in numbers()
        if panel["type"] == "timeseries"
    }
    assert kinds == {(True, False), (False, True)}


def test_a_share_of_nothing_is_no_value() -> None:
    """And what is missing counts as nothing, once or for each series of the whole."""
    assert share("a", "b") == "(a) / (b > 0)"
    assert zero_unless("a") == "(a) or vector(0)"
    assert zero_unless("a", "b") == "(a) or 0 * b"


def test_thresholds_downwards_begin_with_what_is_critical() -> None:
    """Grafana colours everything below the first step with the base."""
    assert thresholds(below(0.2, 0.05))["steps"] == [
        {"color": "red", "value": None},
        {"color": "orange", "value": 0.05},
        {"color": "green", "value": 0.2},
    ]


def test_queries_of_a_panel_have_one_data_source() -> None:
    """A panel of several would need Grafana's mixed one."""
    panel = lines("t", "d", Target(expr="up"), Target(expr="{}", source="loki"))
    with pytest.raises(ValueError, match="too many values"):
        _ = panel.source

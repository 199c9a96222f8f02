"""Grafana's files fit the project: data sources that are linked, dashboards that ask for what there is."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from document_api import SERVICE_NAME
from observability.signals import DOCUMENT_STORAGE, METRICS, PROCESS_MEMORY_LIMIT, PROCESS_METRICS, Attribute
from observability_checks.backends import loki

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "monitoring" / "grafana"
SOURCES: dict[str, dict[str, Any]] = {
    source["uid"]: source
    for source in yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "robin.yaml").read_text())[
        "datasources"
    ]
}
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
CLICKED = "$${__value.raw}"
COLUMNS = 24

# Not of robin's own making: instrumentation of the process, Prometheus, the collector.
OTHERS_METRICS = re.compile(r"process_\w+|up|otelcol_\w+")
NOT_A_METRIC = re.compile(
    r"\bby \([^)]*\)|\"[^\"]*\"|\{[^}]*\}|\[[^]]*\]"
    r"|\b(?:sum|min|max|rate|increase|histogram_quantile|or|vector)\b"
)
PART_OF_A_HISTOGRAM = re.compile(r"_(?:bucket|count|sum)$")

every_board = pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)


def panels(board: Path) -> list[dict[str, Any]]:
    """Return the panels of a dashboard."""
    found: list[dict[str, Any]] = json.loads(board.read_text())["panels"]
    assert found
    return found


def targets(board: Path, source: str) -> Iterator[dict[str, Any]]:
    """Yield a dashboard's queries of one data source."""
    for panel in panels(board):
        yield from (target for target in panel.get("targets", []) if target["datasource"]["type"] == source)


def explored(url: str) -> tuple[str, dict[str, Any]]:
    """Return the data source and the query of a link into Explore."""
    parameters = parse_qs(urlsplit(url).query, strict_parsing=True)
    (pane,) = json.loads(parameters["panes"][0]).values()
    (query,) = pane["queries"]
    return pane["datasource"], query


def derived_fields() -> dict[str, dict[str, Any]]:
    """Return the links of a log line, by name."""
    return {field["name"]: field for field in SOURCES["loki"]["jsonData"]["derivedFields"]}


def test_the_three_back_ends_are_there_and_one_is_the_default() -> None:
    """Under uids that everything else names."""
    assert SOURCES.keys() == {"prometheus", "loki", "jaeger"}
    assert [uid for uid, source in SOURCES.items() if source.get("isDefault")] == ["prometheus"]


def test_every_dollar_sign_survives_the_reading() -> None:
    """A single one would be filled in from the environment, with nothing."""
    text = (GRAFANA / "provisioning" / "datasources" / "robin.yaml").read_text()
    assert "$$" in text
    assert "$" not in text.replace("$$", "")


def test_an_exemplar_leads_to_its_trace() -> None:
    """By the label that the SDK gives it."""
    destinations = {
        each["name"]: each for each in SOURCES["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    }
    assert destinations["trace_id"]["datasourceUid"] == "jaeger"


def test_an_exemplar_leads_to_the_log_lines_of_its_request() -> None:
    """By correlation ID, as the checks ask for them."""
    destinations = {
        each["name"]: each for each in SOURCES["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    }
    source, query = explored(destinations[Attribute.CORRELATION_ID]["url"])
    assert source == "loki"
    assert query["expr"] == loki.by_correlation_id(CLICKED)


def test_a_log_line_leads_to_its_trace() -> None:
    """By its trace ID, which is metadata and not text."""
    field = derived_fields()["Trace"]
    assert (field["matcherType"], field["matcherRegex"]) == ("label", "trace_id")
    assert (field["datasourceUid"], field["url"]) == ("jaeger", CLICKED)


def test_a_log_line_leads_to_all_lines_and_traces_of_its_request() -> None:
    """By correlation ID."""
    lines, traces = derived_fields()["Request"], derived_fields()["Request's traces"]
    assert lines["matcherRegex"] == traces["matcherRegex"] == Attribute.CORRELATION_ID
    source, query = explored(lines["url"])
    assert (source, query["expr"]) == ("loki", loki.by_correlation_id(CLICKED))
    source, query = explored(traces["url"])
    assert (source, query["queryType"], query["service"]) == ("jaeger", "search", SERVICE_NAME)
    assert query["tags"] == f"{Attribute.CORRELATION_ID}={CLICKED}"


def test_a_trace_leads_to_its_log_lines_by_both_ids() -> None:
    """Lines without a trace, as nginx writes them for a request that reached nobody, have the correlation ID."""
    link = SOURCES["jaeger"]["jsonData"]["tracesToLogsV2"]
    assert link["datasourceUid"] == "loki"
    assert 'trace_id="$${__trace.traceId}"' in link["query"]
    assert f'{Attribute.CORRELATION_ID}="$${{__span.tags.{Attribute.CORRELATION_ID}}}"' in link["query"]


@every_board
def test_dashboards_name_the_data_sources_that_are_there(board: Path) -> None:
    """In panels and in their queries."""
    named = [panel["datasource"] for panel in panels(board) if panel["type"] != "row"]
    named += [target["datasource"] for panel in panels(board) for target in panel.get("targets", [])]
    assert named
    assert all(SOURCES[source["uid"]]["type"] == source["type"] for source in named)


def asked(expression: str) -> set[str]:
    """Return the metrics that a PromQL expression names, a histogram without its suffix."""
    names = re.findall(r"[a-z][a-z_]+", NOT_A_METRIC.sub(" ", expression))
    return {PART_OF_A_HISTOGRAM.sub("", name) for name in names}


@every_board
def test_dashboards_ask_for_metrics_that_are_recorded(board: Path) -> None:
    """A name that nobody records would be an empty panel."""
    known = {metric.prometheus_name for metric in METRICS}
    for target in targets(board, "prometheus"):
        names = asked(target["expr"])
        assert names, target["expr"]
        assert [name for name in names - known if not OTHERS_METRICS.fullmatch(name)] == []


@every_board
def test_dashboards_group_by_labels_that_the_metrics_have(board: Path) -> None:
    """Grouping by a label that is not there is one line for all, without a word."""
    everywhere = {"job", "instance", "le", "exporter"}
    known = everywhere.union(*(metric.labels for metric in METRICS))
    grouped = {
        label.strip()
        for target in targets(board, "prometheus")
        for labels in re.findall(r"by \(([^)]*)\)", target["expr"])
        for label in labels.split(",")
    }
    assert grouped
    assert grouped - known == set()


def test_the_overview_shows_every_metric_of_the_contract() -> None:
    """But the model's, which are there only with a model, and those of process and machine."""
    overview = GRAFANA / "dashboards" / "overview.json"
    elsewhere = {*PROCESS_METRICS, PROCESS_MEMORY_LIMIT, DOCUMENT_STORAGE}
    shown = set[str]().union(*(asked(target["expr"]) for target in targets(overview, "prometheus")))
    wanted = {
        metric.prometheus_name
        for metric in METRICS
        if not metric.name.startswith("gen_ai") and metric not in elsewhere
    }
    assert wanted - shown == set()


@every_board
def test_panels_have_an_id_of_their_own_and_lie_side_by_side(board: Path) -> None:
    """Grafana would move one that lies upon another."""
    cells: Counter[tuple[int, int]] = Counter()
    for panel in panels(board):
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells.update(
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        )
    assert max(cells.values()) == 1
    assert len({panel["id"] for panel in panels(board)}) == len(panels(board))


def test_grafana_finds_its_files_where_compose_mounts_them() -> None:
    """Provider, home dashboard and mounts agree."""
    mounted = dict(volume.split(":")[1::-1] for volume in COMPOSE["volumes"])
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "robin.yaml").read_text())
    (path,) = (each["options"]["path"] for each in provider["providers"])
    assert ROOT / mounted[path] == GRAFANA / "dashboards"
    assert ROOT / mounted["/etc/grafana/provisioning"] == GRAFANA / "provisioning"
    home = Path(COMPOSE["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == Path(path)
    assert (GRAFANA / "dashboards" / home.name).exists()

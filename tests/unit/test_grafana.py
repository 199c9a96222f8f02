"""Grafana's provisioning fits the project: data sources that are linked, files where they are looked for."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from document_api import SERVICE_NAME
from observability.signals import Attribute
from telemetry_queries import loki

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "monitoring" / "grafana"
SOURCES: dict[str, dict[str, Any]] = {
    source["uid"]: source
    for source in yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "robin.yaml").read_text())[
        "datasources"
    ]
}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
CLICKED = "$${__value.raw}"


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

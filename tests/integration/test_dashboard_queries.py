"""Prometheus' own parser takes every PromQL expression of the dashboards, and some are computed out of known samples."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from telemetry_queries.overview import BUDGETS, CHARTS, OBJECTIVES, PROBES
from tests.boards import boards
from tests.programs import binary
from tests.queries import COLLECTOR_FAILURES, Query, dashboard_queries, document_queries, recording_queries

ROOT = Path(__file__).parents[2]
SELECTED = re.compile(r"label_values\((.*), (\w+)\)")


@pytest.fixture(scope="module")
def promtool() -> Path:
    """Prometheus' checker."""
    return binary("promtool")


@pytest.fixture(scope="module")
def otelcol() -> Path:
    """The collector."""
    return binary("otelcol")


def annotations() -> Iterator[str]:
    """Yield what marks moments on the dashboards."""
    return (each["expr"] for board in boards().values() for each in board["annotations"]["list"])


def choices() -> Iterator[str]:
    """Yield the series whose labels are the values of a variable."""
    for board in boards().values():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                found = SELECTED.fullmatch(variable["query"]["query"])
                assert found, variable["query"]
                yield found[1]


def check(promtool: Path, folder: Path, queries: list[str]) -> subprocess.CompletedProcess[str]:
    """Check expressions as rules, each under a name of its own."""
    file = folder / "rules.yml"
    rules = [{"record": f"query:{index}", "expr": query} for index, query in enumerate(queries)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    return subprocess.run(
        [promtool, "check", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )


def test_every_query_of_the_page_is_promql(promtool: Path, tmp_path: Path) -> None:
    """What document_api asks for an overview."""
    checked = check(promtool, tmp_path, [*CHARTS.values(), PROBES, BUDGETS, OBJECTIVES])
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_query_of_the_dashboards_is_promql(promtool: Path, tmp_path: Path) -> None:
    """Of panels, annotations and variables, as the server would read it."""
    panels = [query.expression for query in dashboard_queries()]
    assert len(panels) > 100
    result = check(promtool, tmp_path, [*panels, *annotations(), *choices()])
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_parser_refuses_what_is_no_promql(promtool: Path, tmp_path: Path) -> None:
    """A check that takes everything would check nothing."""
    assert check(promtool, tmp_path, ["sum by job (up)"]).returncode != 0


def test_the_collectors_counters_of_losses_have_these_names(otelcol: Path) -> None:
    """It makes each only once it loses something: what it is going to call them stands in its program."""
    failures = re.compile(r"otelcol_exporter_(?:send|enqueue)_failed_(?:spans|log_records|metric_points)")
    known = {
        f"{found.decode()}_total" for found in re.findall(failures.pattern.encode(), otelcol.read_bytes())
    }
    expressions = [query.expression for query in (*dashboard_queries(), *recording_queries())]
    asked = [
        found
        for part in COLLECTOR_FAILURES
        for found in re.findall(rf"{re.escape(part)}[\w.+]+", " ".join(expressions))
    ]
    assert asked
    assert [each for each in asked if not any(re.fullmatch(each, name) for name in known)] == []
    assert [name for name in known if not any(re.fullmatch(each, name) for each in asked)] == []


def computed(
    promtool: Path, folder: Path, query: Query, samples: Mapping[str, str], *, at: str, expected: list[Any]
) -> None:
    """Fail unless the query has these values at that time, out of samples that stand every 15 seconds."""
    test = {
        "interval": "15s",
        "input_series": [{"series": series, "values": values} for series, values in samples.items()],
        "promql_expr_test": [{"expr": query.expression, "eval_time": at, "exp_samples": expected}],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump({"tests": [test]}))
    result = subprocess.run(
        [promtool, "test", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, f"{query}\n{result.stdout}{result.stderr}"


def of_panel(place: str) -> list[Query]:
    """Return the queries of the panels of that title."""
    found = [query for query in dashboard_queries() if query.place == place]
    assert found
    return found


DELAYS = [query for query in (*dashboard_queries(), *document_queries()) if "timestamp(" in query.expression]


@pytest.mark.parametrize("query", DELAYS, ids=[f"{each.place} {n}" for n, each in enumerate(DELAYS)])
@pytest.mark.parametrize(("at", "seconds"), [("10m10s", 10), ("50m", 2400)])
def test_a_delay_is_told_for_longer_than_prometheus_looks_back(
    promtool: Path, tmp_path: Path, query: Query, at: str, seconds: int
) -> None:
    """Samples end after 10 minutes: exact while they come, and still there when nothing has come for long."""
    samples = {'process_memory_usage_bytes{service_name="document-api", instance="a"}': "1x40"}
    labels = "{}" if query.expression.startswith("max(") else '{service_name="document-api"}'
    computed(promtool, tmp_path, query, samples, at=at, expected=[{"labels": labels, "value": seconds}])


def test_there_are_delays_on_the_dashboards_and_in_the_runbooks() -> None:
    """Two of each."""
    assert len(DELAYS) == 4


@pytest.mark.parametrize("title", ["Event loop lag", "Delay of the event loop"])
def test_the_lag_of_the_event_loop_is_the_worst_of_all_samples(
    promtool: Path, tmp_path: Path, title: str
) -> None:
    """Each tells the worst since the one before, so that one between two points would be lost."""
    samples = {'event_loop_lag_seconds{service_name="document-api", instance="a"}': "0 0 0.5 0 0"}
    instance = ', instance="a"' if title.startswith("Delay") else ""
    for query in of_panel(f"runtime, {title}"):
        expected = [{"labels": f'{{service_name="document-api"{instance}}}', "value": 0.5}]
        computed(promtool, tmp_path, query, samples, at="1m", expected=expected)


@pytest.mark.parametrize("title", ["Pool in use", "Pool in use by instance"])
def test_a_pool_that_is_full_for_a_moment_is_not_full(promtool: Path, tmp_path: Path, title: str) -> None:
    """The alert averages over 2 minutes, and its limit is drawn."""
    pool = 'database_connection_pool{service_name="data-store", instance="a", state="%s"}'
    samples = {pool % "in_use": "0 10 0 10 0 10 0 10 0 10", pool % "max": "10x10"}
    labels = '{instance="a"}' if title.endswith("instance") else "{}"
    for query in of_panel(f"database, {title}"):
        computed(promtool, tmp_path, query, samples, at="2m10s", expected=[{"labels": labels, "value": 0.5}])


def test_a_budget_that_is_far_overspent_does_not_flatten_the_others(promtool: Path, tmp_path: Path) -> None:
    """The number is told as it is, the line ends at -100%."""
    samples = {'slo:error_budget_remaining:ratio{slo="latency", service="nginx"}': "-20"}
    number, line = of_panel("overview, Error budget left")
    labels = '{slo="latency", service="nginx"}'
    told = [{"labels": f"slo:error_budget_remaining:ratio{labels}", "value": -20}]
    computed(promtool, tmp_path, number, samples, at="0s", expected=told)
    computed(promtool, tmp_path, line, samples, at="0s", expected=[{"labels": labels, "value": -1}])

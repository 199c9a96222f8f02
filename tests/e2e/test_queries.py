"""Every query of dashboards, rules and documents, run against a stack that has had traffic."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx
import pytest

from observability_checks.api import Api, sample_text
from observability_checks.polling import Deadline, wait_until_none
from tests.e2e.conftest import RunningStack
from tests.e2e.faults import failing_inserts, held
from tests.queries import (
    Query,
    alert_queries,
    dashboard_queries,
    document_queries,
    logsql_queries,
    recording_queries,
    selectors,
)

SECONDS = 150  # some rules are evaluated once a minute, and read what others have recorded

# Answers nothing on this stack: what stands in the expression, and the reason.
SILENT: Mapping[str, str] = {
    "gen_ai_": "no model is configured",
    "ALERTS": "nothing fires while all is well",
}
# The same for the series that alerts look at.
SILENT_SERIES: Mapping[str, str] = {
    "database_connection_pool_exhausted_total": "requests wait for a thread before they would wait in vain",
    "telemetry_dropped_total": "nothing was dropped",
    'code!~"2..': "nothing was rejected",
}

Ask = Callable[[str], list[Any]]


@pytest.fixture(scope="module")
def traffic(stack: RunningStack, http: httpx.Client) -> None:
    """Documents are stored and read; requests are refused, and fail."""
    api = Api(http, stack.endpoints["nginx"])
    for number in range(5):
        document = api.upload("queries", f"{number}.txt", sample_text(3, 3))
        assert document.exchange.status == 200
        assert api.document("queries", document.document_id).status == 200
    assert api.document("queries", 2**60).status == 404
    with held(stack.endpoints["data_store"]):
        assert api.document("queries", document.document_id).status == 504
    with failing_inserts(stack):
        assert api.upload("queries", "a.txt", sample_text(3, 3)).exchange.status == 502


@pytest.fixture(scope="module")
def ask(stack: RunningStack, http: httpx.Client, traffic: None) -> Ask:
    """Ask Prometheus for an expression's series now; what it does not understand is an error."""

    def query(expression: str) -> list[Any]:
        url = f"{stack.endpoints['prometheus']}/api/v1/query"
        answer = http.post(url, data={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        found: list[Any] = answer.json()["data"]["result"]
        return found

    return query


def without_data(ask: Ask, queries: Iterable[Query], silent: Iterable[str] = SILENT) -> str:
    """Return the queries that stay empty, but for those with a reason, one in each line."""
    wanted = [query for query in queries if not any(part in query.expression for part in silent)]
    assert wanted
    return "\n".join(
        wait_until_none(
            lambda: [str(query) for query in wanted if not ask(query.expression)], Deadline(SECONDS)
        )
    )


def test_every_panel_has_data(ask: Ask):
    """A panel that stays empty after ordinary traffic asks for something that is not there."""
    assert without_data(ask, dashboard_queries()) == ""


def test_every_recording_rule_records(ask: Ask):
    """Both its expression and the series that it writes have data."""
    rules = list(recording_queries())
    assert without_data(ask, rules) == ""
    assert without_data(ask, [Query("recorded", rule.place) for rule in rules]) == ""


def test_every_query_of_the_documents_has_data(ask: Ask):
    """What a reader pastes answers something."""
    assert without_data(ask, document_queries()) == ""


def test_every_series_that_an_alert_looks_at_is_there(stack: RunningStack, http: httpx.Client, ask: Ask):
    """An alert on a series with a wrong name or label would stay silent for ever."""

    def looked_at(alert: Query) -> list[Query]:
        url = f"{stack.endpoints['prometheus']}/api/v1/parse_query"
        tree = http.post(url, data={"query": alert.expression}).raise_for_status().json()["data"]
        return [Query(alert.place, selector) for selector in selectors(tree)]

    alerts = list(alert_queries())
    for alert in alerts:
        ask(alert.expression)
    assert without_data(ask, [each for alert in alerts for each in looked_at(alert)], SILENT_SERIES) == ""


def test_every_log_query_of_the_documents_is_understood(stack: RunningStack, http: httpx.Client):
    """By VictoriaLogs; whether a line answers it depends on what has happened."""
    for query in logsql_queries():
        url = f"{stack.endpoints['logs']}/select/logsql/query"
        answer = http.post(url, data={"query": query.expression, "limit": "1"})
        assert answer.status_code == 200, f"{query}: {answer.text}"

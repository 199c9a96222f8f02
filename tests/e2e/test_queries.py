"""Every query of dashboards, rules and documents, run against a stack that has had traffic."""

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx
import pytest

from observability_checks.api import Api, sample_text
from observability_checks.polling import Deadline, wait_until_none
from tests.e2e.conftest import RunningStack
from tests.e2e.faults import failing_inserts, held
from tests.queries import (
    COLLECTOR_FAILURES,
    Query,
    alert_queries,
    dashboard_queries,
    document_queries,
    logsql_queries,
    recording_queries,
    selectors,
)

SECONDS = 150  # some rules are evaluated once a minute, and read what others have recorded

# What stands in a query that may find nothing on this stack, and the reason.
SILENT: Mapping[str, str] = {
    "gen_ai_": "no model is configured",
    "ALERTS": "nothing fires while all is well",
    "storage_leftovers_total": "no process was killed while it stored",
    "virus_scan_duration": "no scanner is configured",
    "document_changes_total": "nobody changes a document",
    "documents_downloaded_total": "nobody downloads a document",
    "contents_removed_total": "nothing was purged",
    "database_connection_pool_exhausted_total": "nobody waits 5 s for a connection",
    "requests_shed_total": "nothing is refused for overload",
    "telemetry_dropped_total": "nothing was dropped",
    "tenant_limit_exceeded_total": "nobody is over a limit",
    "data_store_retries_total": "the data store answers",
    "data_store_refusals_total": "the data store answers",
    'code!~"2..': "nothing was rejected",
    **dict.fromkeys(
        COLLECTOR_FAILURES, "appears with the first item; test_dashboard_queries knows the names"
    ),
}

Ask = Callable[[str], list[Any]]
LookedAt = Callable[[Iterable[Query]], list[Query]]
Source = Callable[[], Iterable[Query]]
NAMED = operator.attrgetter("__name__")


@pytest.fixture(scope="module")
def traffic(stack: RunningStack, http: httpx.Client) -> None:
    """Documents are stored and read, one of them no text, one a page; requests are refused, and fail; a service is not well."""
    api = Api(http, stack.endpoints["nginx"])
    for number in range(5):
        document = api.upload("queries", f"{number}.txt", sample_text(3, 3))
        assert document.exchange.status == 200
        assert api.document("queries", document.document_id).status == 200
    assert api.upload("queries", "0.bin", b"\x00").exchange.status == 200
    page = b"<!DOCTYPE html><title>A page</title><p>That is read in a process of its own."
    assert api.upload("queries", "0.html", page).exchange.status == 200
    assert api.upload("queries", "0.pdf", b"%PDF-1.7 and no more").exchange.status == 200
    assert api.document("queries", 2**60).status == 404
    with held(stack.endpoints["data_store"]):
        assert http.get(f"{stack.endpoints['document_api'][0]}/health").status_code == 503
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


@pytest.fixture(scope="module")
def looked_at(stack: RunningStack, http: httpx.Client) -> LookedAt:
    """Say by which selectors queries look for series, each selector once, as Prometheus itself reads them."""

    def found(queries: Iterable[Query]) -> list[Query]:
        url = f"{stack.endpoints['prometheus']}/api/v1/parse_query"
        places: dict[str, str] = {}
        for query in queries:
            tree = http.post(url, data={"query": query.expression}).raise_for_status().json()["data"]
            for selector in selectors(tree):
                places.setdefault(selector, query.place)
        return [Query(place, selector) for selector, place in places.items()]

    return found


def without_answer(ask: Ask, queries: Iterable[Query]) -> str:
    """Return the queries that stay empty, but for those with a reason, one in each line."""
    wanted = [query for query in queries if not any(part in query.expression for part in SILENT)]
    assert wanted
    return "\n".join(
        wait_until_none(
            lambda: [str(query) for query in wanted if not ask(query.expression)], Deadline(SECONDS)
        )
    )


@pytest.mark.parametrize("source", [dashboard_queries, recording_queries, document_queries], ids=NAMED)
def test_every_query_answers_something(ask: Ask, source: Source):
    """A panel says more than that there is no data; "or vector(0)" is an answer, whatever stands before it.

    These are Prometheus' queries: Loki's are held to its grammar (test_logql), Jaeger's panel is not asked.
    """
    assert without_answer(ask, source()) == ""


@pytest.mark.parametrize(
    "source", [dashboard_queries, recording_queries, document_queries, alert_queries], ids=NAMED
)
def test_every_series_that_a_query_looks_at_is_there(ask: Ask, looked_at: LookedAt, source: Source):
    """One with a wrong name or label would be no data, nothing at all, or an alert that is silent for ever."""
    assert without_answer(ask, looked_at(source())) == ""


def test_every_series_that_a_rule_records_is_there(ask: Ask):
    """Under the name of the rule."""
    assert without_answer(ask, [Query("recorded", rule.place) for rule in recording_queries()]) == ""


def test_every_alert_can_be_evaluated(ask: Ask):
    """Whether it holds or not."""
    alerts = list(alert_queries())
    assert alerts
    for alert in alerts:
        ask(alert.expression)


def test_every_exception_is_of_something_that_is_looked_at(looked_at: LookedAt):
    """One that nothing needs would hide what comes later."""
    sources = (dashboard_queries, recording_queries, document_queries, alert_queries)
    every = [each.expression for each in looked_at(query for source in sources for query in source())]
    assert [part for part in SILENT if not any(part in selector for selector in every)] == []


def test_every_log_query_of_the_documents_is_understood(stack: RunningStack, http: httpx.Client):
    """By VictoriaLogs; whether a line answers it depends on what has happened."""
    for query in logsql_queries():
        url = f"{stack.endpoints['logs']}/select/logsql/query"
        answer = http.post(url, data={"query": query.expression, "limit": "1"})
        assert answer.status_code == 200, f"{query}: {answer.text}"

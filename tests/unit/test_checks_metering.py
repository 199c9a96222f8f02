"""Counters and exemplars as Prometheus answers them."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from observability.signals import DOCUMENT_ROUTE
from observability_checks.contract.expected import RETRIEVAL_COUNTERS, tally
from observability_checks.metering import Meter
from observability_checks.polling import Deadline
from telemetry_queries.prometheus import Prometheus

ID = "3f0c8d52-9a41-4e0b-8a55-5f2d4a1c7e90"
TRACE = "a07c2630bb61d757cc3c6f415b1a418c"


class FakePrometheus:
    """Answers as Prometheus does, out of counters that a test may raise."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], int] = {}
        self.exemplars: list[dict[str, Any]] = []
        self.asked: list[str] = []

    def count(self, service: str, status: str, times: int, instance: str = "a") -> None:
        """Count requests of a service."""
        key = (service, status, instance)
        self.counts[key] = self.counts.get(key, 0) + times

    def select(self, count: int = 1) -> None:
        """Count statements."""
        self.counts["select",] = self.counts.get(("select",), 0) + count

    def client(self) -> Prometheus:
        """A client of this server."""
        return Prometheus(httpx.Client(transport=httpx.MockTransport(self._serve)), "http://prometheus")

    def _serve(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params.get("query", "")
        self.asked.append(query)
        if request.url.path.endswith("/query_exemplars"):
            return _success(self.exemplars)
        return _success({"resultType": "vector", "result": list(self._results(query))})

    def _results(self, query: str) -> list[dict[str, Any]]:
        if query.startswith("http_requests_total{"):
            return [_series(*key, value=value) for key, value in self.counts.items() if key != ("select",)]
        if query.startswith("database_operations_total{") and ("select",) in self.counts:
            labels = {
                "job": "robin/data-store",
                "operation": "SELECT",
                "table": "document_metadata",
                "success": "true",
            }
            return [{"metric": labels, "value": [0, str(self.counts["select",])]}]
        return []


def _success(data: Any) -> httpx.Response:
    return httpx.Response(200, content=json.dumps({"status": "success", "data": data}))


def _series(service: str, status: str, instance: str, *, value: int) -> dict[str, Any]:
    labels = {
        "job": f"robin/{service}",
        "instance": instance,
        "method": "GET",
        "path": DOCUMENT_ROUTE,
        "status": status,
    }
    return {"metric": labels, "value": [0, str(value)]}


@pytest.fixture
def server() -> FakePrometheus:
    """Counters that have counted before."""
    fake = FakePrometheus()
    fake.count("document-api", "200", 7)
    fake.count("data-store", "200", 9)
    fake.select(20)
    return fake


def meter_of(server: FakePrometheus) -> Meter:
    """A meter that starts now."""
    return Meter(server.client(), Deadline(0))


def test_two_retrievals_on_two_instances_are_two(server: FakePrometheus):
    """What stood there before does not count, and neither does which instance answered."""
    meter = meter_of(server)
    server.count("document-api", "200", 1)
    server.count("document-api", "200", 1, instance="b")
    server.count("data-store", "200", 2)
    server.select(2)
    assert meter.problems(tally(RETRIEVAL_COUNTERS, 2)) == []


@pytest.mark.parametrize(
    "less",
    [
        lambda server: server.count("document-api", "200", -1),
        lambda server: server.count("data-store", "200", -1),
        lambda server: server.select(-1),
        lambda server: server.count("document-api", "404", 1),
    ],
    ids=["document-api", "data-store", "statements", "another status"],
)
def test_a_counter_that_is_off_by_one_is_found(
    server: FakePrometheus, less: Callable[[FakePrometheus], None]
):
    """In either service, in the database, or under another label."""
    meter = meter_of(server)
    server.count("document-api", "200", 2)
    server.count("data-store", "200", 2)
    server.select(2)
    less(server)
    assert "expected a rise of" in meter.problems(tally(RETRIEVAL_COUNTERS, 2))[0]


def exemplar(correlation_id: str, trace_id: str) -> dict[str, Any]:
    """One series with one exemplar."""
    labels = {"correlation_id": correlation_id, "trace_id": trace_id}
    return {
        "seriesLabels": {"__name__": "http_requests_total"},
        "exemplars": [{"labels": labels, "value": "1", "timestamp": 1.0}],
    }


def test_an_exemplar_of_a_request_leads_back(server: FakePrometheus):
    """Its correlation ID and its trace ID are those of one request."""
    server.exemplars = [exemplar("other", "other"), exemplar(ID, TRACE)]
    assert meter_of(server).exemplar_problems({ID}, {TRACE}) == ()


@pytest.mark.parametrize(
    "found", [[], [exemplar("other", TRACE)], [exemplar(ID, "other")]], ids=["none", "ID", "trace"]
)
def test_an_exemplar_that_leads_elsewhere_is_a_problem(server: FakePrometheus, found: list[dict[str, Any]]):
    """Without both IDs nobody gets from the metric to the request."""
    server.exemplars = found
    assert len(meter_of(server).exemplar_problems({ID}, {TRACE})) == 1


def test_health_requests_and_other_tables_are_not_watched(server: FakePrometheus):
    """The stack's own health checks make them rise at any time."""
    meter_of(server)
    assert any('path!~"/health|/principals/by-key|' in query for query in server.asked)
    assert any('table="document_metadata"' in query for query in server.asked)

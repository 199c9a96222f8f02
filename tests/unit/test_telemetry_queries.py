"""What is read of telemetry for the page: bounded, in order, and with its gaps named."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from telemetry_queries import loki, victorialogs
from telemetry_queries.back_ends import BackEnds
from telemetry_queries.bounded import Bounded
from telemetry_queries.jaeger import Jaeger
from telemetry_queries.loki import SilentLoki
from telemetry_queries.overview import CHARTS, overview
from telemetry_queries.prometheus import Prometheus
from telemetry_queries.requests import recent_requests
from telemetry_queries.story import StoryTeller
from telemetry_queries.victorialogs import VictoriaLogs

ID = "6f1c9a52-7d0e-4b63-9c53-0f6d0f4f7a11"
NOW = 1_700_000_000.0
Serve = Callable[[httpx.Request], httpx.Response]


class Parts(httpx.SyncByteStream):
    """A body that comes in parts, each after a while."""

    def __init__(self, *parts: bytes, pause: float = 0) -> None:
        self._parts = parts
        self._pause = pause

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            time.sleep(self._pause)
            yield part


def client_of(serve: Serve) -> httpx.Client:
    """A client whose server is a function."""
    return httpx.Client(transport=httpx.MockTransport(serve))


def bounded_client(*parts: bytes, pause: float = 0, seconds: float = 5, most_bytes: int = 10) -> httpx.Client:
    """A client with bounds, whose server answers in parts."""
    inner = httpx.MockTransport(lambda _request: httpx.Response(200, stream=Parts(*parts, pause=pause)))
    return httpx.Client(transport=Bounded(inner, seconds=seconds, most_bytes=most_bytes))


def refuse(request: httpx.Request) -> httpx.Response:
    """Serve as a server that is not there."""
    raise httpx.ConnectError("connection refused", request=request)


def test_an_answer_within_the_bounds_is_whole():
    """Up to the last byte that is allowed."""
    assert bounded_client(b"01234", b"56789").get("http://back-end").content == b"0123456789"


def test_an_answer_that_is_too_large_is_not_taken():
    """It is given up with the part that is too much."""
    with pytest.raises(httpx.ReadError, match="larger than 10 bytes"):
        bounded_client(b"01234", b"56789", b"x").get("http://back-end")


def test_an_answer_that_trickles_is_given_up_in_time():
    """Each part comes soon enough, all of them together do not."""
    with pytest.raises(httpx.ReadTimeout, match="no time is left"):
        bounded_client(b"0", b"1", b"2", pause=0.02, seconds=0.03).get("http://back-end")


def test_requests_share_one_deadline():
    """What one has used, the next has not."""
    client = bounded_client(b"0", pause=0.02, seconds=0.01)
    with pytest.raises(httpx.ReadTimeout):
        client.get("http://back-end")
    with pytest.raises(httpx.ReadTimeout):
        client.get("http://back-end")


def edge_line(moment: str, status: int, correlation_id: str = ID) -> dict[str, str]:
    """A line of nginx's as VictoriaLogs stores it."""
    return {
        "_time": moment,
        "_msg": f"PUT /clients/acme/upload-document {status}",
        "service.name": "nginx",
        "correlation_id": correlation_id,
        "client_id": "acme",
        "context_data.method": "PUT",
        "context_data.path": "/clients/acme/upload-document",
        "context_data.status": str(status),
        "context_data.duration": "0.025",
    }


def test_recent_requests_are_told_newest_first():
    """Whatever order the store answers in; from 400 on they failed."""
    lines = [
        edge_line("2023-11-14T22:13:20Z", 200, "older"),
        edge_line("2023-11-14T22:13:21Z", 422, "newer"),
    ]
    asked: list[str] = []

    def serve(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["query"])
        return httpx.Response(200, text="\n".join(map(json.dumps, lines)))

    found = recent_requests(
        VictoriaLogs(client_of(serve), "http://logs"), since=NOW, limit=5, failed=False
    ).requests
    assert [(each.correlation_id, each.status, each.failed) for each in found] == [
        ("newer", 422, True),
        ("older", 200, False),
    ]
    assert (found[0].duration_ms, found[0].client_id, found[0].method) == (25, "acme", "PUT")
    assert asked == [victorialogs.of_the_edge(5, failed=False)]


def test_whoever_reads_telemetry_is_not_listed():
    """Else the page would show itself; and failed requests are chosen by the store."""
    assert (
        victorialogs.of_the_edge(5, failed=True)
        == '"service.name":="nginx" !"context_data.path":="/observability/"* "context_data.status":>=400'
        " | sort by (_time desc) limit 5"
    )
    assert (
        loki.of_the_edge(failed=True)
        == '{service_namespace="robin", service_name="nginx"} | context_data_path!~"/observability/.*"'
        " | context_data_status >= 400"
    )
    assert ">=" not in loki.of_the_edge(failed=False)


def test_a_log_store_that_is_away_or_silent_leaves_a_gap():
    """The list says why it is empty."""
    away = recent_requests(VictoriaLogs(client_of(refuse), "http://logs"), since=NOW, limit=5, failed=False)
    assert away.requests == ()
    assert away.gaps == ("http://logs/select/logsql/query did not answer: connection refused",)
    silent = SilentLoki(client_of(refuse), "http://logs", "it answers no LogQL")
    assert recent_requests(silent, since=NOW, limit=5, failed=False).gaps == ("it answers no LogQL",)


def test_a_story_is_told_of_what_answers():
    """Each back end that is away is named, and the others are asked all the same."""
    line = edge_line("2023-11-14T22:13:20Z", 503)
    back_ends = BackEnds(
        Jaeger(client_of(refuse), "http://jaeger"),
        Prometheus(client_of(refuse), "http://prometheus"),
        VictoriaLogs(client_of(lambda _request: httpx.Response(200, text=json.dumps(line))), "http://logs"),
    )
    story = StoryTeller(back_ends).tell(ID)
    assert story.found
    assert [each.message for each in story.lines] == ["PUT /clients/acme/upload-document 503"]
    assert story.gaps[0] == "http://jaeger/api/traces did not answer: connection refused"


def prometheus_of(answers: dict[str, Any]) -> Prometheus:
    """A Prometheus that answers each path with the same data."""

    def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": answers[request.url.path.rpartition("/")[2]]})

    return Prometheus(client_of(serve), "http://prometheus")


def test_an_overview_has_charts_probes_alerts_and_budgets():
    """What is no number is left out of a chart: JSON has no word for it."""
    labels = {"service": "document-api", "slo": "latency", "instance": "http://a/health"}
    alert = {
        "labels": {"alertname": "HighLatency", "severity": "warning", "service": "document-api"},
        "annotations": {"summary": "slow"},
        "state": "firing",
        "activeAt": "2023-11-14T22:13:20Z",
        "value": "1",
    }
    found = overview(
        prometheus_of(
            {
                "query_range": {"result": [{"metric": labels, "values": [[1, "NaN"], [2, "0.5"]]}]},
                "query": {"result": [{"metric": labels, "value": [2, "0.75"]}]},
                "alerts": {"alerts": [alert]},
            }
        ),
        now=NOW,
    )
    assert (found.since, found.until) == (NOW - 3600, NOW)
    assert found.charts.keys() == CHARTS.keys()
    assert {series.points for chart in found.charts.values() for series in chart} == {((2, 0.5),)}
    (probe,) = found.probes
    assert (probe.service, probe.instance, probe.up) == ("document-api", "http://a/health", True)
    (told,) = found.alerts
    assert (told.name, told.state, told.summary) == ("HighLatency", "firing", "slow")
    (objective,) = found.objectives
    assert (objective.slo, objective.objective, objective.budget_remaining) == ("latency", 0.75, 0.75)
    assert found.gaps == []


def test_an_overview_without_prometheus_is_a_gap():
    """It is asked once: the next question would only take as long."""
    found = overview(Prometheus(client_of(refuse), "http://prometheus"), now=NOW)
    assert found.gaps == ["http://prometheus/api/v1/query_range did not answer: connection refused"]


def test_what_is_no_json_counts_as_no_answer():
    """Something else listens there: that is named, and nothing breaks."""
    page = client_of(lambda _request: httpx.Response(200, text="<html>"))
    found = overview(Prometheus(page, "http://prometheus"), now=NOW)
    assert found.gaps == ["http://prometheus/api/v1/query_range did not answer: it answered no JSON"]

"""All that a stack has stored, whoever sent it."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from telemetry_queries.sources import SERVICES
from tests.conformance import StoredSpan
from tests.e2e.conftest import RunningStack

TRACES = 5000
RECORDS = 100_000


def spans(stack: RunningStack, http: httpx.Client) -> list[StoredSpan]:
    """Return every span in Jaeger, below its parent."""
    traces: dict[str, Any] = {}
    for service in SERVICES:
        answer = http.get(
            f"{stack.endpoints['jaeger']}/api/traces",
            params={"service": service, "limit": TRACES, "lookback": "1h", **_last_hour()},
        )
        answer.raise_for_status()
        traces |= {trace["traceID"]: trace for trace in answer.json()["data"]}
    assert len(traces) < TRACES
    return [span for trace in traces.values() for span in _spans(trace)]


def _last_hour() -> dict[str, int]:
    now = time.time()
    return {"start": int((now - 3600) * 1e6), "end": int((now + 60) * 1e6)}


def _spans(trace: Mapping[str, Any]) -> Iterator[StoredSpan]:
    stored = {span["spanID"]: span for span in trace["spans"]}

    def made(span: Mapping[str, Any]) -> StoredSpan:
        parents = [each["spanID"] for each in span["references"] if each["refType"] == "CHILD_OF"]
        process = trace["processes"][span["processID"]]
        attributes = {tag["key"]: (tag["type"], tag["value"]) for tag in span["tags"]}
        return StoredSpan(
            service=process["serviceName"],
            name=span["operationName"],
            kind=attributes.get("span.kind", ("", "internal"))[1],
            seconds=span["duration"] / 1e6,
            attributes=attributes,
            resource=frozenset(tag["key"] for tag in process["tags"]),
            events=tuple(frozenset(each["key"] for each in event["fields"]) for event in span["logs"]),
            parent=next((made(stored[parent]) for parent in parents if parent in stored), None),
            orphan=any(parent not in stored for parent in parents),
            started=span["startTime"] / 1e6,
            span_id=span["spanID"],
        )

    return map(made, stored.values())


def records(stack: RunningStack, http: httpx.Client, query: str = "*") -> list[dict[str, str]]:
    """Return every record in VictoriaLogs that a query selects, with the fields' names as stored."""
    answer = http.get(
        f"{stack.endpoints['logs']}/select/logsql/query",
        params={"query": query, "start": "1h", "limit": RECORDS},
    )
    answer.raise_for_status()
    return [json.loads(line) for line in answer.text.splitlines()]


def series(stack: RunningStack, http: httpx.Client) -> list[dict[str, str]]:
    """Return the labels of every series in Prometheus."""
    return _prometheus(stack, http, "series", {"match[]": '{__name__!=""}', "start": time.time() - 3600})


def exemplars(stack: RunningStack, http: httpx.Client) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Return the labels of every exemplar of the services in Prometheus, after those of its series."""
    data = _prometheus(
        stack,
        http,
        "query_exemplars",
        {"query": '{service_name!=""}', "start": time.time() - 3600, "end": time.time() + 60},
    )
    return [(each["seriesLabels"], one["labels"]) for each in data for one in each["exemplars"]]


def recorded_names(stack: RunningStack, http: httpx.Client) -> frozenset[str]:
    """Return the names that recording rules give to what they compute."""
    groups = _prometheus(stack, http, "rules", {"type": "record"})["groups"]
    return frozenset(rule["name"] for group in groups for rule in group["rules"])


def scraped_jobs(stack: RunningStack, http: httpx.Client) -> frozenset[str]:
    """Return the jobs that Prometheus has targets of."""
    targets = _prometheus(stack, http, "targets", {"state": "active"})["activeTargets"]
    return frozenset(target["labels"]["job"] for target in targets)


def _prometheus(stack: RunningStack, http: httpx.Client, path: str, parameters: dict[str, Any]) -> Any:
    answer = http.get(f"{stack.endpoints['prometheus']}/api/v1/{path}", params=parameters)
    answer.raise_for_status()
    return answer.json()["data"]

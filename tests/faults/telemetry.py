"""What telemetry of every answered request is missing in the back ends, counted span by span and line by line."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import httpx

from telemetry_queries.sources import Source
from tests.e2e.conftest import RunningStack
from tests.faults.load import Load, Request

# Of a request that was answered well, in the open mode and without a model; a call that is tried again has more.
SPANS: Final = {"PUT": 12, "GET": 6}
LINES: Final = {
    "PUT": {Source.NGINX: 1, Source.DOCUMENT_API: 2, Source.DATA_STORE: 1},
    "GET": {Source.NGINX: 1, Source.DOCUMENT_API: 1, Source.DATA_STORE: 1},
}
_MOST: Final = 20_000


@dataclass(frozen=True, slots=True)
class Missing:
    """How many are not there, of how many."""

    spans: int
    of_spans: int
    lines: int
    of_lines: int


def missing(stack: RunningStack, http: httpx.Client, load: Load) -> Missing:
    """Count what is not there of the requests that were answered well."""
    well = [request for request in load.requests if request.answered_well]
    since = min((request.at for request in well), default=0.0) - 5
    spans, lines = _spans(stack, http, since), _lines(stack, http, since)
    return Missing(
        sum(max(0, SPANS[each.method] - spans[each.correlation_id]) for each in well),
        sum(SPANS[each.method] for each in well),
        sum(_missing_lines(each, lines) for each in well),
        sum(sum(LINES[each.method].values()) for each in well),
    )


def _missing_lines(request: Request, lines: Counter[tuple[str, str]]) -> int:
    return sum(
        max(0, expected - lines[request.correlation_id, source])
        for source, expected in LINES[request.method].items()
    )


def _spans(stack: RunningStack, http: httpx.Client, since: float) -> Counter[str]:
    """Return how many spans Jaeger has of each correlation ID."""
    answer = http.get(
        f"{stack.endpoints['jaeger']}/api/traces",
        params={
            "service": Source.DOCUMENT_API.value,
            "limit": _MOST,
            "start": int(since * 1e6),
            "end": int((since + 2 * 3600) * 1e6),  # a clock may have jumped by an hour
        },
    )
    answer.raise_for_status()
    traces: list[dict[str, Any]] = answer.json()["data"]
    assert len(traces) < _MOST
    return Counter(_correlation_id(span) for trace in traces for span in trace["spans"])


def _correlation_id(span: dict[str, Any]) -> str:
    return next((tag["value"] for tag in span["tags"] if tag["key"] == "correlation_id"), "")


def _lines(stack: RunningStack, http: httpx.Client, since: float) -> Counter[tuple[str, str]]:
    """Return how many INFO and worse lines the log store has of each correlation ID and service."""
    answer = http.get(
        f"{stack.endpoints['logs']}/select/logsql/query",
        params={
            "query": "* | stats by (correlation_id, service.name) count() lines",
            "start": f"{since:.0f}",
            "limit": 10 * _MOST,
        },
    )
    answer.raise_for_status()
    found = [json.loads(line) for line in answer.text.splitlines()]
    return Counter(
        {(each.get("correlation_id", ""), each.get("service.name", "")): int(each["lines"]) for each in found}
    )

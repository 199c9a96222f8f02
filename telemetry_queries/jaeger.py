"""Traces out of Jaeger's query API."""

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from observability.signals import Attribute
from telemetry_queries.failures import json_of
from telemetry_queries.models import SpanRecord, Trace

_LOOKBACK_SECONDS = 7 * 86400
_MICROSECONDS = 1_000_000


class Jaeger:
    """Finds traces by correlation ID."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client = client
        self.url = url

    def ping(self) -> None:
        """Raise unless the query API answers."""
        self._client.get(f"{self.url}/api/services").raise_for_status()

    def find(self, correlation_id: str, service: str) -> list[Trace]:
        """All traces in which a span of `service` carries this correlation ID."""
        now = time.time()
        parameters: dict[str, str | int] = {
            "service": service,
            "tags": json.dumps({Attribute.CORRELATION_ID: correlation_id}),
            "start": int((now - _LOOKBACK_SECONDS) * _MICROSECONDS),
            "end": int((now + 60) * _MICROSECONDS),
            "limit": 20,
        }
        answer = self._client.get(f"{self.url}/api/traces", params=parameters)
        return [parse_trace(each) for each in json_of(answer).get("data") or ()]

    def link(self, trace_id: str) -> str:
        """Page of a trace, where Jaeger's web UI is installed."""
        return f"{self.url}/trace/{trace_id}"

    def api_link(self, trace_id: str) -> str:
        """A trace as JSON; works without the web UI."""
        return f"{self.url}/api/traces/{trace_id}"


def parse_trace(data: Mapping[str, Any]) -> Trace:
    """Read one element of Jaeger's `data` list."""
    spans = (_parse_span(span, data["processes"]) for span in data["spans"])
    return Trace(data["traceID"], tuple(sorted(spans, key=lambda span: (span.start_us, -span.duration_us))))


def _parse_span(span: Mapping[str, Any], processes: Mapping[str, Any]) -> SpanRecord:
    attributes = _attributes(span.get("tags") or ())
    process = processes[span["processID"]]
    return SpanRecord(
        trace_id=span["traceID"],
        span_id=span["spanID"],
        parent_id=_parent(span.get("references") or ()),
        name=span["operationName"],
        kind=str(attributes.get("span.kind", "internal")),
        service=process["serviceName"],
        start_us=span["startTime"],
        duration_us=span["duration"],
        failed=attributes.get("otel.status_code") == "ERROR" or attributes.get("error") is True,
        attributes=attributes,
        resource=_attributes(process.get("tags") or ()),
    )


def _attributes(tags: Iterable[Mapping[str, Any]]) -> dict[str, object]:
    return {tag["key"]: tag["value"] for tag in tags}


def _parent(references: Iterable[Mapping[str, Any]]) -> str | None:
    return next((each["spanID"] for each in references if each["refType"] == "CHILD_OF"), None)

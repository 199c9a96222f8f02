"""Log records out of Loki. Every LogQL expression that robin's own code asks stands here."""

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import httpx

from observability.signals import FAILED_STATUS, OBSERVABILITY_PREFIX, SERVICE_NAMESPACE, Attribute
from telemetry_queries.failures import json_of
from telemetry_queries.models import LogRecord
from telemetry_queries.sources import Source

_NANOSECONDS = 1_000_000_000
_LIMIT = 1000
_LABELS = "/loki/api/v1/labels"
# Keeps structured metadata apart from the labels; older servers ignore the header and merge both.
_HEADERS = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}


def by_correlation_id(correlation_id: str) -> str:
    """LogQL: all records of one request; structured metadata is filtered after the bar."""
    return f'{{service_namespace="{SERVICE_NAMESPACE}"}} | {Attribute.CORRELATION_ID}="{correlation_id}"'


def of_the_edge(*, failed: bool) -> str:
    """LogQL: nginx's lines of requests, but for those of whoever looks at telemetry; or of requests that failed."""
    selector = f'{{service_namespace="{SERVICE_NAMESPACE}", service_name="{Source.NGINX}"}}'
    errors = f" | context_data_status >= {FAILED_STATUS}" if failed else ""
    return f'{selector} | context_data_path!~"{OBSERVABILITY_PREFIX}/.*"{errors}'


class Loki:
    """Asks in LogQL."""

    name = "Loki"
    silence = ""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client = client
        self.url = url

    @staticmethod
    def answers(client: httpx.Client, url: str) -> bool:
        """Whether the server there is a Loki."""
        return _is_ok(client, f"{url}/loki/api/v1/status/buildinfo")

    def ping(self) -> None:
        """Raise unless it answers queries."""
        self._client.get(f"{self.url}{_LABELS}").raise_for_status()

    def find(self, correlation_id: str, *, since: float) -> list[LogRecord]:
        """Records of this correlation ID since a moment, oldest first."""
        return self._ask(by_correlation_id(correlation_id), since, limit=_LIMIT, direction="forward")

    def requests(self, *, since: float, limit: int, failed: bool) -> list[LogRecord]:
        """Nginx's lines of the newest requests since a moment, or of those that failed."""
        return self._ask(of_the_edge(failed=failed), since, limit=limit, direction="backward")

    def link(self, correlation_id: str) -> str:
        """The same records as JSON, of the last hour."""
        return f"{self.url}/loki/api/v1/query_range?{urlencode({'query': by_correlation_id(correlation_id)})}"

    def _ask(self, query: str, since: float, *, limit: int, direction: str) -> list[LogRecord]:
        parameters: dict[str, str | int] = {
            "query": query,
            "start": int(since * _NANOSECONDS),
            "end": int((time.time() + 60) * _NANOSECONDS),
            "limit": limit,
            "direction": direction,
        }
        answer = self._client.get(f"{self.url}/loki/api/v1/query_range", params=parameters, headers=_HEADERS)
        return sorted(parse(json_of(answer)), key=lambda record: record.time_ns)


def parse(answer: Mapping[str, Any]) -> Iterator[LogRecord]:
    """Read an answer of query_range in either form: metadata categorised, or merged into the stream's labels."""
    for stream in answer["data"]["result"]:
        for moment, line, *rest in stream["values"]:
            metadata = rest[0].get("structuredMetadata", {}) if rest else {}
            yield LogRecord.of(int(moment), line, {**stream["stream"], **metadata})


def logql_refusal(client: httpx.Client, url: str) -> str:
    """Say why a server that speaks Loki's API answers no LogQL: it has not implemented it. Else nothing."""
    try:
        answer = client.get(f"{url}{_LABELS}")
    except httpx.HTTPError:
        return ""
    if answer.status_code != httpx.codes.NOT_IMPLEMENTED:
        return ""
    return f"{url}{_LABELS} answers 501 Not Implemented: this server takes logs in and answers no LogQL"


class SilentLoki:
    """A server with Loki's API for writing only: what it stores cannot be asked for."""

    name = "Loki"

    def __init__(self, client: httpx.Client, url: str, silence: str) -> None:
        self._client = client
        self.url = url
        self.silence = silence

    def ping(self) -> None:
        """Raise unless it is ready to take logs in."""
        self._client.get(f"{self.url}/ready").raise_for_status()

    def find(self, correlation_id: str, *, since: float) -> list[LogRecord]:  # noqa: ARG002  a LogStore's signature
        """Nothing can be found."""
        return []

    def requests(self, *, since: float, limit: int, failed: bool) -> list[LogRecord]:  # noqa: ARG002  a LogStore's signature
        """Nothing can be found."""
        return []

    def link(self, correlation_id: str) -> str:  # noqa: ARG002  a LogStore's signature
        """Nothing can be shown either."""
        return self.silence


def _is_ok(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.HTTPError:
        return False

"""Log records out of VictoriaLogs. Every LogsQL expression that robin's own code asks stands here."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlencode

import httpx

from observability.signals import FAILED_STATUS, OBSERVABILITY_PREFIX, Attribute
from telemetry_queries.models import LogRecord
from telemetry_queries.sources import Source

_LIMIT = 1000


def by_correlation_id(correlation_id: str) -> str:
    """LogsQL: all records of one request."""
    return f'{Attribute.CORRELATION_ID}:="{correlation_id}"'


def of_the_edge(limit: int, *, failed: bool) -> str:
    """LogsQL: nginx's newest lines of requests, but for those of whoever looks at telemetry; or of requests that failed."""
    errors = f' "context_data.status":>={FAILED_STATUS}' if failed else ""
    chosen = f'"service.name":="{Source.NGINX}" !"context_data.path":="{OBSERVABILITY_PREFIX}/"*{errors}'
    return f"{chosen} | sort by (_time desc) limit {limit}"


class VictoriaLogs:
    """Asks in LogsQL."""

    name = "VictoriaLogs"
    silence = ""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client = client
        self.url = url

    @staticmethod
    def answers(client: httpx.Client, url: str) -> bool:
        """Whether the server there is a VictoriaLogs."""
        try:
            return _ask_anything(client, url).is_success
        except httpx.HTTPError:
            return False

    def ping(self) -> None:
        """Raise unless it answers queries."""
        _ask_anything(self._client, self.url).raise_for_status()

    def find(self, correlation_id: str, *, since: float) -> list[LogRecord]:
        """Records of this correlation ID since a moment, oldest first."""
        return self._ask(by_correlation_id(correlation_id), since, _LIMIT)

    def requests(self, *, since: float, limit: int, failed: bool) -> list[LogRecord]:
        """Nginx's lines of the newest requests since a moment, or of those that failed."""
        return self._ask(of_the_edge(limit, failed=failed), since, limit)

    def _ask(self, query: str, since: float, limit: int) -> list[LogRecord]:
        parameters: dict[str, str | float] = {
            "query": query,
            "start": since,
            "end": time.time() + 60,
            "limit": limit,
        }
        answer = self._client.get(f"{self.url}/select/logsql/query", params=parameters)
        answer.raise_for_status()
        return sorted(parse(answer.text), key=lambda record: record.time_ns)

    def link(self, correlation_id: str) -> str:
        """The same records in the web UI that VictoriaLogs brings along."""
        return f"{self.url}/select/vmui/#/?{urlencode({'query': by_correlation_id(correlation_id)})}"


def parse(answer: str) -> Iterator[LogRecord]:
    """Read an answer: one JSON object a line."""
    return (_record(json.loads(line)) for line in answer.splitlines() if line.strip())


def _record(stored: dict[str, str]) -> LogRecord:
    fields = {name.replace(".", "_"): value for name, value in stored.items()}
    return LogRecord.of(_nanoseconds(fields["_time"]), fields.get("_msg", ""), fields)


def _nanoseconds(moment: str) -> int:
    """Read RFC 3339 with up to nine digits of fraction, of which datetime keeps six."""
    whole, _, fraction = moment.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)


def _ask_anything(client: httpx.Client, url: str) -> httpx.Response:
    return client.get(f"{url}/select/logsql/query", params={"query": "*", "limit": 1, "start": "1m"})

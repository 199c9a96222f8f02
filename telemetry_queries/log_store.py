"""The log store behind one small door, whether it is Loki or VictoriaLogs."""

from collections.abc import Iterable
from typing import Protocol

import httpx

from telemetry_queries.loki import Loki, SilentLoki, logql_refusal
from telemetry_queries.models import LogRecord
from telemetry_queries.victorialogs import VictoriaLogs


class LogStore(Protocol):
    """Finds log records."""

    name: str
    url: str
    silence: str  # why it answers no queries; empty: it does

    def ping(self) -> None:
        """Raise unless it answers."""

    def find(self, correlation_id: str, *, since: float) -> list[LogRecord]:
        """Records of this correlation ID since a moment (unix seconds), oldest first."""

    def requests(self, *, since: float, limit: int, failed: bool) -> list[LogRecord]:
        """Nginx's lines of the newest requests since a moment, or of those that failed, in any order."""

    def link(self, correlation_id: str) -> str:
        """Address under which the same records are shown."""


class UnknownLogStoreError(Exception):
    """No address answers as a log store that is known here."""


def detect(client: httpx.Client, urls: Iterable[str]) -> LogStore:
    """Ask each address what it is; the first that answers queries is taken, else the first that only takes logs in."""
    addresses = tuple(urls)
    for url in addresses:
        for kind in (Loki, VictoriaLogs):
            if kind.answers(client, url):
                return kind(client, url)
    for url in addresses:
        if refusal := logql_refusal(client, url):
            return SilentLoki(client, url, refusal)
    raise UnknownLogStoreError(f"no Loki and no VictoriaLogs answers at {' or '.join(addresses)}")

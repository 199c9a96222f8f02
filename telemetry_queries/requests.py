"""The requests of a while as nginx wrote them down, refused ones included."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from observability.signals import FAILED_STATUS
from telemetry_queries.failures import describe
from telemetry_queries.log_store import LogStore
from telemetry_queries.models import LogRecord


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request as the load balancer saw it."""

    correlation_id: str
    time: float
    method: str
    path: str
    status: int
    duration_ms: float
    client_id: str
    failed: bool


@dataclass(frozen=True, slots=True)
class RecentRequests:
    """The newest requests first. `gaps` says why there may be more."""

    requests: tuple[RequestLine, ...]
    gaps: tuple[str, ...] = ()


def recent_requests(logs: LogStore, *, since: float, limit: int, failed: bool) -> RecentRequests:
    """Ask for the requests since a moment (unix seconds), or for those that were answered with an error."""
    if logs.silence:
        return RecentRequests((), (logs.silence,))
    try:
        records = logs.requests(since=since, limit=limit, failed=failed)
    except httpx.HTTPError as error:
        return RecentRequests((), (describe(error),))
    return RecentRequests(_newest_first(records)[:limit])


def _newest_first(records: Sequence[LogRecord]) -> tuple[RequestLine, ...]:
    ordered = sorted(records, key=lambda record: record.time_ns, reverse=True)
    return tuple(_request_line(record) for record in ordered)


def _request_line(record: LogRecord) -> RequestLine:
    fields = record.fields
    status = int(float(fields.get("context_data_status", "0")))
    return RequestLine(
        correlation_id=record.correlation_id,
        time=record.time_ns / 1e9,
        method=fields.get("context_data_method", ""),
        path=fields.get("context_data_path", ""),
        status=status,
        duration_ms=float(fields.get("context_data_duration", "0")) * 1000,
        client_id=fields.get("client_id", ""),
        failed=status >= FAILED_STATUS,
    )

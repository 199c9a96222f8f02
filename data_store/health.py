"""GET /health: does the database answer, are its tables there, and do requests get at it?"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import text

from access.roles import Permission
from access.routes import needs
from data_store.database import Database
from observability import Telemetry, run_checks
from observability.database import Connection, Statement
from observability.fields import Timestamp
from observability.health import Check, SingleFlight, overall, status_code
from observability.openapi import problems
from observability.signals import HealthStatus

DATABASE: Final = "database"
CONNECTION_POOL: Final = "connection_pool"
# Health is asked for every few seconds; somebody should see what happened between.
_EXHAUSTED_SECONDS: Final = 30.0
# Of the probe's own: it must find one even while requests hold all of theirs.
CONNECTIONS: Final = 1
TABLES: Final = ("document_metadata", "users", "clients")
# Asks the catalogue, not the tables: a probe is no work on documents and must not count as such. Users are only ever
# reached by functions.
_USABLE_TABLES: Final = Statement.of(
    text(
        "SELECT relname FROM pg_catalog.pg_class"
        " WHERE oid = ANY (SELECT to_regclass(name) FROM unnest(CAST(:names AS text[])) AS name)"
        " AND CASE relname WHEN 'users'"
        " THEN has_function_privilege(to_regprocedure('principal_by_key(text, bytea)'), 'EXECUTE')"
        " ELSE has_any_column_privilege(oid, 'SELECT') AND has_any_column_privilege(oid, 'INSERT') END"
    )
)


class DatabaseHealth(BaseModel):
    """State of the connection to PostgreSQL."""

    status: HealthStatus
    latency_ms: float | None


class PoolHealth(BaseModel):
    """State of the connections that requests use: degraded after one got none in time."""

    status: HealthStatus


class Health(BaseModel):
    """State of the service and of what it needs."""

    status: HealthStatus
    service: str
    timestamp: Timestamp
    database: DatabaseHealth
    connection_pool: PoolHealth
    tables: dict[str, HealthStatus]
    version: str


@dataclass(frozen=True, slots=True)
class _Probed:
    tables: frozenset[str]
    latency_ms: float


class DatabaseProbe:
    """Asks PostgreSQL on a connection of its own: requests that wait for the database do not keep it waiting."""

    def __init__(self, requests: Database, probes: Database) -> None:
        self._requests = requests
        self._probes = probes
        self._single = SingleFlight(self._ask)

    async def ask(self) -> _Probed:
        """Return the tables that can be used and how long the answer took; one question at a time is asked."""
        return await self._single()

    async def pool(self) -> HealthStatus:
        """Tell whether requests have got their connections of late."""
        exhausted_at = self._requests.telemetry.exhausted_at
        exhausted = exhausted_at is not None and time.monotonic() - exhausted_at < _EXHAUSTED_SECONDS
        return HealthStatus.DEGRADED if exhausted else HealthStatus.HEALTHY

    async def _ask(self) -> _Probed:
        started = time.perf_counter()

        def usable(connection: Connection) -> frozenset[str]:
            return frozenset(name for (name,) in connection.execute(_USABLE_TABLES, {"names": list(TABLES)}))

        tables = await self._probes.read(usable, tenant=None)
        return _Probed(tables, round((time.perf_counter() - started) * 1000, 3))


def _checks(answer: "asyncio.Task[_Probed]", pool: Check) -> Mapping[str, Check]:
    """Return a check for the pool, the database and each table; all but the first wait for the same answer."""

    async def database() -> HealthStatus:
        await asyncio.shield(answer)
        return HealthStatus.HEALTHY

    def table(name: str) -> Check:
        async def check() -> HealthStatus:
            usable = (await asyncio.shield(answer)).tables
            return HealthStatus.HEALTHY if name in usable else HealthStatus.UNHEALTHY

        return check

    return {CONNECTION_POOL: pool, DATABASE: database, **{name: table(name) for name in TABLES}}


def health_router(
    probe: DatabaseProbe, telemetry: Telemetry, *, service: str, version: str, deadline_seconds: float
) -> APIRouter:
    """Return the health endpoint on this probe."""
    router = APIRouter(tags=["health"])

    @router.get(
        "/health",
        responses={503: {"model": Health}, **problems(413)},
        openapi_extra=needs(Permission.PUBLIC),
    )
    async def health(response: Response) -> Health:
        """Say how the service is: 200 when it can serve, 503 when it cannot."""
        answer = asyncio.create_task(probe.ask())
        try:
            statuses = await run_checks(
                _checks(answer, probe.pool), telemetry, deadline_seconds=deadline_seconds
            )
        finally:
            answer.cancel()
        status = overall(statuses)
        response.status_code = status_code(status)
        return Health(
            status=status,
            service=service,
            timestamp=datetime.now(UTC),
            database=DatabaseHealth(status=statuses[DATABASE], latency_ms=_latency(answer)),
            connection_pool=PoolHealth(status=statuses[CONNECTION_POOL]),
            tables={name: statuses[name] for name in TABLES},
            version=version,
        )

    return router


def _latency(answer: "asyncio.Task[_Probed]") -> float | None:
    answered = answer.done() and not answer.cancelled() and answer.exception() is None
    return answer.result().latency_ms if answered else None

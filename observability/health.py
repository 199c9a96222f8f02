"""Health checks: side by side, each with a deadline, counted."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from observability.signals import HealthStatus
from observability.telemetry import Telemetry

logger = logging.getLogger(__name__)

OVERALL: Final = "overall"
Check = Callable[[], Awaitable[HealthStatus]]


async def run_checks(
    checks: Mapping[str, Check], telemetry: Telemetry, *, deadline_seconds: float
) -> dict[str, HealthStatus]:
    """Run every check at the same time and return each one's status; failing or late is unhealthy."""
    results = await asyncio.gather(
        *(_run(name, check, telemetry, deadline_seconds) for name, check in checks.items())
    )
    statuses = dict(zip(checks, results, strict=True))
    telemetry.metrics.health_checks(1, component=OVERALL, status=overall(statuses))
    return statuses


async def _run(name: str, check: Check, telemetry: Telemetry, deadline_seconds: float) -> HealthStatus:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(deadline_seconds):
            status = await check()
    except TimeoutError:
        logger.warning("Health check %s took longer than %s s", name, deadline_seconds)
        status = HealthStatus.UNHEALTHY
    except Exception as error:  # noqa: BLE001  whatever a component throws, it is unhealthy, and the answer says so
        logger.warning("Health check %s failed: %s", name, error)
        status = HealthStatus.UNHEALTHY
    telemetry.metrics.health_check_duration(time.perf_counter() - started, component=name)
    telemetry.metrics.health_checks(1, component=name, status=status)
    return status


def overall(statuses: Mapping[str, HealthStatus]) -> HealthStatus:
    """Return the worst status of all components."""
    order = [HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY]
    return max(statuses.values(), key=order.index, default=HealthStatus.HEALTHY)


def status_code(status: HealthStatus) -> int:
    """Return the HTTP status for a health: a degraded service still serves."""
    return 503 if status is HealthStatus.UNHEALTHY else 200

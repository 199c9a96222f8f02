"""Health checks: side by side, each with a deadline, counted."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from observability.exceptions import exception_text
from observability.signals import HealthStatus
from observability.telemetry import Telemetry

logger = logging.getLogger(__name__)

OVERALL: Final = "overall"
Check = Callable[[], Awaitable[HealthStatus]]
Answer = TypeVar("Answer")


class SingleFlight(Generic[Answer]):
    """Makes one call at a time: whoever asks while it runs gets its answer, however many ask and give up."""

    def __init__(self, call: Callable[[], Coroutine[None, None, Answer]]) -> None:
        self._call = call
        self._running: asyncio.Task[Answer] | None = None

    async def __call__(self) -> Answer:
        """Return the answer of the call that runs, else of a new one."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._call(), name="single-flight")
            self._running.add_done_callback(_heard)
        return await asyncio.shield(self._running)


def _heard(task: "asyncio.Task[Any]") -> None:
    """Take note of an exception that nobody waits for any more: each check has told it already."""
    if not task.cancelled():
        task.exception()


async def run_checks(
    checks: Mapping[str, Check], telemetry: Telemetry, *, deadline_seconds: float
) -> dict[str, HealthStatus]:
    """Run every check at the same time and return each one's status; failing or late is unhealthy."""
    results = await asyncio.gather(
        *(_run(name, check, telemetry, deadline_seconds) for name, check in checks.items())
    )
    statuses = {name: result.status for name, result in zip(checks, results, strict=True)}
    if problems := [
        f"{name} {result.problem}" for name, result in zip(checks, results, strict=True) if result.problem
    ]:
        logger.warning("Unhealthy: %s", "; ".join(problems))
    telemetry.metrics.health_checks(1, component=OVERALL, status=overall(statuses))
    return statuses


@dataclass(frozen=True, slots=True)
class _Result:
    status: HealthStatus
    problem: str = ""


async def _run(name: str, check: Check, telemetry: Telemetry, deadline_seconds: float) -> _Result:
    started = time.perf_counter()
    result = await _checked(check, deadline_seconds)
    telemetry.metrics.health_check_duration(time.perf_counter() - started, component=name)
    telemetry.metrics.health_checks(1, component=name, status=result.status)
    return result


async def _checked(check: Check, deadline_seconds: float) -> _Result:
    try:
        async with asyncio.timeout(deadline_seconds):
            return _Result(await check())
    except TimeoutError:
        return _Result(HealthStatus.UNHEALTHY, f"took longer than {deadline_seconds} s")
    except Exception as error:  # noqa: BLE001  whatever a component throws, it is unhealthy, and the answer says so
        return _Result(HealthStatus.UNHEALTHY, f"failed: {exception_text(error)}")


def overall(statuses: Mapping[str, HealthStatus]) -> HealthStatus:
    """Return the worst status of all components."""
    order = [HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY]
    return max(statuses.values(), key=order.index, default=HealthStatus.HEALTHY)


def status_code(status: HealthStatus) -> int:
    """Return the HTTP status for a health: a degraded service still serves."""
    return 503 if status is HealthStatus.UNHEALTHY else 200

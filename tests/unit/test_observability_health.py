"""Health checks run side by side, each with a deadline, and every result is counted."""

import asyncio
import errno
import gc
import time

import pytest

from observability import run_checks
from observability.health import SingleFlight, overall, status_code
from observability.signals import HEALTH_CHECK_DURATION, HEALTH_CHECKS, HealthStatus
from tests.telemetry_spy import TelemetrySpy


async def healthy() -> HealthStatus:
    """Be well."""
    return HealthStatus.HEALTHY


async def degraded() -> HealthStatus:
    """Be so-so."""
    return HealthStatus.DEGRADED


async def failing() -> HealthStatus:
    """Be ill."""
    raise OSError(errno.EIO, "disk on fire", "/documents/acme")


async def hanging() -> HealthStatus:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_check_that_fails_is_unhealthy_and_says_why(telemetry: TelemetrySpy) -> None:
    """The reason is a WARNING; the answer carries only the status."""
    statuses = await run_checks({"disk": failing}, telemetry.telemetry, deadline_seconds=1)

    assert statuses == {"disk": "unhealthy"}
    assert telemetry.messages("WARN") == ["Unhealthy: disk failed: OSError: EIO: Input/output error"]


async def test_a_check_that_hangs_is_unhealthy_after_its_deadline(telemetry: TelemetrySpy) -> None:
    """The health endpoint itself always answers."""
    begun = time.perf_counter()
    statuses = await run_checks(
        {"store": hanging, "disk": healthy}, telemetry.telemetry, deadline_seconds=0.01
    )

    assert statuses == {"store": "unhealthy", "disk": "healthy"}
    assert telemetry.messages("WARN") == ["Unhealthy: store took longer than 0.01 s"]
    assert time.perf_counter() - begun < 1


async def test_checks_run_side_by_side(telemetry: TelemetrySpy) -> None:
    """Two hanging components cost one deadline."""
    meeting = asyncio.Barrier(2)

    async def meets() -> HealthStatus:
        await meeting.wait()
        return HealthStatus.HEALTHY

    statuses = await run_checks({"a": meets, "b": meets}, telemetry.telemetry, deadline_seconds=5)

    assert set(statuses.values()) == {"healthy"}


async def test_every_result_and_the_whole_are_counted(telemetry: TelemetrySpy) -> None:
    """`overall` is a component, too; durations are the components' own."""
    begun = time.perf_counter()
    await run_checks({"a": healthy, "b": degraded}, telemetry.telemetry, deadline_seconds=1)

    assert telemetry.series(HEALTH_CHECKS) == {
        ("a", "healthy"): 1,
        ("b", "degraded"): 1,
        ("overall", "degraded"): 1,
    }
    assert telemetry.series(HEALTH_CHECK_DURATION) == {("a",): 1, ("b",): 1}
    assert time.perf_counter() - begun < 1


async def test_cancelling_the_request_cancels_the_checks(telemetry: TelemetrySpy) -> None:
    """A cancelled probe is not counted as an unhealthy component."""
    task = asyncio.create_task(run_checks({"store": hanging}, telemetry.telemetry, deadline_seconds=60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert telemetry.series(HEALTH_CHECKS) == {}


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "healthy"),
        (["healthy"], "healthy"),
        (["healthy", "degraded"], "degraded"),
        (["unhealthy", "degraded", "healthy"], "unhealthy"),
    ],
)
def test_the_whole_is_as_well_as_its_worst_part(statuses: list[str], expected: str) -> None:
    """Whatever the order."""
    parts = {str(number): HealthStatus(status) for number, status in enumerate(statuses)}
    assert overall(parts) == expected


@pytest.mark.parametrize(("status", "code"), [("healthy", 200), ("degraded", 200), ("unhealthy", 503)])
def test_only_unhealthy_takes_the_service_out(status: str, code: int) -> None:
    """A degraded service still serves."""
    assert status_code(HealthStatus(status)) == code


async def test_many_who_ask_at_once_share_one_call() -> None:
    """Also when the first of them gives up: a slow component is not asked again while it is being asked."""
    calls = 0
    answered = asyncio.Event()

    async def slow() -> str:
        nonlocal calls
        calls += 1
        await answered.wait()
        return f"answer {calls}"

    ask = SingleFlight(slow)
    gives_up = asyncio.create_task(ask())
    waits = asyncio.create_task(ask())
    await asyncio.sleep(0)
    gives_up.cancel()
    await asyncio.sleep(0)
    late = asyncio.create_task(ask())
    await asyncio.sleep(0)
    answered.set()

    assert [await waits, await late] == ["answer 1", "answer 1"]
    assert await ask() == "answer 2"


async def test_a_failure_that_nobody_waits_for_is_no_complaint_of_the_event_loop() -> None:
    """Everybody who asked had given up before the call failed."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    failed = asyncio.Event()

    async def fails() -> None:
        await failed.wait()
        raise OSError

    asker = asyncio.create_task(SingleFlight(fails)())
    await asyncio.sleep(0)
    asker.cancel()
    failed.set()
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()

    assert complaints == []

"""What runs beside the requests of a process: how late the event loop is, and other work in the background."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from observability.signals import EVENT_LOOP_LAG
from observability.telemetry import Telemetry

_INTERVAL_SECONDS: Final = 0.25


class _LoopLag:
    """Worst lag since it was last read."""

    def __init__(self) -> None:
        self._worst = 0.0

    def read(self) -> list[tuple[float, dict[str, str]]]:
        worst, self._worst = self._worst, 0.0
        return [(worst, {})]

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _INTERVAL_SECONDS
            await asyncio.sleep(_INTERVAL_SECONDS)
            self._worst = max(self._worst, loop.time() - due)


@asynccontextmanager
async def watched_event_loop(telemetry: Telemetry) -> AsyncIterator[None]:
    """Report the lag of the running event loop while the block runs."""
    lag = _LoopLag()
    telemetry.metrics.observe(EVENT_LOOP_LAG, lag.read)
    async with in_background(lag.watch()):
        yield


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let something be done beside the block, and end it with the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

"""Turns: when more is wanted than can be done at once, whoever wants little does not wait behind whoever wants much."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from observability.admission import set_aside

LONGEST_LINE: Final = 100
LONGEST_WAIT_SECONDS: Final = 5.0


class LineFullError(Exception):
    """Too many of this name wait already."""


class NoTurnError(Exception):
    """The turn did not come in time."""


class Turns:
    """Lets so many work at once. Others wait, each name's in a line of its own, and the lines have turns."""

    def __init__(self, at_once: int, *, bounded: bool = True) -> None:
        self._bounded = bounded
        self._free = at_once  # with somebody waiting there is none
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, name: str, *, wait_seconds: float = LONGEST_WAIT_SECONDS) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends; raises LineFullError, NoTurnError."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(name, wait_seconds)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, name: str, seconds: float) -> None:
        line = self._lines.setdefault(name, deque())
        if self._bounded and len(line) >= LONGEST_LINE:
            raise LineFullError
        called = asyncio.get_running_loop().create_future()
        line.append(called)
        try:
            async with asyncio.timeout(seconds):
                await self._called(called)
        except TimeoutError as error:
            self._leave(name, called)
            raise NoTurnError from error

    async def _called(self, called: asyncio.Future[None]) -> None:
        try:
            with set_aside():
                await called
        except asyncio.CancelledError:
            if not called.cancelled():  # called, and gone away before he came
                self._pass_on()
            raise

    def _leave(self, name: str, called: asyncio.Future[None]) -> None:
        """Make room in the line for those who still wait."""
        line = self._lines.get(name)
        if line is not None and called in line:
            line.remove(called)
            if not line:
                del self._lines[name]

    def _pass_on(self) -> None:
        """Call the first of the line that has waited longest for its turn, and put that line last."""
        while self._lines:
            name, line = self._lines.popitem(last=False)
            called = line.popleft()
            if line:
                self._lines[name] = line
            if not called.done():  # else he has gone away
                called.set_result(None)
                return
        self._free += 1

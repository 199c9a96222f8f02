"""Threads for work that waits for something outside, from an event loop."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Self, TypeVar

Result = TypeVar("Result")


class NoThread(Exception):  # noqa: N818  what there was, in the words of those who catch it
    """No thread was free in time, or too many wait for one; the work has not begun and never will."""


class Overdue(Exception):  # noqa: N818  it says so itself
    """The work has begun, and taken longer than it may; nobody waits for it any more."""


class _Job:
    """A piece of work whose turn comes once: for a thread to do it, or for whoever asked to give it up."""

    __slots__ = ("_context", "_loop", "_turn", "_work", "done", "timer")

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._turn = Lock()
        self.done: asyncio.Future[Any] = self._loop.create_future()
        self.timer: asyncio.TimerHandle | None = None

    def take_turn(self) -> bool:
        """Return whether the work had not been taken or given up before."""
        return self._turn.acquire(blocking=False)

    def fail(self, error: Exception) -> None:
        """Let whoever asked know that nothing comes of it, if anybody still does."""
        if not self.done.done():
            self.done.set_exception(error)

    def run(self) -> None:
        """Do the work, in the context of whoever asked; called in a thread."""
        result, error = None, None
        try:
            result = self._context.run(self._work)
        except BaseException as raised:  # noqa: BLE001  whatever it is, it belongs to whoever asked
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(self._tell, result, error)

    def stop_timer(self) -> None:
        """Leave the work to itself."""
        if self.timer is not None:
            self.timer.cancel()

    def _tell(self, result: object, error: BaseException | None) -> None:
        self.stop_timer()
        if self.done.done():
            return  # cancelled or overdue meanwhile
        if error is None:
            self.done.set_result(result)
        else:
            self.done.set_exception(error)


class Threads:
    """So many threads, which do work in the order in which it came; to be used as a context manager.

    Work waits for a thread no longer than it has patience, in a line that is no longer than `most_waiting`, and may then
    last `work_seconds`. An executor of the standard library costs 30 us of CPU more for each call, and does not tell how
    long work waited.
    """

    def __init__(
        self, number: int, *, patience_seconds: float, work_seconds: float, most_waiting: int
    ) -> None:
        self._number = number
        self._patience_seconds = patience_seconds
        self._work_seconds = work_seconds
        self._most_waiting = most_waiting
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()

    def __enter__(self) -> Self:
        for number in range(self._number):
            Thread(target=self._serve, name=f"database-{number}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let the threads end, each after what it does now."""
        for _number in range(self._number):
            self._jobs.put(None)

    async def run(self, work: Callable[[], Result], *, interrupt: Callable[[], bool]) -> Result:
        """Do the work in a thread; raises NoThread when none was free in time.

        Work that lasts too long is interrupted; where that says that it cannot, Overdue is raised. Who is cancelled leaves:
        work that has begun goes on, no longer than it may, and its thread is not free before it ends.
        """
        if self._jobs.qsize() >= self._most_waiting:
            raise NoThread
        job = _Job(work)
        self._jobs.put(job)
        job.timer = asyncio.get_running_loop().call_later(
            self._patience_seconds, self._lose_patience, job, interrupt
        )
        try:
            result: Result = await job.done
        except asyncio.CancelledError:
            if job.take_turn():
                job.stop_timer()
            raise
        return result

    def _lose_patience(self, job: _Job, interrupt: Callable[[], bool]) -> None:
        """Give up work that has not begun; what has, may go on for a while."""
        if job.take_turn():
            job.fail(NoThread())
        else:
            loop = asyncio.get_running_loop()
            job.timer = loop.call_later(self._work_seconds, self._end, job, interrupt)

    @staticmethod
    def _end(job: _Job, interrupt: Callable[[], bool]) -> None:
        if not interrupt():
            job.fail(Overdue())

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.take_turn():
                job.run()
            del job  # holds what the work returned

"""Work in threads: in the order in which it came, or not at all."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar

import pytest

from data_store.threads import NoThread, Overdue, Threads

SECONDS = 10
WHO: ContextVar[str] = ContextVar("who", default="nobody")


Result = TypeVar("Result")


def threads_of(
    number: int, *, patience_seconds: float = SECONDS, work_seconds: float = SECONDS, most_waiting: int = 100
) -> Threads:
    """Return threads that are in no hurry, unless told."""
    return Threads(
        number, patience_seconds=patience_seconds, work_seconds=work_seconds, most_waiting=most_waiting
    )


async def run_in(threads: Threads, work: Callable[[], Result]) -> Result:
    """Do work that nothing can interrupt."""
    return await threads.run(work, interrupt=lambda: False)


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    """Set at the end: whatever a test leaves in a thread ends there."""
    event = threading.Event()
    yield event
    event.set()


async def test_work_is_done_in_a_thread_in_the_context_of_whoever_asked() -> None:
    """Spans and log lines of the work belong to the request."""
    WHO.set("asker")
    with threads_of(1) as threads:
        assert await run_in(threads, lambda: (WHO.get(), threading.current_thread().name)) == (
            "asker",
            "database-0",
        )


async def test_what_the_work_raises_reaches_whoever_asked_and_the_thread_goes_on() -> None:
    """A failure costs no thread."""
    with threads_of(1) as threads:
        with pytest.raises(ZeroDivisionError):
            await run_in(threads, lambda: 1 / 0)
        assert await run_in(threads, lambda: "still here") == "still here"


async def test_as_much_work_is_done_at_once_as_there_are_threads() -> None:
    """Each waits until the other is there, too."""
    together = threading.Barrier(2)
    with threads_of(2) as threads:
        both = await asyncio.gather(*(run_in(threads, lambda: together.wait(SECONDS)) for _ in range(2)))
    assert sorted(both) == [0, 1]


async def test_work_that_finds_no_thread_in_time_is_given_up_and_never_done(let_go: threading.Event) -> None:
    """What has begun is not given up, however long it takes."""
    done: list[str] = []
    with threads_of(1, patience_seconds=0.05) as threads:
        begun = threading.Event()

        def long() -> str:
            begun.set()
            let_go.wait(SECONDS)
            return "long"

        running = asyncio.create_task(run_in(threads, long))
        assert await asyncio.to_thread(begun.wait, SECONDS)
        with pytest.raises(NoThread):
            await run_in(threads, lambda: done.append("late"))
        let_go.set()
        assert await running == "long"
        await run_in(threads, lambda: done.append("next"))
    assert done == ["next"]


async def test_work_of_somebody_who_has_left_is_not_begun(let_go: threading.Event) -> None:
    """A request that was cancelled while it waited leaves nothing to do."""
    done: list[str] = []
    with threads_of(1) as threads:
        running = asyncio.create_task(run_in(threads, lambda: let_go.wait(SECONDS)))
        left = asyncio.create_task(run_in(threads, lambda: done.append("left")))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.wait([left])
        let_go.set()
        assert await running is True
        await run_in(threads, lambda: done.append("next"))
    assert done == ["next"]


async def test_a_line_that_is_full_takes_nobody_in(let_go: threading.Event) -> None:
    """Whoever would wait in vain is told at once; the line itself is served."""
    with threads_of(1, most_waiting=2) as threads:
        begun = threading.Event()
        running = asyncio.create_task(run_in(threads, lambda: (begun.set(), let_go.wait(SECONDS))))
        assert await asyncio.to_thread(begun.wait, SECONDS)
        waiting = [asyncio.create_task(run_in(threads, lambda: "served")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(NoThread):
            await run_in(threads, lambda: "not served")
        let_go.set()
        await running
        assert await asyncio.gather(*waiting) == ["served", "served"]
        assert await run_in(threads, lambda: "served again") == "served again"


async def test_work_that_lasts_too_long_is_interrupted_and_tells_how_it_ended(
    let_go: threading.Event,
) -> None:
    """Who interrupts says that something will come of it: that is waited for."""
    with threads_of(1, patience_seconds=0.01, work_seconds=0.01) as threads:

        def interrupt() -> bool:
            let_go.set()
            return True

        assert await threads.run(lambda: let_go.wait(SECONDS), interrupt=interrupt) is True


async def test_work_that_cannot_be_interrupted_is_waited_for_no_longer(let_go: threading.Event) -> None:
    """Whoever asked is told in time; the thread ends when it can."""
    with threads_of(1, patience_seconds=0.01, work_seconds=0.01) as threads:
        with pytest.raises(Overdue):
            await run_in(threads, lambda: let_go.wait(SECONDS))
        let_go.set()


async def test_work_of_somebody_who_has_left_is_interrupted_as_well(let_go: threading.Event) -> None:
    """Else its thread would be lost for as long as the work likes."""
    with threads_of(1, patience_seconds=0.05, work_seconds=0.05) as threads:
        begun, interrupted = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            let_go.wait(SECONDS)

        def interrupt() -> bool:
            interrupted.set()
            return True

        left = asyncio.create_task(threads.run(work, interrupt=interrupt))
        assert await asyncio.to_thread(begun.wait, SECONDS)
        left.cancel()
        await asyncio.wait([left])
        assert await asyncio.to_thread(interrupted.wait, SECONDS)

"""Work in threads: in the order in which it came, or not at all."""

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from data_store.threads import NoThread, Threads

SECONDS = 10
WHO: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    """Set at the end: whatever a test leaves in a thread ends there."""
    event = threading.Event()
    yield event
    event.set()


async def test_work_is_done_in_a_thread_in_the_context_of_whoever_asked() -> None:
    """Spans and log lines of the work belong to the request."""
    WHO.set("asker")
    with Threads(1, patience_seconds=SECONDS) as threads:
        assert await threads.run(lambda: (WHO.get(), threading.current_thread().name)) == (
            "asker",
            "database-0",
        )


async def test_what_the_work_raises_reaches_whoever_asked_and_the_thread_goes_on() -> None:
    """A failure costs no thread."""
    with Threads(1, patience_seconds=SECONDS) as threads:
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 / 0)
        assert await threads.run(lambda: "still here") == "still here"


async def test_as_much_work_is_done_at_once_as_there_are_threads() -> None:
    """Each waits until the other is there, too."""
    together = threading.Barrier(2)
    with Threads(2, patience_seconds=SECONDS) as threads:
        both = await asyncio.gather(*(threads.run(lambda: together.wait(SECONDS)) for _ in range(2)))
    assert sorted(both) == [0, 1]


async def test_work_that_finds_no_thread_in_time_is_given_up_and_never_done(let_go: threading.Event) -> None:
    """What has begun is not given up, however long it takes."""
    done: list[str] = []
    with Threads(1, patience_seconds=0.05) as threads:
        begun = threading.Event()

        def long() -> str:
            begun.set()
            let_go.wait(SECONDS)
            return "long"

        running = asyncio.create_task(threads.run(long))
        assert await asyncio.to_thread(begun.wait, SECONDS)
        with pytest.raises(NoThread):
            await threads.run(lambda: done.append("late"))
        let_go.set()
        assert await running == "long"
        await threads.run(lambda: done.append("next"))
    assert done == ["next"]


async def test_work_of_somebody_who_has_left_is_not_begun(let_go: threading.Event) -> None:
    """A request that was cancelled while it waited leaves nothing to do."""
    done: list[str] = []
    with Threads(1, patience_seconds=SECONDS) as threads:
        running = asyncio.create_task(threads.run(lambda: let_go.wait(SECONDS)))
        left = asyncio.create_task(threads.run(lambda: done.append("left")))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.wait([left])
        let_go.set()
        assert await running is True
        await threads.run(lambda: done.append("next"))
    assert done == ["next"]

"""Looks after what killed processes left in the storage: bytes of a stored record stay, all others go."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from anyio.to_thread import run_sync

from document_api.documents.storage import FileStorage, Leftover
from document_api.documents.store_client import StoreClient
from observability import Problem, Telemetry
from observability.context import RequestContext, accept_correlation_id, enter_request
from observability.runtime import in_background
from observability.signals import Span, Swept

logger = logging.getLogger(__name__)

# As many as the data store is asked about at once.
_BATCH: Final = 1000


class Sweeper:
    """Sweeps one storage; several instances may sweep the same one at the same time."""

    def __init__(self, storage: FileStorage, store: StoreClient, telemetry: Telemetry) -> None:
        self._storage = storage
        self._store = store
        self._telemetry = telemetry

    async def sweep(self) -> Counter[Swept]:
        """Settle every leftover and return what became of them; raises OSError, and Problem for the data store."""
        swept: Counter[Swept] = Counter()
        leftovers = await run_sync(self._storage.leftovers)
        for start in range(0, len(leftovers), _BATCH):
            batch = leftovers[start : start + _BATCH]
            with self._telemetry.step(Span.SWEEP_LEFTOVERS, outcome=True):
                swept += await self._settle(batch)
        return swept

    async def remove_contents(self) -> int:
        """Remove the bytes that no document has any more and return how many; raises as `sweep` does."""
        removed = 0
        with self._telemetry.step(Span.REMOVE_CONTENTS, outcome=True):
            while keys := await self._store.removed_storage_keys():
                failures = {key: await self._failure(partial(self._storage.remove, key)) for key in keys}
                gone = [key for key, failure in failures.items() if failure is None]
                await self._store.forget_storage_keys(gone)
                self._telemetry.metrics.contents_removed(len(gone))
                removed += len(gone)
                if len(gone) < len(keys):
                    _tell(failures.values())
                    break  # those that stay would come first again
        return removed

    async def _failure(self, work: Callable[[], None]) -> OSError | None:
        """Do it and return why it failed; raises OSError where the storage is away, and all else would fail as well."""
        try:
            await run_sync(work)
        except OSError as error:
            await self._storage.check_shelf()
            return error
        return None

    async def _settle(self, batch: Sequence[Leftover]) -> Counter[Swept]:
        keys = [leftover.key for leftover in batch if leftover.key is not None]
        known = await self._store.known_storage_keys(keys) if keys else frozenset()
        swept: Counter[Swept] = Counter()
        failures = []
        for leftover in batch:
            outcome = _outcome(leftover, known)
            settle = partial(self._storage.settle, leftover, stored=outcome is Swept.STORED)
            failures.append(await self._failure(settle))
            if failures[-1] is not None:
                continue
            self._telemetry.metrics.storage_leftovers(1, outcome=outcome)
            swept[outcome] += 1
        _tell(failures)
        return swept


def _outcome(leftover: Leftover, known: frozenset[str]) -> Swept:
    if leftover.key is None:
        return Swept.UNFINISHED
    return Swept.STORED if leftover.key in known else Swept.ORPHAN


def _tell(failures: Iterable[OSError | None]) -> None:
    """Say how much stays, and why the first of it does."""
    found = [failure for failure in failures if failure is not None]
    if found:
        logger.warning("Bytes could not be removed, %s in all: %s", len(found), found[0])


@asynccontextmanager
async def swept(sweeper: Sweeper, *, every_seconds: float) -> AsyncIterator[None]:
    """Sweep now and every so often, until the block ends."""
    async with in_background(_again_and_again(sweeper, every_seconds)):
        yield


async def _again_and_again(sweeper: Sweeper, every_seconds: float) -> None:
    await _tried(_sweep(sweeper))
    while True:
        await asyncio.sleep(every_seconds)
        await _tried(_sweep(sweeper))
        await _tried(_remove_contents(sweeper))


async def _tried(work: Coroutine[Any, Any, None]) -> None:
    """Do it under an ID of its own; what cannot be done now is found again next time."""
    enter_request(RequestContext(accept_correlation_id(None)))
    try:
        await work
    except (OSError, Problem) as error:
        logger.warning("The storage could not be swept: %s", error)
    except Exception:
        logger.exception("The storage could not be swept")


async def _sweep(sweeper: Sweeper) -> None:
    swept = await sweeper.sweep()
    if swept:
        counts = {outcome.value: swept[outcome] for outcome in Swept}
        logger.info("Leftovers of the storage swept", extra={"context_data": counts})


async def _remove_contents(sweeper: Sweeper) -> None:
    removed = await sweeper.remove_contents()
    if removed:
        logger.info("Contents without a document removed", extra={"context_data": {"removed": removed}})

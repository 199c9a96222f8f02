"""Looks after what killed processes left in the storage: bytes of a stored record stay, all others go."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

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

    async def _settle(self, batch: Sequence[Leftover]) -> Counter[Swept]:
        keys = [leftover.key for leftover in batch if leftover.key is not None]
        known = await self._store.known_storage_keys(keys) if keys else frozenset()
        swept: Counter[Swept] = Counter()
        for leftover in batch:
            outcome = _outcome(leftover, known)
            await run_sync(partial(self._storage.settle, leftover, stored=outcome is Swept.STORED))
            self._telemetry.metrics.storage_leftovers(1, outcome=outcome)
            swept[outcome] += 1
        return swept


def _outcome(leftover: Leftover, known: frozenset[str]) -> Swept:
    if leftover.key is None:
        return Swept.UNFINISHED
    return Swept.STORED if leftover.key in known else Swept.ORPHAN


@asynccontextmanager
async def swept(sweeper: Sweeper, *, every_seconds: float) -> AsyncIterator[None]:
    """Sweep now and every so often, until the block ends."""
    async with in_background(_again_and_again(sweeper, every_seconds)):
        yield


async def _again_and_again(sweeper: Sweeper, every_seconds: float) -> None:
    while True:
        await _once(sweeper)
        await asyncio.sleep(every_seconds)


async def _once(sweeper: Sweeper) -> None:
    """Sweep, and say what came of it under an ID of its own; what cannot be settled now is found again next time."""
    enter_request(RequestContext(accept_correlation_id(None)))
    try:
        swept = await sweeper.sweep()
    except (OSError, Problem) as error:
        logger.warning("Leftovers of the storage could not be swept: %s", error)
        return
    except Exception:
        logger.exception("Leftovers of the storage could not be swept")
        return
    if swept:
        counts = {outcome.value: swept[outcome] for outcome in Swept}
        logger.info("Leftovers of the storage swept", extra={"context_data": counts})

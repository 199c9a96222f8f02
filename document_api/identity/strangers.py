"""Credentials that were not valid here lately: guessing and flooding with them takes little from everybody else."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from document_api.documents.store_client import Known
from document_api.identity.limits import TooManyRequests
from document_api.turns import LineFullError, NoTurnError, Turns
from observability import Unavailable
from observability.admission import set_aside

# The data store has other things to do.
_ASKED_AT_ONCE: Final = 2
# How long a refusal takes: it is not free, and whoever waits for it cannot ask meanwhile. Less than what counts as slow.
_HELD_SECONDS: Final = 0.5


class Strangers:
    """Asks about few of them at once, and about none of an address that has just shown too many wrong ones."""

    def __init__(self, wrong_per_second: int | None) -> None:
        self._rate = RateLimitItemPerSecond(wrong_per_second) if wrong_per_second else None
        self._wrong = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._turns = Turns(_ASKED_AT_ONCE)

    async def known(self, address: str, ask: Callable[[], Awaitable[Known]]) -> Known:
        """Ask about one as soon as it is its turn; raises TooManyRequests (429), late, or Unavailable (503)."""
        try:
            async with self._turns.turn(address):
                if self._rate is None or self._wrong.test(self._rate, address):
                    known = await ask()
                    if known.user is None and self._rate is not None:
                        self._wrong.hit(self._rate, address)
                    return known
        except NoTurnError as error:
            raise Unavailable("Too many ask who they are; try again.", retry_after_seconds=1) from error
        except LineFullError:
            pass
        raise await self._refusal()

    async def count_wrong(self, address: str) -> None:
        """Count one that is wrong without asking; raises TooManyRequests (429), late, for one too many."""
        if self._rate is not None and not self._wrong.hit(self._rate, address):
            raise await self._refusal()

    async def _refusal(self) -> TooManyRequests:
        with set_aside():
            await asyncio.sleep(_HELD_SECONDS)
        return TooManyRequests("Too many credentials that are not valid came from this address.")

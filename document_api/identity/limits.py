"""What each client may take of a service: requests a second, uploads at once, and its turns."""

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum, auto
from typing import Final

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from document_api.labels import BoundedLabel
from document_api.turns import LineFullError, NoTurnError, Turns
from observability import Problem, Telemetry, Unavailable

# In reads: one machine does some 770 of those a second, and 310 uploads (docs/performance.md).
UPLOAD_COST: Final = 2


class TooManyRequests(Problem):
    """Somebody is over a limit (RFC 6585, 4)."""

    status = 429

    def __init__(self, detail: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


class Work(Enum):
    """What is done for clients, each with turns of its own: a read does not wait for a disk."""

    FILE = auto()
    RECORD = auto()


class TenantLimits:
    """Counts what each client does in this process, and lets them have turns; None is no limit."""

    def __init__(
        self,
        label: BoundedLabel,
        telemetry: Telemetry,
        *,
        requests_per_second: int | None,
        requests_at_once: int | None,
        concurrent_uploads: int | None,
    ) -> None:
        self._rate = RateLimitItemPerSecond(requests_per_second) if requests_per_second else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._turns = {work: Turns(requests_at_once) for work in Work} if requests_at_once else None
        self._concurrent_uploads = concurrent_uploads
        self._uploads: Counter[str] = Counter()
        self._label = label
        self._telemetry = telemetry

    def count_request(self, client_id: str, *, upload: bool) -> None:
        """Count a request; raises TooManyRequests (429) for one too many."""
        if self._rate is None:
            return
        cost = min(UPLOAD_COST, self._rate.amount) if upload else 1
        if self._limiter.hit(self._rate, client_id, cost=cost):
            return
        wait = self._limiter.get_window_stats(self._rate, client_id).reset_time - time.time()
        self._refuse(
            client_id,
            "requests",
            f"The client may send {self._rate.amount} requests a second; an upload counts as {UPLOAD_COST}.",
            retry_after_seconds=max(1, math.ceil(wait)),
        )

    @asynccontextmanager
    async def turn(self, client_id: str, work: Work) -> AsyncIterator[None]:
        """Wait until it is this client's turn to have such work done, and have it until the block ends.

        All clients that wait have turns, however much one of them wants. Raises TooManyRequests (429) when too many
        requests of this one wait, Unavailable (503) when the turn does not come in time.
        """
        if self._turns is None:
            yield
            return
        try:
            async with self._turns[work].turn(client_id):
                yield
        except LineFullError:
            self._refuse(client_id, "requests", "Too many requests of the client wait already.")
        except NoTurnError as error:
            raise Unavailable("Too many requests wait already; try again.", retry_after_seconds=1) from error

    @contextmanager
    def uploading(self, client_id: str) -> Iterator[None]:
        """Count an upload as long as it lasts; raises TooManyRequests (429) for one too many at once."""
        if self._concurrent_uploads is not None and self._uploads[client_id] >= self._concurrent_uploads:
            self._refuse(
                client_id, "uploads", f"The client may upload {self._concurrent_uploads} documents at once."
            )
        self._uploads[client_id] += 1
        try:
            yield
        finally:
            self._uploads[client_id] -= 1
            if not self._uploads[client_id]:
                del self._uploads[client_id]

    def _refuse(self, client_id: str, limit: str, detail: str, *, retry_after_seconds: int = 1) -> None:
        self._telemetry.metrics.tenant_limit_exceeded(1, client=self._label.of(client_id), limit=limit)
        raise TooManyRequests(detail, retry_after_seconds=retry_after_seconds)

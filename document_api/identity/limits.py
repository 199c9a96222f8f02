"""What each client may take of a service: requests a second, and uploads at once."""

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from document_api.labels import BoundedLabel
from observability import Problem, Telemetry


class TooManyRequests(Problem):
    """A client is over one of its limits (RFC 6585, 4)."""

    status = 429

    def __init__(self, detail: str, *, retry_after_seconds: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


class TenantLimits:
    """Counts what each client does in this process; None is no limit."""

    def __init__(
        self,
        requests_per_second: int | None,
        concurrent_uploads: int | None,
        label: BoundedLabel,
        telemetry: Telemetry,
    ) -> None:
        self._rate = RateLimitItemPerSecond(requests_per_second) if requests_per_second else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._concurrent_uploads = concurrent_uploads
        self._uploads: Counter[str] = Counter()
        self._label = label
        self._telemetry = telemetry

    def count_request(self, client_id: str) -> None:
        """Count a request; raises TooManyRequests (429) for one too many."""
        if self._rate is None or self._limiter.hit(self._rate, client_id):
            return
        wait = self._limiter.get_window_stats(self._rate, client_id).reset_time - time.time()
        self._refuse(
            client_id,
            "requests",
            f"The client may send {self._rate.amount} requests a second.",
            retry_after_seconds=max(1, math.ceil(wait)),
        )

    @contextmanager
    def uploading(self, client_id: str) -> Iterator[None]:
        """Count an upload as long as it lasts; raises TooManyRequests (429) for one too many at once."""
        if self._concurrent_uploads is not None and self._uploads[client_id] >= self._concurrent_uploads:
            self._refuse(
                client_id,
                "uploads",
                f"The client may upload {self._concurrent_uploads} documents at once.",
                retry_after_seconds=1,
            )
        self._uploads[client_id] += 1
        try:
            yield
        finally:
            self._uploads[client_id] -= 1
            if not self._uploads[client_id]:
                del self._uploads[client_id]

    def _refuse(self, client_id: str, limit: str, detail: str, *, retry_after_seconds: int) -> None:
        self._telemetry.metrics.tenant_limit_exceeded(1, client=self._label.of(client_id), limit=limit)
        raise TooManyRequests(detail, retry_after_seconds=retry_after_seconds)

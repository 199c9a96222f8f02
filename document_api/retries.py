"""When a call is made again: after a pause of random length, and not more often than a budget allows."""

import random
from typing import Final

_FIRST_SECONDS: Final = 0.1
_LONGEST_SECONDS: Final = 2.0
# As many as Finagle and the AWS SDKs start with: a short fault is mended, a long one does not make a flood.
_MOST: Final = 100.0
_SHARE: Final = 0.2


class RetryBudget:
    """Allows a hundred retries, and then as many as a fifth of the calls."""

    def __init__(self) -> None:
        self._left = _MOST

    def earn(self) -> None:
        """Count a call."""
        self._left = min(_MOST, self._left + _SHARE)

    def spend(self) -> bool:
        """Take a retry; False where none is left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


def pause_seconds(resend: int) -> float:
    """Return how long to wait before the first, second ... time that a call is made again.

    Exponential with full jitter: those who failed together do not come again together.
    """
    longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** (resend - 1))
    return random.uniform(0, longest)  # noqa: S311  no secret

"""The longest body that is read."""

from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from observability.problems import problem_response

# The longest record, every character escaped, fits nearly twice.
MAX_BODY_BYTES: Final = 2 * 1024 * 1024


class DeclaredBodyLimit:
    """Refuses a body that is announced as too long, before any of it is read.

    The route's own max_body_size counts a body that comes without Content-Length; an announced one it would answer in
    plain text, so every route has this same limit.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless its Content-Length is over the limit."""
        length = _declared_length(scope["headers"]) if scope["type"] == "http" else 0
        if length > self._max_bytes:
            problem = problem_response(413, f"The body has {length} bytes; accepted are {self._max_bytes}.")
            await problem(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the announced length of the body, 0 without one."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0

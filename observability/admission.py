"""Admission: a service that has enough in hand refuses what comes on top, before that costs anything."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from observability.context import RequestContext, accept_correlation_id, enter_request
from observability.middleware import HEALTH_PATHS, note_waited
from observability.problems import problem_response
from observability.signals import CORRELATION_HEADER, METHODS, UNMATCHED_ROUTE, ErrorType
from observability.telemetry import Telemetry

logger = logging.getLogger(__name__)

# Who waits for a place, or for the rest of his body, takes memory but no time: in all there may be so many times more.
OPEN_PER_REQUEST_IN_HAND: Final = 8
# Longer than a burst takes; whoever waited so long in vain is better told, while his answer would still be worth something.
MOST_SECONDS_WAITING: Final = 1.0
RETRY_AFTER_SECONDS: Final = 2
_STATUS: Final = 503
_SECONDS_BETWEEN_LINES: Final = 10.0
_CORRELATION_HEADER: Final = CORRELATION_HEADER.lower().encode()


_current: ContextVar["Admission | None"] = ContextVar("robin_admission", default=None)


class Admission:
    """Wraps an ASGI app: `in_hand` requests are worked on at once, others wait a moment, and beyond that it is 503 with Retry-After.

    What waits for its body, or is set aside, is not worked on; of all requests together there may be
    OPEN_PER_REQUEST_IN_HAND times as many. Health requests are always let in. A refusal counts in the metrics, and makes
    neither span nor line.
    """

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, in_hand: int) -> None:
        self.app = app
        self._telemetry = telemetry
        self._most_in_hand = in_hand
        self._most_open = in_hand * OPEN_PER_REQUEST_IN_HAND
        self._in_hand = 0
        self._open = 0
        self._line: deque[asyncio.Future[None]] = deque()
        self._untold = 0
        self._told_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self.app(scope, receive, send)
            return
        if self._open >= self._most_open:
            await self._refuse(scope, receive, send)
            return
        self._open += 1
        try:
            if await self._has_place(scope):
                await self._serve(scope, receive, send)
            else:
                await self._refuse(scope, receive, send)
        finally:
            self._open -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_aside() -> Message:
            with self.set_aside():
                return await receive()

        _current.set(self)
        try:
            await self.app(scope, receive_aside, send)
        finally:
            self._leave()

    async def _has_place(self, scope: Scope) -> bool:
        """Take a place, or wait for one and note how long; tell whether it came in time."""
        if self._in_hand < self._most_in_hand:
            self._in_hand += 1
            return True
        began = time.perf_counter()
        called = asyncio.get_running_loop().create_future()
        self._line.append(called)
        try:
            await asyncio.wait([called], timeout=MOST_SECONDS_WAITING)
        except asyncio.CancelledError:
            if called.done():
                self._leave()
            raise
        finally:
            called.cancel()  # nothing, where it is done
        note_waited(scope, time.perf_counter() - began)
        return not called.cancelled()

    def _leave(self) -> None:
        """Give a place back, or to the first who still waits for one; not while those set aside came back to too many."""
        while self._line and self._in_hand <= self._most_in_hand:
            called = self._line.popleft()
            if not called.done():  # else he has waited too long, or has gone away
                called.set_result(None)
                return
        self._in_hand -= 1

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Count one request less as worked on until the block ends."""
        self._leave()
        try:
            yield
        finally:
            self._in_hand += 1

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        self._tell()
        request = RequestContext(accept_correlation_id(_correlation_id(scope)))
        enter_request(request)
        answer = problem_response(
            _STATUS,
            "The service has more in hand than it can do soon. Send the request again later.",
            {"Retry-After": str(RETRY_AFTER_SECONDS), CORRELATION_HEADER: request.correlation_id},
        )
        await answer(scope, receive, send)
        metrics = self._telemetry.metrics
        labels = {
            "method": scope["method"] if scope["method"] in METHODS else "_OTHER",
            "path": _route(scope),
            "status": str(_STATUS),
        }
        metrics.http_requests(1, **labels)
        metrics.http_request_duration(time.perf_counter() - began, **labels)
        metrics.http_errors(1, **labels, error_type=ErrorType.OVERLOADED)
        metrics.requests_shed(1, method=labels["method"], path=labels["path"])

    def _tell(self) -> None:
        """Say how many were refused, now and then: a line each would be the next thing too many."""
        self._untold += 1
        now = time.monotonic()
        if now - self._told_at < _SECONDS_BETWEEN_LINES:
            return
        logger.warning(
            "Overloaded: requests are refused",
            extra={
                "context_data": {"refused": self._untold, "in_hand": self._in_hand, "open": self._open},
            },
        )
        self._untold, self._told_at = 0, now


@contextmanager
def set_aside() -> Iterator[None]:
    """Let the request being served not count as worked on until the block ends: it waits its turn, or for somebody else.

    It is one request, however many such blocks there are in the block and in the tasks that it makes.
    """
    admission = _current.get()
    if admission is None:
        yield
        return
    token = _current.set(None)
    try:
        with admission.set_aside():
            yield
    finally:
        _current.reset(token)


def _correlation_id(scope: Scope) -> str | None:
    return next(
        (value.decode("latin-1") for name, value in scope["headers"] if name == _CORRELATION_HEADER), None
    )


def _route(scope: Scope) -> str:
    """Return the template of the route that the request would have taken."""
    for route in scope["app"].routes:
        if route.matches(scope)[0] is Match.FULL:
            return str(route.path)
    return UNMATCHED_ROUTE

"""A transport that takes no more time and no larger answers than it was told."""

import time
from collections.abc import Iterator

import httpx


class Bounded(httpx.BaseTransport):
    """All requests through it share one deadline; it belongs to one reader, `inner` to all."""

    def __init__(self, inner: httpx.BaseTransport, *, seconds: float, most_bytes: int) -> None:
        self._inner = inner
        self._end = time.monotonic() + seconds
        self._most_bytes = most_bytes

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request within the time that is left."""
        left = self._left(request)
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), left)
        response = self._inner.handle_request(request)
        assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101  a sync transport's answer
        response.stream = _BoundedStream(self, request, response.stream)
        return response

    def parts(self, request: httpx.Request, stream: httpx.SyncByteStream) -> Iterator[bytes]:
        """Yield an answer's parts while there is time, and up to the limit."""
        size = 0
        for part in stream:
            size += len(part)
            if size > self._most_bytes:
                raise httpx.ReadError(f"the answer is larger than {self._most_bytes} bytes", request=request)
            self._left(request)
            yield part

    def _left(self, request: httpx.Request) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpx.ReadTimeout("no time is left", request=request)
        return left


class _BoundedStream(httpx.SyncByteStream):
    """An answer's body as it comes off the wire."""

    def __init__(self, bounds: Bounded, request: httpx.Request, stream: httpx.SyncByteStream) -> None:
        self._bounds = bounds
        self._request = request
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        """Yield its parts."""
        return self._bounds.parts(self._request, self._stream)

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()

"""Bytes over a socket, as no client library would send them, and whatever comes back."""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from typing import Any, Final, cast

# However bad a request is, by then its sender has an answer or a closed connection.
DEADLINE_SECONDS: Final = 10.0
# How long a sender whose request may be incomplete waits before it says that no more comes.
_PATIENCE_SECONDS: Final = 0.05


class Hang(AssertionError):  # noqa: N818  what it is
    """Neither an answer nor the end of the connection came in time."""


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        """Return the values of one header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters."""
        return ", ".join(self.header("content-type")).partition(";")[0]


class _Received:
    """What http.client takes for a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> BytesIO:
        """Return the bytes as a file."""
        return BytesIO(self._data)


def _reply_in(data: bytes, method: str) -> Reply | None:
    """Return the first answer of what was received, but for those of 1xx; None while it is not all there."""
    response = HTTPResponse(cast("Any", _Received(data)), method=method)
    try:
        response.begin()
        return Reply(response.status, response.getheaders(), response.read())
    except (HTTPException, ValueError):
        return None


def exchange(port: int, data: Sequence[bytes], method: str, *, complete: bool) -> Reply | None:
    """Send bytes and return the first answer; None where the connection was closed without one.

    What is not `complete` is followed by the end of sending, as from a client that goes away. Raises Hang.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS) as connection:
        sent = _send(connection, data)
        if sent and not complete:
            connection.settimeout(_PATIENCE_SECONDS)
        while True:
            try:
                more = connection.recv(65536)
            except TimeoutError:
                if complete or time.monotonic() > deadline:
                    raise Hang(f"after {received[:200]!r}") from None
                complete = True
                connection.settimeout(DEADLINE_SECONDS)
                _end(connection)
                continue
            except ConnectionError:
                more = b""
            received += more
            if (reply := _reply_in(received, method)) is not None or not more:
                return reply


def _send(connection: socket.socket, data: Sequence[bytes]) -> bool:
    """Send what there is, and say whether it was taken: a server may answer and close before."""
    try:
        for piece in data:
            connection.sendall(piece)
    except ConnectionError:
        return False
    return True


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:  # the other side was faster
        return

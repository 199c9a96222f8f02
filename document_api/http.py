"""The HTTP client between the services: aiohttp's own (docs/adr/0008)."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from observability.exceptions import exception_text

# Less than the 5 s after which uvicorn closes an idle connection, and than the 3 s for which a server that ends waits for
# requests (observability.server): a request sent into one that closes is lost.
_KEEPALIVE_SECONDS: Final = 2.0


class Lack(StrEnum):
    """Why no usable answer came."""

    REFUSED = "refused"  # no connection could be made
    NOT_CONNECTED = "not_connected"  # none was made in time, or the server could not prove who it is
    LOST = "lost"  # the connection ended before the answer
    LATE = "late"
    UNAVAILABLE = "unavailable"  # says the server


_NEVER_SENT: Final = frozenset({Lack.REFUSED, Lack.NOT_CONNECTED})


class NoAnswer(Exception):  # noqa: N818  what happened, in the words of those who catch it
    """No usable answer came; `never_sent` tells whether the request surely did not reach the server."""

    def __init__(self, reason: str, lack: Lack) -> None:
        super().__init__(reason)
        self.lack = lack
        self.never_sent = lack in _NEVER_SENT


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]


# Whether the request that is sent in this context has a connection.
_connected: ContextVar[bool] = ContextVar("connected", default=False)


class _Connector(aiohttp.TCPConnector):
    """Notes that there is a connection: without one, a request that came to nothing was surely not sent."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> Connection:
        """Return a connection for a request."""
        connection = await super().connect(req, traces, timeout)
        _connected.set(True)
        return connection


class HttpClient:
    """Sends requests to one server."""

    def __init__(self, session: aiohttp.ClientSession, base: URL, timeout_seconds: float) -> None:
        self._session = session
        self._timeout_seconds = timeout_seconds
        self._timeout = _timeout(timeout_seconds)
        self._base = str(base).rstrip("/")
        self.host = base.host or ""
        self.port = base.port or 0

    def url(self, path: str) -> str:
        """Return the address of a path that needs no escaping."""
        return self._base + path

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        within_seconds: float | None = None,
    ) -> Answer:
        """Send a request and read its answer, whatever its status, within the client's time or less; raises NoAnswer."""
        url = URL(self.url(path), encoded=True)
        timeout = self._timeout
        if within_seconds is not None and within_seconds < self._timeout_seconds:
            timeout = _timeout(within_seconds)
        _connected.set(False)
        try:
            async with self._session.request(
                method, url, headers=headers, data=body, allow_redirects=False, timeout=timeout
            ) as response:
                return Answer(response.status, await response.read(), response.headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(exception_text(error), _lack(error)) from error


@asynccontextmanager
async def http_client(
    base_url: str, *, timeout_seconds: float, connections: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpClient]:
    """Lend a client with keep-alive connections to one server; over https its certificate is verified."""
    async with aiohttp.ClientSession(
        connector=_Connector(
            limit=connections, keepalive_timeout=_KEEPALIVE_SECONDS, ssl=tls if tls is not None else True
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        # aiohttp would send a GET again by itself where the connection is lost: unseen, and beyond any budget.
        session._retry_connection = False  # noqa: SLF001
        yield HttpClient(session, URL(base_url), timeout_seconds)


def tls_context(ca_file: Path | None, certificate_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    """Return how a server's certificate is verified, and what is shown to it; raises OSError for a file of no use."""
    context = ssl.create_default_context(cafile=ca_file)
    if certificate_file is not None:
        context.load_cert_chain(certificate_file, key_file)
    return context


def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    """Return the time for a whole answer, to the point: aiohttp rounds those of 5 s and more up to full seconds."""
    return aiohttp.ClientTimeout(total=seconds, ceil_threshold=float("inf"))


def _lack(error: Exception) -> Lack:
    """Name what happened: unless no connection was made, nobody knows how far the request came."""
    if isinstance(error, aiohttp.ClientSSLError):
        return Lack.NOT_CONNECTED
    if isinstance(error, aiohttp.ClientConnectorError):
        return Lack.REFUSED
    if isinstance(error, TimeoutError):
        return Lack.LATE if _connected.get() else Lack.NOT_CONNECTED
    return Lack.LOST

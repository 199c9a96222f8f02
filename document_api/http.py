"""The HTTP client between the services: aiohttp's own (docs/adr/0008)."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from yarl import URL

from observability.exceptions import exception_text

# Less than the 5 s after which uvicorn closes an idle connection, and than the 3 s for which a server that ends waits for
# requests (observability.server): a request sent into one that closes is lost.
_KEEPALIVE_SECONDS: Final = 2.0


class NoAnswer(Exception):  # noqa: N818  what happened, in the words of those who catch it
    """No usable answer came; `never_sent` tells whether the request surely did not reach the server."""

    def __init__(self, reason: str, *, never_sent: bool) -> None:
        super().__init__(reason)
        self.never_sent = never_sent


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class HttpClient:
    """Sends requests to one server."""

    def __init__(self, session: aiohttp.ClientSession, base: URL) -> None:
        self._session = session
        self._base = str(base).rstrip("/")
        self.host = base.host or ""
        self.port = base.port or 0

    def url(self, path: str) -> str:
        """Return the address of a path that needs no escaping."""
        return self._base + path

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Send a request and read its answer, whatever its status; raises NoAnswer."""
        url = URL(self.url(path), encoded=True)
        try:
            async with self._session.request(
                method, url, headers=headers, data=body, allow_redirects=False
            ) as response:
                return Answer(response.status, await response.read(), response.headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(exception_text(error), never_sent=_never_sent(error)) from error


@asynccontextmanager
async def http_client(
    base_url: str, *, timeout_seconds: float, connections: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpClient]:
    """Lend a client with keep-alive connections to one server; over https its certificate is verified."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections, keepalive_timeout=_KEEPALIVE_SECONDS, ssl=tls if tls is not None else True
        ),
        timeout=aiohttp.ClientTimeout(connect=timeout_seconds, sock_read=timeout_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield HttpClient(session, URL(base_url))


def tls_context(ca_file: Path | None, certificate_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    """Return how a server's certificate is verified, and what is shown to it; raises OSError for a file of no use."""
    context = ssl.create_default_context(cafile=ca_file)
    if certificate_file is not None:
        context.load_cert_chain(certificate_file, key_file)
    return context


def _never_sent(error: Exception) -> bool:
    """Tell whether it was the connection that could not be made: of all others nobody knows how far they came."""
    return isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)

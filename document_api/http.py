"""The HTTP client of this service: httpx's API on aiohttp's transport (docs/adr/0003)."""

from typing import Final

import aiohttp
import httpx
from httpx_aiohttp import HttpxAiohttpClient

# Less than the 5 s after which uvicorn closes an idle connection: a request sent into one that closes is lost.
_KEEPALIVE_SECONDS: Final = 4.0


def http_client(base_url: str, *, timeout_seconds: float, connections: int) -> httpx.AsyncClient:
    """Return a client with keep-alive connections; it is to be used as an async context manager."""
    limits = httpx.Limits(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=_KEEPALIVE_SECONDS,
    )
    return HttpxAiohttpClient(base_url=base_url, timeout=timeout_seconds, limits=limits, trust_env=False)


def never_sent(error: httpx.TransportError) -> bool:
    """Tell whether a request surely did not reach the server.

    The transport calls every lost connection a ConnectTimeout, one that broke after the request was sent too: the
    cause tells them apart.
    """
    return isinstance(error, httpx.ConnectError) or isinstance(
        error.__cause__, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
    )

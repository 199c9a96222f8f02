"""The HTTP client of this service: httpx's API on aiohttp's transport (docs/adr/0003)."""

import httpx
from httpx_aiohttp import HttpxAiohttpClient


def http_client(base_url: str, *, timeout_seconds: float, connections: int) -> httpx.AsyncClient:
    """Return a client with keep-alive connections; it is to be used as an async context manager."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return HttpxAiohttpClient(base_url=base_url, timeout=timeout_seconds, limits=limits, trust_env=False)

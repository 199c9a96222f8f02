"""Ways to break a running stack for real, each mended at the end of its block."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil

from tests.waiting import eventually

SECONDS = 20


def listeners(url: str) -> set[int]:
    """Processes that listen on the port of an address."""
    port = httpx.URL(url).port
    return {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid
    }


@contextmanager
def held(url: str) -> Iterator[None]:
    """Hold the process that listens there: it takes connections, and answers nothing."""
    pids = listeners(url)
    assert pids, f"nothing listens at {url}"
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def restart(url: str) -> None:
    """End the process that listens there; the stack starts another one."""
    old = listeners(url)
    assert old, f"nothing listens at {url}"
    for pid in old:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: listeners(url) - old, f"{url} is restarted", seconds=SECONDS)

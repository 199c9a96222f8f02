"""uvicorn that ends without losing a request: what was sent to it before its listening socket closed is answered.

On SIGTERM it goes on accepting while it asks for no more on the connections that it has; when nobody can be about to
send on one of those, it lets no new handshake begin, takes what waits to be accepted, and finishes (docs/adr/0021).
"""

import asyncio
import ctypes
import os
import select
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import multiprocess

# Longer than callers keep an idle connection (2 s: nginx, document_api): until then one may be sending on it.
LAME_DUCK_SECONDS: Final = 3.0
# What was accepted last brings its request at once, unless nobody means to send one.
_FIRST_REQUEST_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.02
# Linux: a packet filter for a listening socket that drops whatever arrives; Python has no name for it.
_SO_ATTACH_FILTER: Final = 26
_DROP_ALL: Final = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K, 0


class DrainingServer(uvicorn.Server):
    """One server process."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lose nobody who is connected, or about to be, then finish as uvicorn does."""
        await self._drain(sockets or [])
        await super().shutdown(sockets)

    async def _drain(self, listeners: Sequence[socket.socket]) -> None:
        # With every answer, also of requests that come from now on.
        self.config.encoded_headers.append((b"connection", b"close"))
        idle = set()
        for connection in self.server_state.connections:
            if _is_idle(connection):
                idle.add(connection)
            else:
                connection.shutdown()  # once it is answered
        await self._wait(lambda: not idle & self.server_state.connections, LAME_DUCK_SECONDS)
        for listener in listeners:
            _let_none_begin(listener)
        await self._wait(lambda: not _some_wait(listeners), LAME_DUCK_SECONDS)
        await self._wait(
            lambda: not any(map(_is_idle, self.server_state.connections)), _FIRST_REQUEST_SECONDS
        )

    async def _wait(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while not (done() or self.force_exit or asyncio.get_running_loop().time() > deadline):
            await self.on_tick(0)  # keeps the headers of answers as they are now
            await asyncio.sleep(_LOOK_SECONDS)


class _WorkerServer(DrainingServer):
    """One of several; it does not outlive the process that looks after them, and which may be killed."""

    def __init__(self, config: uvicorn.Config, parent: int) -> None:
        super().__init__(config)
        self._parent = parent

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to end."""
        return await super().on_tick(counter) or os.getppid() != self._parent


class _Worker(multiprocess.Process):
    """A process that runs such a server."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        self._parent = os.getpid()
        super().__init__(config, sockets)

    @property
    def server(self) -> uvicorn.Server:
        """The server, made in the process itself."""
        if self._server is None:
            self._server = _WorkerServer(self.config, self._parent)
        return self._server


class _Workers(multiprocess.Multiprocess):
    """Looks after several; when they end it keeps no socket open at which requests would wait in vain."""

    def terminate_all(self) -> None:
        """Let all of them end."""
        super().terminate_all()
        for listener in self.sockets:
            listener.close()


def bound(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """Return a socket of this address that does not listen yet: nobody is to wait at it for a service that only starts."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def run(config: uvicorn.Config, listener: socket.socket) -> None:
    """Serve at this socket until SIGTERM or SIGINT."""
    if config.workers > 1:
        listener.set_inheritable(True)
        multiprocess.Process = _Worker  # type: ignore[misc]  # uvicorn has no other place to say which
        _Workers(config, [listener]).run()
        return
    server = DrainingServer(config)
    with suppress(KeyboardInterrupt):
        server.run([listener])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _is_idle(connection: object) -> bool:
    """Tell whether a connection has no request under way."""
    cycle = getattr(connection, "cycle", None)
    return cycle is None or bool(cycle.response_complete)


def _let_none_begin(listener: socket.socket) -> None:
    """Drop whoever wants to connect from now on: he tries again, after a second, and finds the port closed."""
    program = ctypes.create_string_buffer(_DROP_ALL)
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))


def _some_wait(listeners: Sequence[socket.socket]) -> bool:
    """Tell whether somebody is connected whom nobody has accepted yet."""
    return bool(select.select(listeners, (), (), 0)[0])

"""An ASGI app behind a real socket, as uvicorn serves it in production."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from observability.protocol import ProblemProtocol
from tests.waiting import eventually

_SECONDS: Final = 20.0


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve the app on a free port of this machine and lend its URL; the lifespan runs around it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=ProblemProtocol,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                reset_contextvars=True,
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            _await_start(server, thread)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(_SECONDS)
            assert not thread.is_alive(), "the server did not stop"


def _await_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    eventually(lambda: server.started or not thread.is_alive(), "the server has started", seconds=_SECONDS)
    assert server.started, "the server ended at its start"

"""A server that is posted to."""

import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self


class Webhook:
    """Listens on a port of its own for as long as it is entered; what it makes of a request says `take`."""

    path: ClassVar[str]

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self.port: int = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}{self.path}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, path: str, content_type: str | None, body: bytes) -> tuple[int, str, str]:
        """Take what a request brings; return the answer's status, content type and body."""
        raise NotImplementedError


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, webhook: Webhook, *arguments: Any) -> None:
        self._webhook = webhook
        super().__init__(*arguments)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, content_type, answer = self._webhook.take(self.path, self.headers["Content-Type"], body)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        content = answer.encode()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

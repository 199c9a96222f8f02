"""uvicorn's HTTP/1.1; what is no HTTP it refuses as everything else is refused here."""

import json
import re
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from observability.context import accept_correlation_id
from observability.problems import PROBLEM_JSON, problem_body
from observability.signals import CORRELATION_HEADER

_CORRELATION_ID: Final = re.compile(
    rb"^%s: (\S+)\r$" % CORRELATION_HEADER.encode(), re.IGNORECASE | re.MULTILINE
)


class ProblemProtocol(HttpToolsProtocol):
    """Reads the requests of one connection."""

    _newest = b""

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        self._newest = data
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own words, in plain text
        """Answer what is no valid request, and close: where the next one begins nobody knows."""
        correlation_id = accept_correlation_id(self._shown_correlation_id())
        problem = problem_body(400, "This is no valid HTTP request.") | {"correlation_id": correlation_id}
        body = json.dumps(problem).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"content-type: {PROBLEM_JSON}\r\ncontent-length: {len(body)}\r\n"
            f"{CORRELATION_HEADER}: {correlation_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _shown_correlation_id(self) -> str | None:
        """Return that of the load balancer, which puts it first, wherever among the headers reading ended."""
        head = b"".join(b"%s: %s\r\n" % header for header in self.headers or ()) + self._newest
        found = _CORRELATION_ID.search(head)
        return found[1].decode("latin-1") if found else None

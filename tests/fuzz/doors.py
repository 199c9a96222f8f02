"""Where bad input is sent to, and what an answer to it may be."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tests.fuzz.attempts import Attempt
from tests.fuzz.wire import Reply, exchange

_SUCCESSES: Final = frozenset((200, 201))
_REFUSALS: Final = frozenset((400, 401, 403, 404, 405, 408, 409, 411, 413, 414, 415, 422, 431))
# nginx's answers to what is no HTTP that anybody has to speak: refusals of the request, no failures (RFC 9110, 15.6).
_NO_HTTP_FOR_NGINX: Final = frozenset((501, 505))
_MEDIA_TYPES: Final = frozenset(("application/json", "text/html"))
# Words of the system's inside. What was sent is told in some answers; no attempt has one of these.
_LEAKS: Final = re.compile(
    rb"Traceback|File \\?\"|site-packages|/tmp/|incoming|psycopg2|sqlalchemy|document_metadata|0x[0-9a-f]{9}",
    re.IGNORECASE,
)


@dataclass
class Door:
    """A port, the header's line with a credential, and what became of all that was sent."""

    name: str
    port: int
    credential: bytes
    secret: bytes | None = None
    behind_nginx: bool = False
    answers: Counter[str] = field(default_factory=Counter)
    stored: set[int] = field(default_factory=set)

    def attempt(self, attempt: Attempt) -> None:
        """Send a request, and hold the answer to what was promised."""
        try:
            self._attempt(attempt)
        except AssertionError as error:
            error.add_note(f"answering {attempt!r}")
            raise

    def _attempt(self, attempt: Attempt) -> None:
        pieces = attempt.pieces(self.credential)
        reply = exchange(self.port, pieces, attempt.method, complete=attempt.complete)
        self.answers[str(reply.status) if reply else "closed"] += 1
        if reply is None:
            assert not attempt.complete, "closed without an answer"
            return
        assert _LEAKS.search(reply.body) is None, reply
        assert self.secret is None or self.secret not in reply.body, reply
        if reply.status in _SUCCESSES:
            self._take(reply, attempt)
            return
        assert reply.status in _REFUSALS | (_NO_HTTP_FOR_NGINX if self.behind_nginx else frozenset()), reply
        if attempt.method != "HEAD":
            assert_problem(reply)

    def _take(self, reply: Reply, attempt: Attempt) -> None:
        """Take note of what was stored."""
        assert reply.media_type in _MEDIA_TYPES, reply
        if attempt.method == "PUT":
            self.stored.add(json.loads(reply.body)["document_id"])
        elif reply.status == 201:
            self.stored.add(json.loads(reply.body)["id"])

    def __str__(self) -> str:
        """Say how many were sent, and what they got."""
        counts = ", ".join(f"{count} x {status}" for status, count in sorted(self.answers.items()))
        return f"{self.name}: {self.answers.total()} requests: {counts}"


def assert_problem(reply: Reply) -> None:
    """Hold an answer to RFC 9457 and the house's correlation ID."""
    assert reply.media_type == "application/problem+json", reply
    problem = json.loads(reply.body)
    assert problem["status"] == reply.status, reply
    assert [problem["correlation_id"]] == reply.header("x-correlation-id"), reply
    assert problem["type"] == "about:blank", reply
    assert problem["title"], reply
    assert problem["detail"], reply
    assert bool(reply.header("www-authenticate")) == (reply.status == 401), reply

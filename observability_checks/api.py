"""robin's public API as a client sees it, through nginx."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from observability.signals import CORRELATION_HEADER
from observability_checks.credentials import Credentials
from observability_checks.results import Stopwatch

_BOUNDARY = "robin-checks-boundary"
_CHUNK = bytes(64 * 1024)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer."""

    correlation_id: str
    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: Any
    seconds: float

    @property
    def from_service(self) -> bool:
        """Whether a service answered; nginx's own answers carry no trace."""
        return "traceresponse" in self.headers

    @property
    def trace_id(self) -> str | None:
        """Trace ID that the answer names."""
        parts = self.headers.get("traceresponse", "").split("-")
        return parts[1] if len(parts) == 4 else None  # noqa: PLR2004 - version, trace, span, flags

    @property
    def answered_id(self) -> str:
        """Correlation ID that the answer carries."""
        return self.headers.get(CORRELATION_HEADER.lower(), "")


@dataclass(frozen=True, slots=True)
class Document:
    """A document that was uploaded, as its sender knows it."""

    exchange: Exchange
    client_id: str
    filename: str
    content: bytes

    @property
    def document_id(self) -> int:
        """ID under which it is stored, 0 when it is not."""
        body = self.exchange.body
        return int(body.get("document_id") or 0) if isinstance(body, dict) else 0


class Api:
    """Sends requests, each with a correlation ID of its own."""

    def __init__(self, client: httpx.Client, url: str, credentials: Credentials | None = None) -> None:
        self.client = client
        self.url = url
        self.credentials = credentials or Credentials()

    def send(
        self,
        method: str,
        path: str,
        *,
        correlation_id: str | None = None,
        **request: Any,
    ) -> Exchange:
        """Send a request; `correlation_id` replaces the fresh one, "" sends none."""
        sent_id = str(uuid.uuid4()) if correlation_id is None else correlation_id
        headers = {
            **self.credentials.headers(path),
            **request.pop("headers", {}),
            **({CORRELATION_HEADER: sent_id} if sent_id else {}),
        }
        watch = Stopwatch()
        answer = self.client.request(method, f"{self.url}{path}", headers=headers, **request)
        answered = {name.lower(): value for name, value in answer.headers.items()}
        return Exchange(
            correlation_id=sent_id or answered.get(CORRELATION_HEADER.lower(), ""),
            method=method,
            path=path,
            status=answer.status_code,
            headers=answered,
            body=_json(answer),
            seconds=watch.seconds,
        )

    def upload(
        self, client_id: str, filename: str, content: bytes, *, correlation_id: str | None = None
    ) -> Document:
        """Upload a text."""
        path = f"/clients/{client_id}/upload-document"
        files = {"file": (filename, content, "text/plain")}
        return Document(
            self.send("PUT", path, files=files, correlation_id=correlation_id), client_id, filename, content
        )

    def document(self, client_id: str, document_id: int | str) -> Exchange:
        """Ask for a document."""
        return self.send("GET", f"/clients/{client_id}/documents/{document_id}")

    def oversize(self, client_id: str, size: int, *, declared: bool) -> Exchange:
        """Upload a body of this size that is made while it is sent, its length declared or not."""
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        head, tail = _multipart_frame("large.bin")
        if declared:
            headers["Content-Length"] = str(len(head) + size + len(tail))
        return self.send(
            "PUT",
            f"/clients/{client_id}/upload-document",
            headers=headers,
            content=_streamed(head, size, tail),
        )


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _multipart_frame(filename: str) -> tuple[bytes, bytes]:
    head = (
        f"--{_BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode(), f"\r\n--{_BOUNDARY}--\r\n".encode()


def _streamed(head: bytes, size: int, tail: bytes) -> Iterator[bytes]:
    yield head
    for start in range(0, size, len(_CHUNK)):
        yield _CHUNK[: size - start]
    yield tail


def sample_text(client: int, file: int) -> bytes:
    """Text of a few sentences, different for each file, so that there is something to summarise."""
    return (
        f"Report {file} of client {client}. robin keeps every document of a client apart from all others. "
        "A request is seen by the load balancer, by both services and by the database. "
        f"Each of them writes down the same correlation ID. Invoice number {client * 1000 + file} was paid in full. "
        "Whoever looks for a slow upload starts with its trace, and finds the statement that took the time.\n"
    ).encode()

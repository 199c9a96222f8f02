"""A record as the document API sends it, the fields of a log line, and the shape of a refusal."""

from typing import Any, Final

import httpx

DOCUMENT: Final[dict[str, Any]] = {
    "filename": "test_file.txt",
    "file_size": 50,
    "file_type": "text/plain",
    "sha256": "0123456789abcdef" * 4,
    "storage_key": "ab/cdef",
    "summary": "Fünfzig Zeichen 📄",
    "summary_source": "extractive",
    "summary_reason": None,
}
DOCUMENTS: Final = "/clients/acme/documents"
LINE_FIELDS: Final = {
    "timestamp",
    "level",
    "service",
    "correlation_id",
    "log_message",
    "context_data",
    "trace_id",
    "span_id",
    "logger",
}


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Hold an answer to RFC 9457 and the house's correlation ID; return its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == "about:blank"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["correlation_id"] == answer.headers["x-correlation-id"]
    return body

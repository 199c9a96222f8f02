"""Wrong requests: each gets a 4xx problem with its ID, is counted as an error, and marks no span as one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from observability.context import accept_correlation_id
from observability.problems import PROBLEM_JSON
from observability.signals import DOCUMENT_ROUTE, UNMATCHED_ROUTE, UPLOAD_ROUTE, ErrorType
from observability_checks.api import Api, Document, Exchange, sample_text
from observability_checks.context import Context, Group, id_problems
from observability_checks.contract.expected import (
    NOT_FOUND_COUNTERS,
    RETRIEVAL_COUNTERS,
    UPLOAD_COUNTERS,
    Facts,
    refusal_lines,
    refused_counters,
    tally,
)
from observability_checks.counters import Series
from observability_checks.matching import line_problems, refusal_problems
from observability_checks.polling import Deadline, Problems

_PROBLEM_FIELDS = ("type", "title", "status", "detail", "correlation_id")
_NOT_THERE = 2**62
_BEYOND_ANY_ENVELOPE = 2**20


@dataclass(frozen=True, slots=True)
class WrongRequest:
    """A mistake that clients make, and how it must be answered."""

    name: str
    status: int
    method: str
    route: str
    error_type: ErrorType
    send: Callable[[Api], Exchange]

    def counters(self) -> tuple[Series, ...]:
        """Counters that rise by one; a document that is not there was looked for in the data store."""
        if self.route == DOCUMENT_ROUTE and self.status == 404:  # noqa: PLR2004
            return NOT_FOUND_COUNTERS
        return refused_counters(self.method, self.route, self.status, self.error_type)


def run(context: Context) -> None:
    """Send every wrong request, then look at what each has left behind."""
    group = Group(context, "errors")
    meter = context.meter()
    document = context.api.upload(context.client_id(0), "right.txt", sample_text(0, 0))
    wrong = wrong_requests(context, document)
    with context.reporter.progress("sending wrong requests", len(wrong)) as progress:
        exchanges = []
        for request in wrong:
            exchanges.append(request.send(context.api))
            progress.step()
    sent = tally(UPLOAD_COUNTERS, int(document.document_id > 0))
    sent += _check_foreign_id(group, document)
    deadline = context.deadline()
    for request, exchange in zip(wrong, exchanges, strict=True):
        _check(group, request, exchange, deadline)
        sent += _counted(request, exchange)
    group.counters(meter, sent, deadline)


def wrong_requests(context: Context, document: Document) -> Sequence[WrongRequest]:
    """The mistakes, as data."""
    owner, stranger = document.client_id, context.client_id(1)
    upload, limit = f"/clients/{owner}/upload-document", context.options.max_upload_bytes

    def get(name: str, status: int, error: ErrorType, client: str, number: int | str) -> WrongRequest:
        return WrongRequest(
            name, status, "GET", DOCUMENT_ROUTE, error, lambda api: api.document(client, number)
        )

    def put(name: str, status: int, error: ErrorType, send: Callable[[Api], Exchange]) -> WrongRequest:
        return WrongRequest(name, status, "PUT", UPLOAD_ROUTE, error, send)

    def too_large(name: str, size: int, *, declared: bool) -> WrongRequest:
        return put(
            name,
            413,
            ErrorType.PAYLOAD_TOO_LARGE,
            lambda api: api.oversize(owner, size, declared=declared),
        )

    return (
        get("another client's document", 404, ErrorType.NOT_FOUND, stranger, document.document_id),
        get("a document that is not there", 404, ErrorType.NOT_FOUND, owner, _NOT_THERE),
        get("an ID that is no number", 422, ErrorType.VALIDATION_ERROR, owner, "not-a-number"),
        put("no file", 422, ErrorType.VALIDATION_ERROR, lambda api: _other_field(api, upload)),
        put("an empty file", 422, ErrorType.VALIDATION_ERROR, lambda api: _empty(api, owner)),
        put("malformed multipart", 400, ErrorType.BAD_REQUEST, lambda api: _malformed(api, upload)),
        too_large("too large, declared", limit + 1, declared=True),
        too_large("too large, streamed", limit + 1, declared=False),
        # nginx leaves room for the multipart envelope; beyond that it refuses by itself, before a service sees it.
        too_large("far too large, declared", limit + _BEYOND_ANY_ENVELOPE, declared=True),
        WrongRequest(
            "a method not allowed",
            405,
            "POST",
            DOCUMENT_ROUTE,
            ErrorType.METHOD_NOT_ALLOWED,
            lambda api: api.send("POST", f"/clients/{owner}/documents/{document.document_id}"),
        ),
        WrongRequest(
            "a path that is not there",
            404,
            "GET",
            UNMATCHED_ROUTE,
            ErrorType.NOT_FOUND,
            lambda api: api.send("GET", f"/no-such-path/{owner}"),
        ),
    )


def _other_field(api: Api, path: str) -> Exchange:
    return api.send("PUT", path, files={"attachment": ("a.txt", b"text", "text/plain")})


def _empty(api: Api, client_id: str) -> Exchange:
    return api.upload(client_id, "empty.txt", b"").exchange


def _malformed(api: Api, path: str) -> Exchange:
    headers = {"Content-Type": "multipart/form-data; boundary=right"}
    return api.send("PUT", path, headers=headers, content=b"--wrong\r\nno part of any form\r\n")


def _check(group: Group, request: WrongRequest, exchange: Exchange, deadline: Deadline) -> None:
    group.add(
        f"{request.name}: answer",
        answer_problems(request, exchange),
        f"{exchange.status} problem+json with its ID: {(exchange.body or {}).get('detail')}",
    )
    group.log_lines(
        f"{request.name}: log lines",
        lambda: _log_problems(group.context, request, exchange),
        deadline,
        "nginx's and, where it got that far, document-api's, at INFO",
    )
    if exchange.from_service:
        group.wait(
            f"{request.name}: spans",
            lambda: refusal_problems(group.context.traces(exchange.correlation_id), exchange.status),
            deadline,
            f"no span is marked as an error for a {exchange.status}",
        )


def answer_problems(request: WrongRequest, exchange: Exchange) -> list[str]:
    """Status, media type, members and ID of a problem document."""
    body = exchange.body if isinstance(exchange.body, dict) else {}
    media_type = exchange.headers.get("content-type", "").split(";")[0]
    return [
        *(
            []
            if exchange.status == request.status
            else [f"status {exchange.status}, expected {request.status}"]
        ),
        *(
            []
            if media_type == PROBLEM_JSON
            else [f"content type is {media_type!r}, expected {PROBLEM_JSON!r}"]
        ),
        *(f"the body has no {name}" for name in _PROBLEM_FIELDS if not body.get(name)),
        *([] if body.get("status") == exchange.status else [f"the body's status is {body.get('status')}"]),
        *_body_id_problems(body, exchange),
        *id_problems(exchange),
        *(["no Allow header"] if request.status == 405 and "allow" not in exchange.headers else []),  # noqa: PLR2004
    ]


def _body_id_problems(body: dict[str, object], exchange: Exchange) -> list[str]:
    if body.get("correlation_id") == exchange.answered_id:
        return []
    return [
        f"the body's correlation_id is {body.get('correlation_id')!r}, the header's {exchange.answered_id!r}"
    ]


def _log_problems(context: Context, request: WrongRequest, exchange: Exchange) -> Problems:
    lines = refusal_lines(request.method, exchange.path, request.route, exchange.status)
    expected = lines if exchange.from_service else lines[:1]
    records = context.log_records(exchange.correlation_id)
    return line_problems(records, expected, Facts(exchange.correlation_id, "", 0), exchange.trace_id)


def _check_foreign_id(group: Group, document: Document) -> Counter[Series]:
    """A client's ID that is no UUID4 is replaced, not refused; returns what the request has raised."""
    path = f"/clients/{document.client_id}/documents/{document.document_id}"
    exchange = group.context.api.send("GET", path, correlation_id="no-uuid4")
    problems = [] if exchange.status == httpx.codes.OK else [f"status {exchange.status}, expected 200"]
    if not is_correlation_id(exchange.answered_id):
        problems.append(f"X-Correlation-ID is {exchange.answered_id!r}, expected a UUID4")
    group.add("a correlation ID that is none: answer", problems, f"replaced by {exchange.answered_id}")
    return tally(RETRIEVAL_COUNTERS)


def is_correlation_id(text: str) -> bool:
    """Whether the services would take this ID."""
    return accept_correlation_id(text) == text


def _counted(request: WrongRequest, exchange: Exchange) -> Counter[Series]:
    """What this request must have raised: nothing when nginx refused it before a service saw it."""
    return tally(request.counters()) if exchange.from_service else Counter()

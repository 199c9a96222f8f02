"""What one request must leave behind: spans, log lines and counters, made of the contract."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from opentelemetry.semconv.attributes import db_attributes as db
from opentelemetry.semconv.attributes import http_attributes as http

from observability import signals
from observability.signals import DOCUMENT_ROUTE, RECORDS_ROUTE, UPLOAD_ROUTE, Attribute, Outcome, Span
from observability_checks.contract.spans import (
    CALL_SPAN,
    CHAT_SPAN,
    REQUEST_SPAN,
    SPANS,
    SpanSpec,
)
from observability_checks.counters import Series
from telemetry_queries.models import SpanRecord
from telemetry_queries.sources import Source

TABLE = "document_metadata"
# As nginx has it.
_KNOWN_PATH = re.compile(
    r"/clients/[^/]+/(upload-documents?|search|documents(/\d{1,12}(/(content|versions|restore|purge))?)?)"
)
Values = Mapping[str, object]
# Spans that a request makes, by service and name in the contract, with what is known of their attributes.
Steps = Mapping[tuple[Source, str], Values]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sender knows of a request and must find again in its telemetry."""

    correlation_id: str
    client_id: str
    document_id: int
    file_size: int = 0
    filename: str = ""
    authenticated: bool = False


@dataclass(frozen=True, slots=True)
class ExpectedSpan:
    """A span of the contract that must be there once below its parent, with these values and its children."""

    spec: SpanSpec
    equals: Values
    children: tuple["ExpectedSpan", ...]

    @property
    def name(self) -> str:
        """What it is called, as far as is known before."""
        return self.spec.named(self.equals)

    @property
    def has(self) -> frozenset[str]:
        """Attributes that it must have, whatever their values; the IDs of the request are those of its `Facts`."""
        known = {Attribute.CORRELATION_ID, Attribute.CLIENT_ID, *self.equals}
        return (self.spec.required | self.spec.on_success) - known

    @property
    def optional(self) -> bool:
        """Whether it may be missing, or there several times: there is not always a model, and it is asked for each part of a text."""
        return self.spec.name == CHAT_SPAN

    def fits(self, span: SpanRecord) -> bool:
        """Whether a stored span has its name."""
        return span.name == self.spec.named({**span.attributes, **self.equals})


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """A log line that must be there exactly once."""

    service: Source
    level: str
    message: str


def _below(parent: SpanSpec | None, steps: Steps) -> tuple[ExpectedSpan, ...]:
    """Return those of the steps that hang below a span, in the order of the contract, with all below them."""
    return tuple(
        ExpectedSpan(spec, steps[spec.service, spec.name], _below(spec, steps))
        for spec in SPANS
        if (spec.service, spec.name) in steps and spec.is_below(parent)
    )


def _tree(api: Mapping[str, Values], store: Mapping[str, Values]) -> ExpectedSpan:
    steps = {(Source.DOCUMENT_API, name): values for name, values in api.items()}
    steps |= {(Source.DATA_STORE, name): values for name, values in store.items()}
    (root,) = _below(None, steps)
    return root


def _call(method: str, status: int) -> Values:
    return {http.HTTP_REQUEST_METHOD: method, http.HTTP_RESPONSE_STATUS_CODE: status}


def _request(method: str, route: str, status: int) -> Values:
    return {**_call(method, status), http.HTTP_ROUTE: route}


def _statement(operation: str) -> Values:
    return {db.DB_OPERATION_NAME: operation, db.DB_COLLECTION_NAME: TABLE}


def _found(facts: Facts) -> Values:
    return {Attribute.DOCUMENT_ID: facts.document_id, Attribute.OUTCOME: Outcome.SUCCESS}


def upload_spans(facts: Facts) -> ExpectedSpan:
    """Span tree of an upload that succeeded."""
    return _tree(
        {
            REQUEST_SPAN: _request("PUT", UPLOAD_ROUTE, 200),
            Span.UPLOAD_DOCUMENT: _found(facts),
            Span.FILE_PROCESSING: {Attribute.FILE_SIZE: facts.file_size},
            Span.FILE_READ: {Attribute.CONTENT_BYTES: facts.file_size},
            Span.FILE_SAVE: {Attribute.STORAGE_BYTES: facts.file_size},
            Span.LLM_SUMMARIZATION: {},
            CHAT_SPAN: {},
            Span.STORE_METADATA: {Attribute.DATABASE_OPERATION: "INSERT"},
            CALL_SPAN: _call("POST", 201),
        },
        {
            REQUEST_SPAN: _request("POST", RECORDS_ROUTE, 201),
            Span.DATABASE_CONNECTION: {},
            Span.SQL_EXECUTION: _statement("INSERT"),
            Span.TRANSACTION_COMMIT: {Attribute.SUCCESS_STATUS: "committed"},
        },
    )


def retrieval_spans(facts: Facts) -> ExpectedSpan:
    """Span tree of a GET that found its document."""
    return _tree(
        {
            REQUEST_SPAN: _request("GET", DOCUMENT_ROUTE, 200),
            Span.RETRIEVE_DOCUMENT: _found(facts),
            CALL_SPAN: _call("GET", 200),
        },
        {
            REQUEST_SPAN: _request("GET", DOCUMENT_ROUTE, 200),
            Span.DATABASE_CONNECTION: {},
            Span.SQL_EXECUTION: _statement("SELECT"),
        },
    )


def upload_lines(facts: Facts) -> tuple[ExpectedLine, ...]:
    """Log lines of an upload that succeeded; nginx writes the path, the services write the route."""
    return (
        ExpectedLine(Source.NGINX, "INFO", f"PUT /clients/{facts.client_id}/upload-document 200"),
        ExpectedLine(Source.DOCUMENT_API, "INFO", "Document uploaded"),
        ExpectedLine(Source.DOCUMENT_API, "INFO", f"PUT {UPLOAD_ROUTE} 200"),
        ExpectedLine(Source.DATA_STORE, "INFO", f"POST {RECORDS_ROUTE} 201"),
    )


def retrieval_lines(facts: Facts) -> tuple[ExpectedLine, ...]:
    """Log lines of a GET that found its document."""
    return (
        ExpectedLine(
            Source.NGINX, "INFO", f"GET /clients/{facts.client_id}/documents/{facts.document_id} 200"
        ),
        ExpectedLine(Source.DOCUMENT_API, "INFO", f"GET {DOCUMENT_ROUTE} 200"),
        ExpectedLine(Source.DATA_STORE, "INFO", f"GET {DOCUMENT_ROUTE} 200"),
    )


def refusal_lines(method: str, path: str, route: str, status: int) -> tuple[ExpectedLine, ...]:
    """Log lines of a request that document-api refused: a client's mistake is no ERROR.

    nginx writes no path that the system does not have: it may be anything.
    """
    written = path if _KNOWN_PATH.fullmatch(path) else "unmatched"
    return (
        ExpectedLine(Source.NGINX, "INFO", f"{method} {written} {status}"),
        ExpectedLine(Source.DOCUMENT_API, "INFO", f"{method} {route} {status}"),
    )


def requests_series(service: Source, method: str, path: str, status: int) -> Series:
    """Counter of the answered requests of a service."""
    return Series(signals.HTTP_REQUESTS.prometheus_name, service, (method, path, str(status)))


def errors_series(service: Source, method: str, path: str, status: int, error_type: str) -> Series:
    """Counter of the refused and failed requests of a service."""
    return Series(signals.HTTP_ERRORS.prometheus_name, service, (method, path, str(status), error_type))


def statements_series(operation: str) -> Series:
    """Counter of the SQL statements that succeeded."""
    return Series(signals.DATABASE_OPERATIONS.prometheus_name, Source.DATA_STORE, (operation, TABLE, "true"))


UPLOAD_COUNTERS = (
    requests_series(Source.DOCUMENT_API, "PUT", UPLOAD_ROUTE, 200),
    requests_series(Source.DATA_STORE, "POST", RECORDS_ROUTE, 201),
    statements_series("INSERT"),
)
RETRIEVAL_COUNTERS = (
    requests_series(Source.DOCUMENT_API, "GET", DOCUMENT_ROUTE, 200),
    requests_series(Source.DATA_STORE, "GET", DOCUMENT_ROUTE, 200),
    statements_series("SELECT"),
)
NOT_FOUND_COUNTERS = (
    requests_series(Source.DOCUMENT_API, "GET", DOCUMENT_ROUTE, 404),
    requests_series(Source.DATA_STORE, "GET", DOCUMENT_ROUTE, 404),
    errors_series(Source.DOCUMENT_API, "GET", DOCUMENT_ROUTE, 404, signals.ErrorType.NOT_FOUND),
    errors_series(Source.DATA_STORE, "GET", DOCUMENT_ROUTE, 404, signals.ErrorType.NOT_FOUND),
    statements_series("SELECT"),
)


def refused_counters(method: str, path: str, status: int, error_type: str) -> tuple[Series, ...]:
    """Counters of a request that document-api refused by itself."""
    return (
        requests_series(Source.DOCUMENT_API, method, path, status),
        errors_series(Source.DOCUMENT_API, method, path, status, error_type),
    )


def tally(counters: Iterable[Series], times: int = 1) -> Counter[Series]:
    """Expected rise after so many requests."""
    return Counter(dict.fromkeys(counters, times))

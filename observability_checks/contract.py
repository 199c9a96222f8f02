"""What one request must leave behind, as data: spans, log lines and counters (the signal contract)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from opentelemetry.semconv.attributes import db_attributes as db
from opentelemetry.semconv.attributes import http_attributes as http

from observability import signals
from observability.signals import DOCUMENT_ROUTE, RECORDS_ROUTE, UPLOAD_ROUTE, Attribute, Outcome, Span
from observability_checks.counters import Series

TABLE = "document_metadata"


class Service(StrEnum):
    """Names under which telemetry arrives (service.name)."""

    NGINX = "nginx"
    DOCUMENT_API = "document-api"
    DATA_STORE = "data-store"


class Kind(StrEnum):
    """Span kinds as Jaeger writes them."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sender knows of a request and must find again in its telemetry."""

    correlation_id: str
    client_id: str
    document_id: int
    file_size: int = 0
    filename: str = ""


@dataclass(frozen=True, slots=True)
class ExpectedSpan:
    """A span that must be there once below its parent, with its children; `optional` ones may be missing."""

    name: str
    kind: Kind
    service: Service
    has: tuple[str, ...] = ()
    equals: Mapping[str, object] = field(default_factory=dict)
    children: tuple["ExpectedSpan", ...] = ()
    optional: bool = False

    def is_named(self, name: str) -> bool:
        """Whether a span's name fits; that of an optional one is only its beginning."""
        return name.startswith(self.name) if self.optional else name == self.name


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """A log line that must be there exactly once."""

    service: Service
    level: str
    message: str


def _server(service: Service, method: str, route: str, status: int, *children: ExpectedSpan) -> ExpectedSpan:
    known = {http.HTTP_REQUEST_METHOD: method, http.HTTP_ROUTE: route, http.HTTP_RESPONSE_STATUS_CODE: status}
    return ExpectedSpan(f"{method} {route}", Kind.SERVER, service, (), known, children)


def _client(method: str, status: int, *children: ExpectedSpan) -> ExpectedSpan:
    known = {http.HTTP_REQUEST_METHOD: method, http.HTTP_RESPONSE_STATUS_CODE: status}
    return ExpectedSpan(method, Kind.CLIENT, Service.DOCUMENT_API, (), known, children)


def _connection() -> ExpectedSpan:
    has = (Attribute.POOL_WAIT, Attribute.POOL_IN_USE, Attribute.POOL_SIZE)
    return ExpectedSpan(Span.DATABASE_CONNECTION, Kind.INTERNAL, Service.DATA_STORE, has)


def _statement(operation: str) -> ExpectedSpan:
    has = (db.DB_SYSTEM_NAME, db.DB_QUERY_SUMMARY, Attribute.QUERY_TIMING)
    known = {db.DB_OPERATION_NAME: operation, db.DB_COLLECTION_NAME: TABLE}
    return ExpectedSpan(Span.SQL_EXECUTION, Kind.CLIENT, Service.DATA_STORE, has, known)


def _step(
    name: Span, *has: str, equals: Mapping[str, object] | None = None, children: tuple[ExpectedSpan, ...] = ()
) -> ExpectedSpan:
    return ExpectedSpan(name, Kind.INTERNAL, Service.DOCUMENT_API, has, equals or {}, children)


def _file_processing(facts: Facts) -> ExpectedSpan:
    size = facts.file_size
    return _step(
        Span.FILE_PROCESSING,
        *(Attribute.FILE_TYPE, Attribute.FILE_SHA256, Attribute.SUMMARY_INPUT_CHARS),
        equals={Attribute.FILE_SIZE: size},
        children=(
            _step(Span.FILE_READ, Attribute.CONTENT_CHUNKS, equals={Attribute.CONTENT_BYTES: size}),
            _step(Span.FILE_SAVE, Attribute.STORAGE_BACKEND, equals={Attribute.STORAGE_BYTES: size}),
        ),
    )


def _summarization() -> ExpectedSpan:
    model = ExpectedSpan("chat ", Kind.CLIENT, Service.DOCUMENT_API, optional=True)
    return _step(
        Span.LLM_SUMMARIZATION, Attribute.PROCESSING_TIME, Attribute.SUMMARY_SOURCE, children=(model,)
    )


def _store_metadata() -> ExpectedSpan:
    commit = ExpectedSpan(
        *(Span.TRANSACTION_COMMIT, Kind.INTERNAL, Service.DATA_STORE),
        equals={Attribute.SUCCESS_STATUS: "committed"},
    )
    record = _server(
        *(Service.DATA_STORE, "POST", RECORDS_ROUTE, 201, _connection(), _statement("INSERT"), commit)
    )
    known: Mapping[str, object] = {Attribute.DATABASE_OPERATION: "INSERT"}
    return _step(Span.STORE_METADATA, equals=known, children=(_client("POST", 201, record),))


def upload_spans(facts: Facts) -> ExpectedSpan:
    """Span tree of an upload that succeeded."""
    business = _step(
        Span.UPLOAD_DOCUMENT,
        equals={Attribute.DOCUMENT_ID: facts.document_id, Attribute.OUTCOME: Outcome.SUCCESS},
        children=(_file_processing(facts), _summarization(), _store_metadata()),
    )
    return _server(Service.DOCUMENT_API, "PUT", UPLOAD_ROUTE, 200, business)


def retrieval_spans(facts: Facts) -> ExpectedSpan:
    """Span tree of a GET that found its document."""
    record = _server(Service.DATA_STORE, "GET", DOCUMENT_ROUTE, 200, _connection(), _statement("SELECT"))
    business = _step(
        Span.RETRIEVE_DOCUMENT,
        equals={Attribute.DOCUMENT_ID: facts.document_id, Attribute.OUTCOME: Outcome.SUCCESS},
        children=(_client("GET", 200, record),),
    )
    return _server(Service.DOCUMENT_API, "GET", DOCUMENT_ROUTE, 200, business)


def upload_lines(facts: Facts) -> tuple[ExpectedLine, ...]:
    """Log lines of an upload that succeeded; nginx writes the path, the services write the route."""
    return (
        ExpectedLine(Service.NGINX, "INFO", f"PUT /clients/{facts.client_id}/upload-document 200"),
        ExpectedLine(Service.DOCUMENT_API, "INFO", "Document uploaded"),
        ExpectedLine(Service.DOCUMENT_API, "INFO", f"PUT {UPLOAD_ROUTE} 200"),
        ExpectedLine(Service.DATA_STORE, "INFO", f"POST {RECORDS_ROUTE} 201"),
    )


def retrieval_lines(facts: Facts) -> tuple[ExpectedLine, ...]:
    """Log lines of a GET that found its document."""
    return (
        ExpectedLine(
            Service.NGINX, "INFO", f"GET /clients/{facts.client_id}/documents/{facts.document_id} 200"
        ),
        ExpectedLine(Service.DOCUMENT_API, "INFO", f"GET {DOCUMENT_ROUTE} 200"),
        ExpectedLine(Service.DATA_STORE, "INFO", f"GET {DOCUMENT_ROUTE} 200"),
    )


def refusal_lines(method: str, path: str, route: str, status: int) -> tuple[ExpectedLine, ...]:
    """Log lines of a request that document-api refused: a client's mistake is no ERROR."""
    return (
        ExpectedLine(Service.NGINX, "INFO", f"{method} {path} {status}"),
        ExpectedLine(Service.DOCUMENT_API, "INFO", f"{method} {route} {status}"),
    )


def requests_series(service: Service, method: str, path: str, status: int) -> Series:
    """Counter of the answered requests of a service."""
    return Series(signals.HTTP_REQUESTS.prometheus_name, service, (method, path, str(status)))


def errors_series(service: Service, method: str, path: str, status: int, error_type: str) -> Series:
    """Counter of the refused and failed requests of a service."""
    return Series(signals.HTTP_ERRORS.prometheus_name, service, (method, path, str(status), error_type))


def statements_series(operation: str) -> Series:
    """Counter of the SQL statements that succeeded."""
    return Series(signals.DATABASE_OPERATIONS.prometheus_name, Service.DATA_STORE, (operation, TABLE, "true"))


UPLOAD_COUNTERS = (
    requests_series(Service.DOCUMENT_API, "PUT", UPLOAD_ROUTE, 200),
    requests_series(Service.DATA_STORE, "POST", RECORDS_ROUTE, 201),
    statements_series("INSERT"),
)
RETRIEVAL_COUNTERS = (
    requests_series(Service.DOCUMENT_API, "GET", DOCUMENT_ROUTE, 200),
    requests_series(Service.DATA_STORE, "GET", DOCUMENT_ROUTE, 200),
    statements_series("SELECT"),
)
NOT_FOUND_COUNTERS = (
    requests_series(Service.DOCUMENT_API, "GET", DOCUMENT_ROUTE, 404),
    requests_series(Service.DATA_STORE, "GET", DOCUMENT_ROUTE, 404),
    errors_series(Service.DOCUMENT_API, "GET", DOCUMENT_ROUTE, 404, signals.ErrorType.NOT_FOUND),
    errors_series(Service.DATA_STORE, "GET", DOCUMENT_ROUTE, 404, signals.ErrorType.NOT_FOUND),
    statements_series("SELECT"),
)


def refused_counters(method: str, path: str, status: int, error_type: str) -> tuple[Series, ...]:
    """Counters of a request that document-api refused by itself."""
    return (
        requests_series(Service.DOCUMENT_API, method, path, status),
        errors_series(Service.DOCUMENT_API, method, path, status, error_type),
    )


def tally(counters: Iterable[Series], times: int = 1) -> Counter[Series]:
    """Expected rise after so many requests."""
    return Counter(dict.fromkeys(counters, times))

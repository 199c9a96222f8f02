"""Every span, attribute and metric name of robin, once: services, tests, dashboards and checks take them from here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

SERVICE_NAMESPACE: Final = "robin"
CORRELATION_HEADER: Final = "X-Correlation-ID"

UPLOAD_ROUTE: Final = "/clients/{client_id}/upload-document"
BULK_UPLOAD_ROUTE: Final = "/clients/{client_id}/upload-documents"
DOCUMENT_ROUTE: Final = "/clients/{client_id}/documents/{doc_id}"
CONTENT_ROUTE: Final = "/clients/{client_id}/documents/{doc_id}/content"
VERSIONS_ROUTE: Final = "/clients/{client_id}/documents/{doc_id}/versions"
VERSION_ROUTE: Final = "/clients/{client_id}/documents/{doc_id}/versions/{version}"
RESTORE_ROUTE: Final = "/clients/{client_id}/documents/{doc_id}/restore"
PURGE_ROUTE: Final = "/clients/{client_id}/documents/{doc_id}/purge"
SEARCH_ROUTE: Final = "/clients/{client_id}/search"
RECORDS_ROUTE: Final = "/clients/{client_id}/documents"
PRINCIPAL_BY_KEY_ROUTE: Final = "/principals/by-key"
PRINCIPAL_BY_SUBJECT_ROUTE: Final = "/principals/by-subject"
KNOWN_STORAGE_KEYS_ROUTE: Final = "/storage-keys/known"
REMOVED_STORAGE_KEYS_ROUTE: Final = "/storage-keys/removed"
FORGOTTEN_STORAGE_KEYS_ROUTE: Final = "/storage-keys/forgotten"
SUMMARY_ROUTE: Final = "/clients/{client_id}/documents/{doc_id}/summary"
SUMMARY_JOBS_ROUTE: Final = "/summary-jobs/claimed"
HEALTH_ROUTE: Final = "/health"
# Whoever looks at telemetry is not what is looked at.
OBSERVABILITY_PREFIX: Final = "/observability"
STORY_ROUTE: Final = f"{OBSERVABILITY_PREFIX}/requests/{{correlation_id}}"
RECENT_REQUESTS_ROUTE: Final = f"{OBSERVABILITY_PREFIX}/requests"
OVERVIEW_ROUTE: Final = f"{OBSERVABILITY_PREFIX}/health"
UNMATCHED_ROUTE: Final = "unmatched"
FAILED_STATUS: Final = 400  # from here on an answer is a refusal or a failure


class Span(StrEnum):
    """Names of the business and database steps; HTTP spans are named by method and route."""

    AUTHENTICATE = "authenticate"
    UPLOAD_DOCUMENT = "upload_document"
    RETRIEVE_DOCUMENT = "retrieve_document"
    FILE_PROCESSING = "file_processing"
    FILE_READ = "file_read"
    FILE_SAVE = "file_save"
    VIRUS_SCAN = "virus_scan"
    TEXT_EXTRACTION = "text_extraction"
    LLM_SUMMARIZATION = "llm_summarization"
    STORE_METADATA = "store_metadata"
    LIST_DOCUMENTS = "list_documents"
    SEARCH_DOCUMENTS = "search_documents"
    RETRIEVE_CONTENT = "retrieve_content"
    LIST_VERSIONS = "list_versions"
    CHANGE_DOCUMENT = "change_document"
    DELETE_DOCUMENT = "delete_document"
    RESTORE_DOCUMENT = "restore_document"
    PURGE_DOCUMENT = "purge_document"
    CLAIM_SUMMARIES = "claim_summaries"
    SUMMARIZE_LATER = "summarize_later"
    STORE_SUMMARY = "store_summary"
    SWEEP_LEFTOVERS = "sweep_leftovers"
    REMOVE_CONTENTS = "remove_contents"
    DATABASE_CONNECTION = "database_connection"
    SQL_EXECUTION = "sql_execution"
    TRANSACTION_COMMIT = "transaction_commit"


class Attribute(StrEnum):
    """Span attributes of our own; the rest are OpenTelemetry semantic conventions."""

    CORRELATION_ID = "correlation_id"
    CLIENT_ID = "client_id"
    DOCUMENT_ID = "document.id"
    DOCUMENT_COUNT = "document.count"
    OUTCOME = "outcome"
    FILE_SIZE = "file_size"
    FILE_TYPE = "file_type"
    FILE_SHA256 = "file.sha256"
    CONTENT_BYTES = "content_processing.bytes"
    CONTENT_CHUNKS = "content_processing.chunks"
    STORAGE_BYTES = "storage.bytes"
    STORAGE_BACKEND = "storage.backend"
    SCAN_RESULT = "scan.result"
    TEXT_CHARS = "text.chars"
    TEXT_OUTCOME = "text.outcome"
    PROCESSING_TIME = "processing_time"
    SUMMARY_INPUT_CHARS = "summary.input_chars"
    SUMMARY_SOURCE = "summary.source"
    SUMMARY_REASON = "summary.reason"
    SUMMARY_ATTEMPT = "summary.attempt"
    SUMMARY_JOBS = "summary.jobs"
    DATABASE_OPERATION = "database_operation"
    ADMISSION_WAIT = "admission.wait"
    POOL_WAIT = "connection_pool.wait"
    POOL_IN_USE = "pool.in_use"
    POOL_SIZE = "pool.size"
    QUERY_TIMING = "query_timing"
    SUCCESS_STATUS = "success_status"
    PROBLEM_DETAIL = "problem.detail"
    AUTH_METHOD = "auth.method"
    AUTH_DENIED = "auth.denied"
    EXEMPLAR_KEEP = "exemplar.keep"


class Outcome(StrEnum):
    """How a step ended: value of the attribute `outcome`."""

    SUCCESS = "success"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DocumentChange(StrEnum):
    """What somebody did to a stored document: value of the label `change`."""

    VERSION_ADDED = "version_added"
    CHANGED = "changed"
    DELETED = "deleted"
    RESTORED = "restored"
    PURGED = "purged"


class StorageBackend(StrEnum):
    """What keeps the bytes of documents: value of the attribute `storage.backend`."""

    FILE_SYSTEM = "file_system"
    S3 = "s3"


class LaterSummary(StrEnum):
    """What became of a summary whose turn it was: value of the label `outcome`."""

    WRITTEN = "written"
    POSTPONED = "postponed"  # the model wrote none: it is asked again later
    GONE = "gone"  # the document is purged, or somebody else has written it


class Swept(StrEnum):
    """What a leftover of the document storage was: value of the label `outcome`."""

    UNFINISHED = "unfinished"  # an upload that did not come to its end: removed
    ORPHAN = "orphan"  # bytes without a record: removed
    STORED = "stored"  # bytes of a document: kept


class ScanResult(StrEnum):
    """What a virus scanner said of an upload: value of the attribute `scan.result` and of the label `result`."""

    CLEAN = "clean"
    INFECTED = "infected"
    TOO_LARGE = "too_large"  # for the scanner
    NO_ANSWER = "no_answer"


class ErrorType(StrEnum):
    """Closed list for the label `error_type` and the attribute `error.type` of an answered problem."""

    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    CONFLICT = "conflict"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    VALIDATION_ERROR = "validation_error"
    TOO_MANY_REQUESTS = "too_many_requests"
    CLIENT_DISCONNECTED = "client_disconnected"
    CLIENT_ERROR = "client_error"
    INTERNAL_ERROR = "internal_error"
    UPSTREAM_ERROR = "upstream_error"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    INSUFFICIENT_STORAGE = "insufficient_storage"


class HealthStatus(StrEnum):
    """State of a component or of a whole service."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


# All values that a label may have, or how many at most where they come from outside.
Bound = frozenset[str] | int
InstrumentKind = Literal["counter", "updowncounter", "histogram", "gauge"]
# Prometheus' suffix for an OTel unit (UnderscoreEscapingWithSuffixes); annotations in braces add none.
_UNIT_SUFFIX: Final = {"s": "_seconds", "By": "_bytes"}


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric of the contract. `unit` is UCUM, `labels` are bounded, `buckets` are upper bounds in that unit."""

    name: str
    kind: InstrumentKind
    description: str
    unit: str = ""
    labels: Mapping[str, Bound] = field(default_factory=dict, hash=False)
    buckets: Sequence[float] | None = None
    exemplars: bool = False
    sometimes: frozenset[str] = frozenset()  # labels that not every series has

    @property
    def prometheus_labels(self) -> Mapping[str, Bound]:
        """The labels under the names that Prometheus gives them."""
        return {label.replace(".", "_"): bound for label, bound in self.labels.items()}

    @property
    def prometheus_name(self) -> str:
        """Name under which Prometheus stores it (a histogram's `_bucket`, `_sum`, `_count` follow it)."""
        name = self.name.replace(".", "_") + _UNIT_SUFFIX.get(self.unit, "")
        return f"{name}_total" if self.kind == "counter" else name


REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
STATEMENT_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SIZE_BYTES: Final = (
    1_024,
    16_384,
    131_072,
    1_048_576,
    5_242_880,
    10_485_760,
    26_214_400,
    52_428_800,
    1_073_741_824,
)
DELAY_SECONDS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
# From the GenAI semantic conventions, "Metric: gen_ai.client.*".
GEN_AI_SECONDS: Final = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
)
GEN_AI_TOKENS: Final = (
    1,
    4,
    16,
    64,
    256,
    1024,
    4096,
    16384,
    65536,
    262144,
    1048576,
    4194304,
    16777216,
    67108864,
)

METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "_OTHER"}
)
# The last ones are FastAPI's own.
ROUTES: Final = frozenset(
    {
        *(UPLOAD_ROUTE, BULK_UPLOAD_ROUTE, DOCUMENT_ROUTE, RECORDS_ROUTE, HEALTH_ROUTE, UNMATCHED_ROUTE),
        *(CONTENT_ROUTE, VERSIONS_ROUTE, VERSION_ROUTE, RESTORE_ROUTE, PURGE_ROUTE, SEARCH_ROUTE),
        *(REMOVED_STORAGE_KEYS_ROUTE, FORGOTTEN_STORAGE_KEYS_ROUTE, SUMMARY_ROUTE, SUMMARY_JOBS_ROUTE),
        *(PRINCIPAL_BY_KEY_ROUTE, PRINCIPAL_BY_SUBJECT_ROUTE, KNOWN_STORAGE_KEYS_ROUTE),
        *(STORY_ROUTE, RECENT_REQUESTS_ROUTE, OVERVIEW_ROUTE),
        *("/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"),
    }
)
STATUSES: Final = frozenset(
    str(status)
    for status in (
        *(200, 201, 204, 206, 304, 307),
        *(400, 401, 403, 404, 405, 408, 409, 413, 415, 416, 422, 429, 499),
        *(500, 502, 503, 504, 507),
    )
)
# Most series that one process sends, whatever its clients do.
SERIES_PER_INSTANCE: Final = 2000

_METHOD: Final = {"method": METHODS}
_HTTP: Final = {**_METHOD, "path": ROUTES, "status": STATUSES}
_STATEMENT: Final = {
    "operation": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"}),
    "table": frozenset(
        {
            *("document_metadata", "document_versions", "document_texts", "removed_contents", "summary_jobs"),
            *("users", "clients", "pg_catalog.pg_class", "none"),
        }
    ),
}
_COMPONENT: Final = {
    "component": frozenset(
        {
            *("overall", "file_system", "object_store", "data_store", "virus_scanner"),
            *("database", "connection_pool"),
            *("document_metadata", "users", "clients"),
        }
    )
}
# What is told of the values that clients choose: these, and that there was another one.
OTHER: Final = "other"
MEDIA_TYPES: Final = frozenset(
    {
        "application/json",
        "application/msword",
        "application/octet-stream",
        "application/pdf",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/xml",
        "application/zip",
        "image/jpeg",
        "image/png",
        "text/csv",
        "text/html",
        "text/markdown",
        "text/plain",
    }
)
_FILE_TYPE: Final = {"file_type": MEDIA_TYPES | {OTHER}}
SUMMARY_SOURCES: Final = frozenset({"extractive", "llm", "none"})
# Of a text that was read; else it is why not.
TEXT_EXTRACTED: Final = "extracted"
TEXT_FAILURES: Final = frozenset(
    {
        *("not_text", "no_words", "malformed", "encrypted", "too_complex"),
        *("extraction_timeout", "extraction_busy", "extraction_failed"),
    }
)
SUMMARY_REASONS: Final = frozenset(
    {
        *TEXT_FAILURES,
        "summarizer_failed",
        *("llm_timeout", "llm_unreachable", "llm_error_status", "llm_rate_limited", "llm_invalid_answer"),
        *("llm_declined", "llm_busy", "llm_circuit_open"),
    }
)

HTTP_REQUESTS: Final = MetricSpec(
    "http_requests", "counter", "Requests answered", "{request}", _HTTP, exemplars=True
)
HTTP_REQUEST_DURATION: Final = MetricSpec(
    "http_request_duration",
    "histogram",
    "Time to answer a request",
    "s",
    _HTTP,
    REQUEST_SECONDS,
    exemplars=True,
)
HTTP_ERRORS: Final = MetricSpec(
    "http_errors",
    "counter",
    "Requests answered with 4xx or 5xx",
    "{request}",
    {**_HTTP, "error_type": frozenset(ErrorType)},
    exemplars=True,
)
HTTP_IN_PROGRESS: Final = MetricSpec(
    "http_requests_in_progress", "updowncounter", "Requests being answered now", "{request}", _METHOD
)
REQUESTS_SHED: Final = MetricSpec(
    "requests_shed",
    "counter",
    "Requests refused at once because the service has too much in hand",
    "{request}",
    {**_METHOD, "path": ROUTES},
)
DATABASE_OPERATIONS: Final = MetricSpec(
    "database_operations",
    "counter",
    "SQL statements executed",
    "{operation}",
    {**_STATEMENT, "success": frozenset({"true", "false"})},
    exemplars=True,
)
DATABASE_OPERATION_DURATION: Final = MetricSpec(
    "database_operation_duration",
    "histogram",
    "Time to execute a SQL statement",
    "s",
    _STATEMENT,
    STATEMENT_SECONDS,
    exemplars=True,
)
DATABASE_POOL: Final = MetricSpec(
    "database_connection_pool",
    "gauge",
    "Connections by state: in_use, idle, overflow, max",
    "",
    {"state": frozenset({"in_use", "idle", "overflow", "max"})},
)
DATABASE_POOL_WAIT: Final = MetricSpec(
    "database_connection_pool_wait",
    "histogram",
    "Time to get a connection from the pool",
    "s",
    {},
    STATEMENT_SECONDS,
    exemplars=True,
)
DATABASE_POOL_EXHAUSTED: Final = MetricSpec(
    "database_connection_pool_exhausted",
    "counter",
    "Requests that got no connection: they waited too long, or too many were waiting",
    "{wait}",
)
HEALTH_CHECKS: Final = MetricSpec(
    "health_check",
    "counter",
    "Health checks by component and result",
    "{check}",
    {**_COMPONENT, "status": frozenset(HealthStatus)},
)
HEALTH_CHECK_DURATION: Final = MetricSpec(
    "health_check_duration", "histogram", "Time a health check took", "s", _COMPONENT, REQUEST_SECONDS
)
DOCUMENTS_UPLOADED: Final = MetricSpec(
    "documents_uploaded",
    "counter",
    "Documents stored",
    "{document}",
    {"client": 51, **_FILE_TYPE},
    exemplars=True,
)
DOCUMENTS_DOWNLOADED: Final = MetricSpec(
    "documents_downloaded",
    "counter",
    "Times that the bytes of a document were asked for",
    "{document}",
    {"client": 51, **_FILE_TYPE},
    exemplars=True,
)
DOCUMENT_CHANGES: Final = MetricSpec(
    "document_changes",
    "counter",
    "Stored documents that were changed, deleted, restored or purged",
    "{document}",
    {"client": 51, "change": frozenset(DocumentChange)},
    exemplars=True,
)
TENANT_REQUESTS: Final = MetricSpec(
    "tenant_requests",
    "counter",
    "Requests of each client by class of their status",
    "{request}",
    {"client": 51, "status": frozenset({"1xx", "2xx", "3xx", "4xx", "5xx"})},
    exemplars=True,
)
TENANT_LIMIT_EXCEEDED: Final = MetricSpec(
    "tenant_limit_exceeded",
    "counter",
    "Requests refused because the client is over a limit of its own",
    "{request}",
    {"client": 51, "limit": frozenset({"requests", "uploads", "bytes", "documents"})},
    exemplars=True,
)
DATA_STORE_RETRIES: Final = MetricSpec(
    "data_store_retries",
    "counter",
    "Calls to the data store that were made again, by why they had failed",
    "{call}",
    {"reason": frozenset({"refused", "lost", "unavailable"})},
    exemplars=True,
)
DATA_STORE_REFUSALS: Final = MetricSpec(
    "data_store_refusals",
    "counter",
    "Calls to the data store that were not made, or not made again",
    "{call}",
    {"reason": frozenset({"circuit_open", "budget_spent"})},
    exemplars=True,
)
DATA_STORE_CIRCUIT: Final = MetricSpec(
    "data_store_circuit",
    "gauge",
    "State of the circuit to the data store: 1 for the one that it has",
    "",
    {"state": frozenset({"closed", "half_open", "open"})},
)
DOCUMENT_SIZE: Final = MetricSpec(
    "document_size", "histogram", "Size of stored documents", "By", _FILE_TYPE, SIZE_BYTES, exemplars=True
)
TEXT_EXTRACTION_DURATION: Final = MetricSpec(
    "text_extraction_duration",
    "histogram",
    "Time to read the text of a document in a process of its own",
    "s",
    {
        "file_type": frozenset(
            {
                *("application/json", "application/pdf", "application/zip", "text/html", OTHER),
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            }
        ),
        "outcome": TEXT_FAILURES | {TEXT_EXTRACTED},
    },
    REQUEST_SECONDS,
    exemplars=True,
)
VIRUS_SCAN_DURATION: Final = MetricSpec(
    "virus_scan_duration",
    "histogram",
    "Time that the virus scanner took for an upload",
    "s",
    {"result": frozenset(ScanResult)},
    REQUEST_SECONDS,
    exemplars=True,
)
SUMMARIES: Final = MetricSpec(
    "summaries",
    "counter",
    "Summaries by source and reason",
    "{summary}",
    {"source": SUMMARY_SOURCES, "reason": SUMMARY_REASONS | {"none"}},
    exemplars=True,
)
LATER_SUMMARIES: Final = MetricSpec(
    "later_summaries",
    "counter",
    "Summaries that are written after the upload, each time that it is their turn",
    "{summary}",
    {"outcome": frozenset(LaterSummary)},
    exemplars=True,
)
LATER_SUMMARY_DELAY: Final = MetricSpec(
    "later_summary_delay",
    "histogram",
    "Time from an upload to its later summary",
    "s",
    {},
    DELAY_SECONDS,
    exemplars=True,
)
# Of the chat API's own list: whoever serves a model could answer any text there.
GEN_AI_FINISH_REASONS: Final = frozenset({"stop", "length", "content_filter", "tool_calls", "function_call"})
# Statuses that are an `error.type` of their own; every other one is `_OTHER`.
GEN_AI_STATUSES: Final = frozenset(
    map(str, (400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529))
)
GEN_AI_ERRORS: Final = GEN_AI_STATUSES | {
    *("timeout", "connection_error", "invalid_answer", "declined", "cancelled", "_OTHER")
}
_GEN_AI: Final[Mapping[str, Bound]] = {
    "gen_ai.operation.name": frozenset({"chat"}),
    "gen_ai.provider.name": frozenset({"openai"}),
    "gen_ai.request.model": 1,
}
GEN_AI_OPERATION_DURATION: Final = MetricSpec(
    "gen_ai.client.operation.duration",
    "histogram",
    "Duration of a call to the model",
    "s",
    {**_GEN_AI, "error.type": GEN_AI_ERRORS},
    GEN_AI_SECONDS,
    exemplars=True,
    sometimes=frozenset({"error.type"}),
)
GEN_AI_TOKEN_USAGE: Final = MetricSpec(
    "gen_ai.client.token.usage",
    "histogram",
    "Tokens used by a call to the model",
    "{token}",
    {**_GEN_AI, "gen_ai.token.type": frozenset({"input", "output"})},
    GEN_AI_TOKENS,
    exemplars=True,
)
TELEMETRY_DROPPED: Final = MetricSpec(
    "telemetry_dropped",
    "counter",
    "Telemetry that could not be handed over",
    "{item}",
    {
        "signal": frozenset({"traces", "logs"}),
        "reason": frozenset({"queue_full", "already_shutdown", "export_failed", "flood"}),
    },
)
EVENT_LOOP_LAG: Final = MetricSpec(
    "event_loop_lag", "gauge", "Delay of a timer of the event loop, worst since the last collection", "s"
)
STORAGE_LEFTOVERS: Final = MetricSpec(
    "storage_leftovers",
    "counter",
    "What killed processes had left in the document storage, by what it was",
    "{file}",
    {"outcome": frozenset(Swept)},
)
CONTENTS_REMOVED: Final = MetricSpec(
    "contents_removed",
    "counter",
    "Stored bytes that no document had any more, and that were removed",
    "{file}",
)
DOCUMENT_STORAGE: Final = MetricSpec(
    "document_storage",
    "gauge",
    "Space of the file system that keeps the documents",
    "By",
    {"state": frozenset({"used", "free"})},
)
LAST_BACKUP: Final = MetricSpec(
    "last_backup_timestamp",
    "gauge",
    "Unix time that the newest whole backup is of; 0: there is none",
    "s",
)
PROCESS_MEMORY_LIMIT: Final = MetricSpec("process.memory.limit", "gauge", "Memory the process may use", "By")

# Made by OpenTelemetry's instrumentor for system metrics.
PROCESS_CPU_TIME: Final = MetricSpec(
    "process.cpu.time", "counter", "CPU time used", "s", {"type": frozenset({"user", "system"})}
)
PROCESS_MEMORY_USAGE: Final = MetricSpec(
    "process.memory.usage", "updowncounter", "Physical memory in use", "By"
)
PROCESS_MEMORY_VIRTUAL: Final = MetricSpec(
    "process.memory.virtual", "updowncounter", "Virtual memory reserved", "By"
)
PROCESS_OPEN_FILES: Final = MetricSpec(
    "process.open_file_descriptor.count", "updowncounter", "Open file descriptors"
)
PROCESS_THREADS: Final = MetricSpec("process.thread.count", "updowncounter", "Threads")
_GENERATION: Final = {"cpython.gc.generation": frozenset("012")}
GC_COLLECTIONS: Final = MetricSpec(
    "cpython.gc.collections", "counter", "Garbage collections", "{collection}", _GENERATION
)
GC_COLLECTED: Final = MetricSpec(
    "cpython.gc.collected_objects",
    "counter",
    "Objects that the garbage collector freed",
    "{object}",
    _GENERATION,
)
GC_UNCOLLECTABLE: Final = MetricSpec(
    "cpython.gc.uncollectable_objects",
    "counter",
    "Objects that the garbage collector could not free",
    "{object}",
    _GENERATION,
)
PROCESS_METRICS: Final = (
    PROCESS_CPU_TIME,
    PROCESS_MEMORY_USAGE,
    PROCESS_MEMORY_VIRTUAL,
    PROCESS_OPEN_FILES,
    PROCESS_THREADS,
    GC_COLLECTIONS,
    GC_COLLECTED,
    GC_UNCOLLECTABLE,
)

SERVICE_METRICS: Final = (
    HTTP_REQUESTS,
    HTTP_REQUEST_DURATION,
    HTTP_ERRORS,
    HTTP_IN_PROGRESS,
    REQUESTS_SHED,
    HEALTH_CHECKS,
    HEALTH_CHECK_DURATION,
    TELEMETRY_DROPPED,
    EVENT_LOOP_LAG,
    PROCESS_MEMORY_LIMIT,
    *PROCESS_METRICS,
)
DOCUMENT_METRICS: Final = (
    TENANT_REQUESTS,
    TENANT_LIMIT_EXCEEDED,
    DATA_STORE_RETRIES,
    DATA_STORE_REFUSALS,
    DATA_STORE_CIRCUIT,
    DOCUMENTS_UPLOADED,
    DOCUMENT_SIZE,
    DOCUMENT_STORAGE,
    LAST_BACKUP,
    STORAGE_LEFTOVERS,
    VIRUS_SCAN_DURATION,
    TEXT_EXTRACTION_DURATION,
    CONTENTS_REMOVED,
    DOCUMENT_CHANGES,
    DOCUMENTS_DOWNLOADED,
    SUMMARIES,
    LATER_SUMMARIES,
    LATER_SUMMARY_DELAY,
    GEN_AI_OPERATION_DURATION,
    GEN_AI_TOKEN_USAGE,
)
DATABASE_METRICS: Final = (
    DATABASE_OPERATIONS,
    DATABASE_OPERATION_DURATION,
    DATABASE_POOL,
    DATABASE_POOL_WAIT,
    DATABASE_POOL_EXHAUSTED,
)
METRICS: Final = (*SERVICE_METRICS, *DOCUMENT_METRICS, *DATABASE_METRICS)

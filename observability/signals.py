"""Every span, attribute and metric name of robin, once: services, tests, dashboards and checks take them from here."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

SERVICE_NAMESPACE: Final = "robin"
CORRELATION_HEADER: Final = "X-Correlation-ID"
UNMATCHED_ROUTE: Final = "unmatched"


class Span(StrEnum):
    """Names of the business and database steps; HTTP spans are named by method and route."""

    UPLOAD_DOCUMENT = "upload_document"
    RETRIEVE_DOCUMENT = "retrieve_document"
    FILE_PROCESSING = "file_processing"
    FILE_READ = "file_read"
    FILE_SAVE = "file_save"
    LLM_SUMMARIZATION = "llm_summarization"
    STORE_METADATA = "store_metadata"
    DATABASE_CONNECTION = "database_connection"
    SQL_EXECUTION = "sql_execution"
    TRANSACTION_COMMIT = "transaction_commit"


class Attribute(StrEnum):
    """Span attributes of our own; the rest are OpenTelemetry semantic conventions."""

    CORRELATION_ID = "correlation_id"
    CLIENT_ID = "client_id"
    DOCUMENT_ID = "document.id"
    OUTCOME = "outcome"
    FILE_SIZE = "file_size"
    FILE_TYPE = "file_type"
    FILE_SHA256 = "file.sha256"
    CONTENT_BYTES = "content_processing.bytes"
    CONTENT_CHUNKS = "content_processing.chunks"
    STORAGE_BYTES = "storage.bytes"
    STORAGE_BACKEND = "storage.backend"
    PROCESSING_TIME = "processing_time"
    SUMMARY_INPUT_CHARS = "summary.input_chars"
    SUMMARY_SOURCE = "summary.source"
    SUMMARY_REASON = "summary.reason"
    DATABASE_OPERATION = "database_operation"
    POOL_WAIT = "connection_pool.wait"
    POOL_IN_USE = "pool.in_use"
    POOL_SIZE = "pool.size"
    QUERY_TIMING = "query_timing"
    SUCCESS_STATUS = "success_status"
    PROBLEM_DETAIL = "problem.detail"


class Outcome(StrEnum):
    """How a step ended: value of the attribute `outcome`."""

    SUCCESS = "success"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ErrorType(StrEnum):
    """Closed list for the label `error_type` and the attribute `error.type` of an answered problem."""

    BAD_REQUEST = "bad_request"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    VALIDATION_ERROR = "validation_error"
    CLIENT_DISCONNECTED = "client_disconnected"
    CLIENT_ERROR = "client_error"
    INTERNAL_ERROR = "internal_error"
    UPSTREAM_ERROR = "upstream_error"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    INSUFFICIENT_STORAGE = "insufficient_storage"


class HealthStatus(StrEnum):
    """State of a component or of a whole service."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


InstrumentKind = Literal["counter", "updowncounter", "histogram", "gauge"]
# Prometheus' suffix for an OTel unit (UnderscoreEscapingWithSuffixes); annotations in braces add none.
_UNIT_SUFFIX: Final = {"s": "_seconds", "By": "_bytes"}


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric of the contract. `unit` is UCUM, `buckets` are upper bounds in that unit."""

    name: str
    kind: InstrumentKind
    description: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] | None = None
    exemplars: bool = False

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

_HTTP: Final = ("method", "path", "status")

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
    (*_HTTP, "error_type"),
    exemplars=True,
)
HTTP_IN_PROGRESS: Final = MetricSpec(
    "http_requests_in_progress", "updowncounter", "Requests being answered now", "{request}", ("method",)
)
DATABASE_OPERATIONS: Final = MetricSpec(
    "database_operations",
    "counter",
    "SQL statements executed",
    "{operation}",
    ("operation", "table", "success"),
    exemplars=True,
)
DATABASE_OPERATION_DURATION: Final = MetricSpec(
    "database_operation_duration",
    "histogram",
    "Time to execute a SQL statement",
    "s",
    ("operation", "table"),
    STATEMENT_SECONDS,
    exemplars=True,
)
DATABASE_POOL: Final = MetricSpec(
    "database_connection_pool", "gauge", "Connections by state: in_use, idle, overflow, max", "", ("state",)
)
DATABASE_POOL_WAIT: Final = MetricSpec(
    "database_connection_pool_wait",
    "histogram",
    "Time to get a connection from the pool",
    "s",
    (),
    STATEMENT_SECONDS,
    exemplars=True,
)
DATABASE_POOL_EXHAUSTED: Final = MetricSpec(
    "database_connection_pool_exhausted",
    "counter",
    "Waits for a connection that ended in a time-out",
    "{wait}",
)
HEALTH_CHECKS: Final = MetricSpec(
    "health_check", "counter", "Health checks by component and result", "{check}", ("component", "status")
)
HEALTH_CHECK_DURATION: Final = MetricSpec(
    "health_check_duration", "histogram", "Time a health check took", "s", ("component",), REQUEST_SECONDS
)
DOCUMENTS_UPLOADED: Final = MetricSpec(
    "documents_uploaded", "counter", "Documents stored", "{document}", ("client", "file_type"), exemplars=True
)
DOCUMENT_SIZE: Final = MetricSpec(
    "document_size", "histogram", "Size of stored documents", "By", ("file_type",), SIZE_BYTES, exemplars=True
)
SUMMARIES: Final = MetricSpec(
    "summaries",
    "counter",
    "Summaries by source and reason",
    "{summary}",
    ("source", "reason"),
    exemplars=True,
)
_GEN_AI: Final = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
GEN_AI_OPERATION_DURATION: Final = MetricSpec(
    "gen_ai.client.operation.duration",
    "histogram",
    "Duration of a call to the model",
    "s",
    (*_GEN_AI, "error.type"),
    GEN_AI_SECONDS,
    exemplars=True,
)
GEN_AI_TOKEN_USAGE: Final = MetricSpec(
    "gen_ai.client.token.usage",
    "histogram",
    "Tokens used by a call to the model",
    "{token}",
    (*_GEN_AI, "gen_ai.token.type"),
    GEN_AI_TOKENS,
    exemplars=True,
)
TELEMETRY_DROPPED: Final = MetricSpec(
    "telemetry_dropped",
    "counter",
    "Telemetry that the SDK could not hand over",
    "{item}",
    ("signal", "reason"),
)
EVENT_LOOP_LAG: Final = MetricSpec(
    "event_loop_lag", "gauge", "Delay of a timer of the event loop, worst since the last collection", "s"
)
DOCUMENT_STORAGE: Final = MetricSpec(
    "document_storage", "gauge", "Space of the file system that keeps the documents", "By", ("state",)
)
PROCESS_MEMORY_LIMIT: Final = MetricSpec("process.memory.limit", "gauge", "Memory the process may use", "By")

# Made by OpenTelemetry's instrumentor for system metrics.
PROCESS_CPU_TIME: Final = MetricSpec("process.cpu.time", "counter", "CPU time used", "s", ("type",))
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
_GENERATION: Final = ("cpython.gc.generation",)
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

METRICS: Final = (
    HTTP_REQUESTS,
    HTTP_REQUEST_DURATION,
    HTTP_ERRORS,
    HTTP_IN_PROGRESS,
    DATABASE_OPERATIONS,
    DATABASE_OPERATION_DURATION,
    DATABASE_POOL,
    DATABASE_POOL_WAIT,
    DATABASE_POOL_EXHAUSTED,
    HEALTH_CHECKS,
    HEALTH_CHECK_DURATION,
    DOCUMENTS_UPLOADED,
    DOCUMENT_SIZE,
    SUMMARIES,
    GEN_AI_OPERATION_DURATION,
    GEN_AI_TOKEN_USAGE,
    TELEMETRY_DROPPED,
    EVENT_LOOP_LAG,
    DOCUMENT_STORAGE,
    PROCESS_MEMORY_LIMIT,
    *PROCESS_METRICS,
)

"""What spans, log records and resources carry, and what else is stored: the contract beside the metrics, as data.

Tests hold live telemetry against it, in both directions: nothing is missing, and nothing else is there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import db_attributes as db
from opentelemetry.semconv.attributes import exception_attributes as exception
from opentelemetry.semconv.attributes import http_attributes as http
from opentelemetry.semconv.attributes import network_attributes as network
from opentelemetry.semconv.attributes import server_attributes as server
from opentelemetry.semconv.attributes import url_attributes as url
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.user_agent_attributes import USER_AGENT_ORIGINAL

from observability.signals import (
    DOCUMENT_ROUTE,
    METHODS,
    RECORDS_ROUTE,
    ROUTES,
    SUMMARY_REASONS,
    SUMMARY_SOURCES,
    UPLOAD_ROUTE,
    Attribute,
    Bound,
    MetricSpec,
    Outcome,
    Span,
)


class Source(StrEnum):
    """Who sends traces, metrics or logs: `service.name`."""

    DOCUMENT_API = "document-api"
    DATA_STORE = "data-store"
    NGINX = "nginx"
    POSTGRESQL = "postgresql"
    HOST = "host"


SERVICES: Final = (Source.DOCUMENT_API, Source.DATA_STORE)

# ---- resources

IDENTITY: Final = frozenset(
    {"service.name", "service.namespace", "service.instance.id", "deployment.environment.name"}
)
_SDK: Final = frozenset({"telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version"})
RESOURCES: Final = {
    Source.DOCUMENT_API: IDENTITY | {"service.version"} | _SDK,
    Source.DATA_STORE: IDENTITY | {"service.version"} | _SDK,
    Source.NGINX: IDENTITY | {"service.version"},
    Source.POSTGRESQL: IDENTITY | {"service.version"},
    Source.HOST: IDENTITY,
}

# ---- attributes


class Type(StrEnum):
    """Type of an attribute's value, as the semantic conventions name it."""

    STRING = "string"
    INT = "int"
    DOUBLE = "double"
    STRINGS = "string[]"


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """Type of an attribute, its unit in UCUM, and all its values where the list is closed."""

    type: Type = Type.STRING
    unit: str = ""
    values: frozenset[str] | None = None


def _one_of(*values: str) -> AttributeSpec:
    return AttributeSpec(values=frozenset(values))


_TEXT: Final = AttributeSpec()
_COUNT: Final = AttributeSpec(Type.INT)
_SECONDS: Final = AttributeSpec(Type.DOUBLE, "s")
_BYTES: Final = AttributeSpec(Type.INT, "By")
_METHOD: Final = AttributeSpec(values=METHODS)
_ROUTE: Final = AttributeSpec(values=ROUTES)
_OPERATION: Final = _one_of("SELECT", "INSERT", "UPDATE", "DELETE")
_SOURCE: Final = AttributeSpec(values=SUMMARY_SOURCES)
_REASON: Final = AttributeSpec(values=SUMMARY_REASONS)

SPAN_ATTRIBUTES: Final[Mapping[str, AttributeSpec]] = {
    Attribute.CORRELATION_ID: _TEXT,
    Attribute.CLIENT_ID: _TEXT,
    ERROR_TYPE: _TEXT,
    Attribute.PROBLEM_DETAIL: _TEXT,
    Attribute.DOCUMENT_ID: _COUNT,
    Attribute.OUTCOME: AttributeSpec(values=frozenset(Outcome)),
    Attribute.FILE_SIZE: _BYTES,
    Attribute.FILE_TYPE: _TEXT,
    Attribute.FILE_SHA256: _TEXT,
    Attribute.CONTENT_BYTES: _BYTES,
    Attribute.CONTENT_CHUNKS: _COUNT,
    Attribute.STORAGE_BYTES: _BYTES,
    Attribute.STORAGE_BACKEND: _one_of("file_system"),
    Attribute.PROCESSING_TIME: _SECONDS,
    Attribute.SUMMARY_INPUT_CHARS: _COUNT,
    Attribute.SUMMARY_SOURCE: _SOURCE,
    Attribute.SUMMARY_REASON: _REASON,
    Attribute.DATABASE_OPERATION: _one_of("INSERT"),
    Attribute.POOL_WAIT: _SECONDS,
    Attribute.POOL_IN_USE: _COUNT,
    Attribute.POOL_SIZE: _COUNT,
    Attribute.QUERY_TIMING: _SECONDS,
    Attribute.SUCCESS_STATUS: _one_of("committed", "rolled_back", "unknown"),
    db.DB_SYSTEM_NAME: _one_of("postgresql"),
    db.DB_OPERATION_NAME: _OPERATION,
    db.DB_COLLECTION_NAME: _TEXT,
    db.DB_QUERY_SUMMARY: _TEXT,
    db.DB_QUERY_TEXT: _TEXT,
    db.DB_RESPONSE_STATUS_CODE: _TEXT,
    http.HTTP_REQUEST_METHOD: _METHOD,
    http.HTTP_RESPONSE_STATUS_CODE: _COUNT,
    http.HTTP_ROUTE: _ROUTE,
    network.NETWORK_PROTOCOL_VERSION: _TEXT,
    server.SERVER_ADDRESS: _TEXT,
    server.SERVER_PORT: _COUNT,
    url.URL_FULL: _TEXT,
    url.URL_PATH: _TEXT,
    url.URL_SCHEME: _one_of("http", "https"),
    USER_AGENT_ORIGINAL: _TEXT,
    gen_ai.GEN_AI_OPERATION_NAME: _one_of("chat"),
    gen_ai.GEN_AI_PROVIDER_NAME: _one_of("openai"),
    gen_ai.GEN_AI_REQUEST_MODEL: _TEXT,
    gen_ai.GEN_AI_RESPONSE_FINISH_REASONS: AttributeSpec(Type.STRINGS),
    gen_ai.GEN_AI_USAGE_INPUT_TOKENS: _COUNT,
    gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: _COUNT,
}

# Of an exception, on a span's event and on a log record.
EXCEPTION: Final = frozenset(
    {exception.EXCEPTION_TYPE, exception.EXCEPTION_MESSAGE, exception.EXCEPTION_STACKTRACE}
)

# ---- spans


class Kind(StrEnum):
    """Kinds of spans that there are here."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


_PLACE: Final = re.compile(r"\{([a-z_.]+)\}")
# Names of spans that are made of their attributes.
REQUEST_SPAN: Final = f"{{{http.HTTP_REQUEST_METHOD}}} {{{http.HTTP_ROUTE}}}"
CALL_SPAN: Final = f"{{{http.HTTP_REQUEST_METHOD}}}"
CHAT_SPAN: Final = f"chat {{{gen_ai.GEN_AI_REQUEST_MODEL}}}"


@dataclass(frozen=True, slots=True)
class SpanSpec:
    """One span of the contract; `parents` are names of specs, none for the first of a trace."""

    name: str
    service: Source
    kind: Kind
    parents: frozenset[str]
    required: frozenset[str]
    optional: frozenset[str]

    def named(self, attributes: Mapping[str, object]) -> str:
        """Return the name of a span with these attributes; what it has no attribute for is left out."""
        return _PLACE.sub(lambda place: str(attributes.get(place[1], "")), self.name).strip()


def _span(
    name: str,
    service: Source,
    *parents: str,
    kind: Kind = Kind.INTERNAL,
    has: tuple[str, ...] = (),
    may_have: tuple[str, ...] = (),
) -> SpanSpec:
    """Return a span that carries the request's identity beside its own attributes, and a reason where it fails."""
    required = frozenset({Attribute.CORRELATION_ID, Attribute.CLIENT_ID, *has})
    return SpanSpec(name, service, kind, frozenset(parents), required, frozenset({ERROR_TYPE, *may_have}))


def _request(service: Source, *parents: str) -> SpanSpec:
    """Return the span of a request that a service serves: the tenant is known once its path is accepted."""
    required = {
        *(Attribute.CORRELATION_ID, http.HTTP_REQUEST_METHOD, http.HTTP_RESPONSE_STATUS_CODE),
        *(url.URL_PATH, url.URL_SCHEME, network.NETWORK_PROTOCOL_VERSION),
        *(server.SERVER_ADDRESS, server.SERVER_PORT),
    }
    optional = {
        *(Attribute.CLIENT_ID, http.HTTP_ROUTE, USER_AGENT_ORIGINAL, ERROR_TYPE, Attribute.PROBLEM_DETAIL),
    }
    return SpanSpec(
        REQUEST_SPAN, service, Kind.SERVER, frozenset(parents), frozenset(required), frozenset(optional)
    )


_CALL: Final = (http.HTTP_REQUEST_METHOD, url.URL_FULL, server.SERVER_ADDRESS, server.SERVER_PORT)
_STATEMENT: Final = (
    *(db.DB_SYSTEM_NAME, db.DB_OPERATION_NAME, db.DB_COLLECTION_NAME, db.DB_QUERY_SUMMARY, db.DB_QUERY_TEXT),
    Attribute.QUERY_TIMING,
)
_GEN_AI: Final = (
    *(gen_ai.GEN_AI_OPERATION_NAME, gen_ai.GEN_AI_PROVIDER_NAME, gen_ai.GEN_AI_REQUEST_MODEL),
    server.SERVER_ADDRESS,
)
_ANSWERED: Final = (
    *(http.HTTP_RESPONSE_STATUS_CODE, gen_ai.GEN_AI_RESPONSE_FINISH_REASONS),
    *(gen_ai.GEN_AI_USAGE_INPUT_TOKENS, gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS),
)
_PROCESSED: Final = (
    *(Attribute.FILE_SIZE, Attribute.FILE_TYPE, Attribute.FILE_SHA256, Attribute.SUMMARY_INPUT_CHARS),
)
_API: Final = Source.DOCUMENT_API
_STORE: Final = Source.DATA_STORE

# What is optional is missing where a step did not come so far.
SPANS: Final = (
    _request(_API),
    _span(
        Span.UPLOAD_DOCUMENT, _API, REQUEST_SPAN, has=(Attribute.OUTCOME,), may_have=(Attribute.DOCUMENT_ID,)
    ),
    _span(Span.FILE_PROCESSING, _API, Span.UPLOAD_DOCUMENT, may_have=_PROCESSED),
    _span(
        *(Span.FILE_READ, _API, Span.FILE_PROCESSING),
        may_have=(Attribute.CONTENT_BYTES, Attribute.CONTENT_CHUNKS),
    ),
    _span(
        *(Span.FILE_SAVE, _API, Span.FILE_PROCESSING),
        has=(Attribute.STORAGE_BACKEND,),
        may_have=(Attribute.STORAGE_BYTES,),
    ),
    _span(
        *(Span.LLM_SUMMARIZATION, _API, Span.UPLOAD_DOCUMENT),
        has=(Attribute.PROCESSING_TIME, Attribute.SUMMARY_SOURCE),
        may_have=(Attribute.SUMMARY_REASON,),
    ),
    _span(CHAT_SPAN, _API, Span.LLM_SUMMARIZATION, kind=Kind.CLIENT, has=_GEN_AI, may_have=_ANSWERED),
    _span(Span.STORE_METADATA, _API, Span.UPLOAD_DOCUMENT, has=(Attribute.DATABASE_OPERATION,)),
    _span(Span.RETRIEVE_DOCUMENT, _API, REQUEST_SPAN, has=(Attribute.OUTCOME, Attribute.DOCUMENT_ID)),
    _span(
        *(CALL_SPAN, _API, Span.STORE_METADATA, Span.RETRIEVE_DOCUMENT),
        kind=Kind.CLIENT,
        has=_CALL,
        may_have=(http.HTTP_RESPONSE_STATUS_CODE,),
    ),
    _request(_STORE, CALL_SPAN),
    _span(
        *(Span.DATABASE_CONNECTION, _STORE, REQUEST_SPAN),
        has=(Attribute.POOL_WAIT, Attribute.POOL_IN_USE, Attribute.POOL_SIZE),
    ),
    _span(
        *(Span.SQL_EXECUTION, _STORE, REQUEST_SPAN),
        kind=Kind.CLIENT,
        has=_STATEMENT,
        may_have=(db.DB_RESPONSE_STATUS_CODE,),
    ),
    _span(Span.TRANSACTION_COMMIT, _STORE, REQUEST_SPAN, has=(Attribute.SUCCESS_STATUS,)),
)
# What is served, beside health, which makes no span.
ENDPOINTS: Final = frozenset(
    {
        (_API, "PUT", UPLOAD_ROUTE),
        (_API, "GET", DOCUMENT_ROUTE),
        (_STORE, "POST", RECORDS_ROUTE),
        (_STORE, "GET", DOCUMENT_ROUTE),
    }
)

# ---- log records


def _context(*names: str) -> frozenset[str]:
    return frozenset(f"context_data.{name}" for name in names)


TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
LOGGER: Final = "logger"
RECORD_ATTRIBUTES: Final[Mapping[str, AttributeSpec]] = {
    TRACE_ID: _TEXT,
    SPAN_ID: _TEXT,
    LOGGER: _TEXT,
    Attribute.CORRELATION_ID: _TEXT,
    Attribute.CLIENT_ID: _TEXT,
    exception.EXCEPTION_TYPE: _TEXT,
    exception.EXCEPTION_MESSAGE: _TEXT,
    exception.EXCEPTION_STACKTRACE: _TEXT,
    db.DB_SYSTEM_NAME: _one_of("postgresql"),
    db.DB_NAMESPACE: _TEXT,
    db.DB_OPERATION_NAME: _OPERATION,
    db.DB_RESPONSE_STATUS_CODE: _TEXT,
    "context_data.method": _TEXT,
    "context_data.path": _TEXT,
    "context_data.status": _COUNT,
    "context_data.duration": _SECONDS,
    "context_data.document_id": _COUNT,
    "context_data.file_size": _BYTES,
    "context_data.file_type": _TEXT,
    "context_data.summary_source": _SOURCE,
    "context_data.reason": _REASON,
    "context_data.operation": _OPERATION,
    "context_data.table": _TEXT,
    "context_data.statement": _TEXT,
    "context_data.client_id": _TEXT,
    "context_data.bytes_received": _BYTES,
    "context_data.bytes_sent": _BYTES,
    "context_data.upstream": _TEXT,
    "context_data.upstream_status": _TEXT,
    "context_data.upstream_duration": _SECONDS,
    "context_data.pid": _COUNT,
}


@dataclass(frozen=True, slots=True)
class RecordSpec:
    """Log records of one kind: by whom, with which message, how severe, and what they carry."""

    name: str
    sources: frozenset[Source]
    message: re.Pattern[str]
    levels: frozenset[str]
    required: frozenset[str]
    optional: frozenset[str]


def _record(
    name: str,
    sources: tuple[Source, ...],
    message: str,
    *levels: str,
    has: frozenset[str] = frozenset(),
    may_have: frozenset[str] = frozenset(),
) -> RecordSpec:
    return RecordSpec(
        name, frozenset(sources), re.compile(message), frozenset(levels), has | {LOGGER}, may_have
    )


_OF_A_SPAN: Final = frozenset({Attribute.CORRELATION_ID, TRACE_ID, SPAN_ID})
_TENANT: Final = frozenset({Attribute.CLIENT_ID})
_OF_A_TENANT: Final = _OF_A_SPAN | _TENANT
_OF_POSTGRESQL: Final = frozenset({db.DB_SYSTEM_NAME, "context_data.pid"})
_OF_A_STATEMENT: Final = _OF_A_SPAN | {db.DB_OPERATION_NAME}

# The first one that fits a record is its own.
RECORDS: Final = (
    _record(
        *("request", SERVICES, r"[A-Z_]+ (/\S*|unmatched) \d{3}( \(slow\))?", "INFO", "WARNING"),
        has=_OF_A_SPAN | _context("method", "path", "status", "duration"),
        may_have=_TENANT,
    ),
    _record(
        *("document uploaded", (_API,), "Document uploaded", "INFO"),
        has=_OF_A_TENANT | _context("document_id", "file_size", "file_type", "summary_source", "duration"),
    ),
    _record(
        *("fallback of the summary", (_API,), "The model wrote no summary", "WARNING"),
        has=_OF_A_TENANT | _context("reason"),
    ),
    _record(
        *("slow statement", (_STORE,), "Slow statement", "WARNING"),
        has=_OF_A_SPAN | _context("operation", "table", "duration"),
        may_have=_TENANT,
    ),
    _record(
        *("SQL statement", (_STORE,), "SQL statement", "DEBUG"),
        has=_OF_A_SPAN | _context("operation", "table", "duration", "statement"),
        may_have=_TENANT,
    ),
    _record(
        *("failure", SERVICES, "(?s).*", "ERROR"),
        has=_OF_A_SPAN | EXCEPTION,
        may_have=_TENANT | _context("status"),
    ),
    # Health, start and end, libraries.
    _record(
        *("remark", SERVICES, "(?s).*", "DEBUG", "INFO", "WARNING", "CRITICAL"),
        may_have=_OF_A_SPAN,
    ),
    _record(
        *("edge", (Source.NGINX,), r"\S+ \S+ \d{1,3}", "INFO", "WARNING", "ERROR"),
        has=_context("method", "path", "status", "duration", "bytes_received", "bytes_sent")
        | {Attribute.CORRELATION_ID},
        may_have=_OF_A_TENANT | _context("client_id", "upstream", "upstream_status", "upstream_duration"),
    ),
    _record(
        *("slow statement of the server", (Source.POSTGRESQL,), "slow statement", "WARNING"),
        has=_OF_POSTGRESQL | {db.DB_NAMESPACE} | _context("duration"),
        may_have=_OF_A_STATEMENT,
    ),
    _record(
        *("failed statement", (Source.POSTGRESQL,), "statement failed", "ERROR", "CRITICAL"),
        has=_OF_POSTGRESQL | {db.DB_NAMESPACE, db.DB_RESPONSE_STATUS_CODE},
        may_have=_OF_A_STATEMENT,
    ),
    _record(
        *("remark of the server", (Source.POSTGRESQL,), "(?s).*"),
        *("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        has=_OF_POSTGRESQL,
        may_have=frozenset({db.DB_NAMESPACE, db.DB_RESPONSE_STATUS_CODE}),
    ),
)

# ---- what is not of the services

# The collector looks at the machine that it runs on.
_MOUNT: Final[Mapping[str, Bound]] = {
    "device": 100,
    "mode": frozenset({"ro", "rw"}),
    "mountpoint": 100,
    "type": 20,
}
HOST_METRICS: Final = (
    MetricSpec(
        "system.cpu.time",
        "counter",
        "CPU time by state",
        "s",
        {
            "cpu": 1024,
            "state": frozenset({"user", "system", "idle", "interrupt", "nice", "softirq", "steal", "wait"}),
        },
    ),
    MetricSpec("system.cpu.load_average.1m", "gauge", "Load over a minute", "{thread}"),
    MetricSpec("system.cpu.load_average.5m", "gauge", "Load over five minutes", "{thread}"),
    MetricSpec("system.cpu.load_average.15m", "gauge", "Load over a quarter of an hour", "{thread}"),
    MetricSpec(
        "system.memory.usage",
        "updowncounter",
        "Memory by state",
        "By",
        {
            "state": frozenset(
                {"used", "free", "buffered", "cached", "slab_reclaimable", "slab_unreclaimable"}
            )
        },
    ),
    MetricSpec(
        "system.filesystem.usage",
        "updowncounter",
        "Space of file systems by state",
        "By",
        {**_MOUNT, "state": frozenset({"used", "free", "reserved"})},
    ),
    MetricSpec(
        "system.filesystem.inodes.usage",
        "updowncounter",
        "Inodes of file systems by state",
        "{inode}",
        {**_MOUNT, "state": frozenset({"used", "free"})},
    ),
)
# Prometheus scrapes these programs; what they tell is theirs. `probe` is what the blackbox exporter found.
SCRAPED_JOBS: Final = frozenset(
    {
        *("otel-collector", "prometheus", "alertmanager", "jaeger", "blackbox-exporter", "probe"),
        *("victorialogs", "loki", "grafana"),
    }
)

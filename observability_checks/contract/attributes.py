"""Attributes of spans and log records: types, units, and values where the list is closed."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv._incubating.attributes import user_attributes as user
from opentelemetry.semconv.attributes import db_attributes as db
from opentelemetry.semconv.attributes import exception_attributes as exception
from opentelemetry.semconv.attributes import http_attributes as http
from opentelemetry.semconv.attributes import network_attributes as network
from opentelemetry.semconv.attributes import server_attributes as server
from opentelemetry.semconv.attributes import url_attributes as url
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE

from access.audit import Action
from access.roles import Permission
from observability.signals import (
    MEDIA_TYPES,
    METHODS,
    OTHER,
    ROUTES,
    SUMMARY_REASONS,
    SUMMARY_SOURCES,
    TEXT_EXTRACTED,
    TEXT_FAILURES,
    Attribute,
    Outcome,
    ScanResult,
    StorageBackend,
    Swept,
)


class Type(StrEnum):
    """Type of an attribute's value, as the semantic conventions name it."""

    STRING = "string"
    INT = "int"
    DOUBLE = "double"
    STRINGS = "string[]"
    BOOLEAN = "boolean"


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
_FILE_TYPE: Final = AttributeSpec(values=MEDIA_TYPES | {OTHER})
_SOURCE: Final = AttributeSpec(values=SUMMARY_SOURCES)
_DENIALS: Final = frozenset({"role", "client"})
_DENIED: Final = AttributeSpec(values=_DENIALS)
_REASON: Final = AttributeSpec(values=SUMMARY_REASONS)

SPAN_ATTRIBUTES: Final[Mapping[str, AttributeSpec]] = {
    Attribute.CORRELATION_ID: _TEXT,
    Attribute.CLIENT_ID: _TEXT,
    ERROR_TYPE: _TEXT,
    Attribute.PROBLEM_DETAIL: _TEXT,
    Attribute.AUTH_METHOD: _one_of("api_key", "bearer"),
    Attribute.AUTH_DENIED: _DENIED,
    Attribute.EXEMPLAR_KEEP: AttributeSpec(Type.BOOLEAN),
    user.USER_ID: _TEXT,
    user.USER_ROLES: AttributeSpec(Type.STRINGS),
    Attribute.DOCUMENT_ID: _COUNT,
    Attribute.OUTCOME: AttributeSpec(values=frozenset(Outcome)),
    Attribute.FILE_SIZE: _BYTES,
    Attribute.FILE_TYPE: _FILE_TYPE,
    Attribute.FILE_SHA256: _TEXT,
    Attribute.CONTENT_BYTES: _BYTES,
    Attribute.CONTENT_CHUNKS: _COUNT,
    Attribute.DOCUMENT_COUNT: _COUNT,
    Attribute.STORAGE_BYTES: _BYTES,
    Attribute.STORAGE_BACKEND: AttributeSpec(values=frozenset(StorageBackend)),
    Attribute.SCAN_RESULT: AttributeSpec(values=frozenset(ScanResult)),
    Attribute.TEXT_CHARS: _COUNT,
    Attribute.TEXT_OUTCOME: AttributeSpec(values=TEXT_FAILURES | {TEXT_EXTRACTED}),
    Attribute.PROCESSING_TIME: _SECONDS,
    Attribute.SUMMARY_INPUT_CHARS: _COUNT,
    Attribute.SUMMARY_SOURCE: _SOURCE,
    Attribute.SUMMARY_REASON: _REASON,
    Attribute.SUMMARY_ATTEMPT: _COUNT,
    Attribute.SUMMARY_JOBS: _COUNT,
    Attribute.DATABASE_OPERATION: _one_of("INSERT", "UPDATE"),
    Attribute.ADMISSION_WAIT: _SECONDS,
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
    http.HTTP_REQUEST_RESEND_COUNT: _COUNT,
    http.HTTP_RESPONSE_STATUS_CODE: _COUNT,
    http.HTTP_ROUTE: _ROUTE,
    network.NETWORK_PROTOCOL_VERSION: _TEXT,
    server.SERVER_ADDRESS: _TEXT,
    server.SERVER_PORT: _COUNT,
    url.URL_FULL: _TEXT,
    url.URL_PATH: _TEXT,
    url.URL_SCHEME: _one_of("http", "https"),
    gen_ai.GEN_AI_OPERATION_NAME: _one_of("chat"),
    gen_ai.GEN_AI_PROVIDER_NAME: _one_of("openai"),
    gen_ai.GEN_AI_REQUEST_MODEL: _TEXT,
    gen_ai.GEN_AI_REQUEST_MAX_TOKENS: _COUNT,
    gen_ai.GEN_AI_REQUEST_TEMPERATURE: AttributeSpec(Type.DOUBLE),
    gen_ai.GEN_AI_RESPONSE_ID: _TEXT,
    gen_ai.GEN_AI_RESPONSE_MODEL: _TEXT,
    gen_ai.GEN_AI_RESPONSE_FINISH_REASONS: AttributeSpec(Type.STRINGS),
    gen_ai.GEN_AI_USAGE_INPUT_TOKENS: _COUNT,
    gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: _COUNT,
    gen_ai.GEN_AI_SYSTEM_INSTRUCTIONS: _TEXT,
    gen_ai.GEN_AI_INPUT_MESSAGES: _TEXT,
    gen_ai.GEN_AI_OUTPUT_MESSAGES: _TEXT,
}

# Of an exception, on a span's event and on a log record.
EXCEPTION: Final = frozenset(
    {exception.EXCEPTION_TYPE, exception.EXCEPTION_MESSAGE, exception.EXCEPTION_STACKTRACE}
)

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
    "context_data.waited": _SECONDS,
    "context_data.document_id": _COUNT,
    "context_data.file_size": _BYTES,
    **{f"context_data.{outcome}": _COUNT for outcome in Swept},
    **{f"context_data.{count}": _COUNT for count in ("refused", "in_hand", "open", "removed", "attempt")},
    "context_data.seconds": _SECONDS,
    "context_data.file_type": _FILE_TYPE,
    "context_data.summary_source": _SOURCE,
    "context_data.reason": AttributeSpec(values=SUMMARY_REASONS | _DENIALS | {"none"}),
    "context_data.action": AttributeSpec(values=frozenset(Action)),
    "context_data.actor": _TEXT,
    "context_data.permission": AttributeSpec(values=frozenset(Permission)),
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

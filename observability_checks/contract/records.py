"""Every kind of log record that there is: who writes it, how severe it is, what it carries."""

import re
from dataclasses import dataclass
from typing import Final

from opentelemetry.semconv.attributes import db_attributes as db

from observability.signals import Attribute, Swept
from observability_checks.contract.attributes import EXCEPTION, LOGGER, SPAN_ID, TRACE_ID
from telemetry_queries.sources import SERVICES, Source


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


def _context(*names: str) -> frozenset[str]:
    return frozenset(f"context_data.{name}" for name in names)


_OF_A_SPAN: Final = frozenset({Attribute.CORRELATION_ID, TRACE_ID, SPAN_ID})
_TENANT: Final = frozenset({Attribute.CLIENT_ID})
_OF_A_TENANT: Final = _OF_A_SPAN | _TENANT
_AUDITED: Final = _context("action", "actor")
_OF_POSTGRESQL: Final = frozenset({db.DB_SYSTEM_NAME, "context_data.pid"})
_OF_A_STATEMENT: Final = _OF_A_TENANT | {db.DB_OPERATION_NAME}

# The first one that fits a record is its own.
RECORDS: Final = (
    _record(
        *("request", SERVICES, r"[A-Z_]+ (/\S*|unmatched) \d{3}( \(slow\))?", "INFO", "WARNING"),
        has=_OF_A_SPAN | _context("method", "path", "status", "duration"),
        may_have=_TENANT | _context("waited"),
    ),
    _record(
        *("document uploaded", (Source.DOCUMENT_API,), "Document uploaded", "INFO"),
        has=_OF_A_TENANT
        | _AUDITED
        | _context("document_id", "file_size", "file_type", "summary_source", "duration"),
    ),
    _record(
        *("overloaded", SERVICES, "Overloaded: requests are refused", "WARNING"),
        has=_context("refused", "in_hand", "open"),
    ),
    _record(
        *("upload repeated", (Source.DOCUMENT_API,), "Upload repeated", "INFO"),
        has=_OF_A_TENANT | _context("document_id", "duration"),
    ),
    _record(
        *("leftovers swept", (Source.DOCUMENT_API,), "Leftovers of the storage swept", "INFO"),
        has=_context(*Swept) | {Attribute.CORRELATION_ID},
    ),
    _record(
        *(
            "document changed",
            (Source.DOCUMENT_API,),
            "Document (changed|deleted|restored|purged|downloaded)",
            "INFO",
        ),
        has=_OF_A_TENANT | _AUDITED | _context("document_id"),
    ),
    _record(
        *("contents removed", (Source.DOCUMENT_API,), "Contents without a document removed", "INFO"),
        has=_context("removed") | {Attribute.CORRELATION_ID},
    ),
    _record(
        *("document read", (Source.DOCUMENT_API,), "Document read", "INFO"),
        has=_OF_A_TENANT | _AUDITED | _context("document_id"),
    ),
    _record(
        *("bytes that stayed", (Source.DOCUMENT_API,)),
        *("A document that was not stored could not be removed: .+", "WARNING"),
        has=_OF_A_TENANT,
    ),
    _record(
        *("bytes that could not be swept", (Source.DOCUMENT_API,)),
        *(r"Bytes could not be removed, \d+ in all: .+", "WARNING"),
        has=_OF_A_SPAN,
    ),
    _record(
        *(
            "bytes brought back",
            (Source.DOCUMENT_API,),
            "Lost bytes of a document are there again",
            "WARNING",
        ),
        has=_OF_A_TENANT | _context("document_id"),
    ),
    _record(
        *(
            "later summary",
            (Source.DOCUMENT_API,),
            "Later summary (written|postponed|gone)",
            "INFO",
            "WARNING",
        ),
        has=_OF_A_TENANT | _context("document_id", "attempt", "summary_source", "reason", "seconds"),
    ),
    _record(
        *("access denied", (Source.DOCUMENT_API,), "Access denied", "WARNING"),
        has=_OF_A_SPAN | _context("permission", "reason", "actor"),
        may_have=_TENANT,
    ),
    _record(
        *("fallback of the summary", (Source.DOCUMENT_API,), "The model wrote no summary", "WARNING"),
        has=_OF_A_TENANT | _context("reason"),
    ),
    _record(
        *("slow statement", (Source.DATA_STORE,), "Slow statement", "WARNING"),
        has=_OF_A_SPAN | _context("operation", "table", "duration"),
        may_have=_TENANT,
    ),
    _record(
        *("SQL statement", (Source.DATA_STORE,), "SQL statement", "DEBUG"),
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
        may_have=_OF_A_TENANT,
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

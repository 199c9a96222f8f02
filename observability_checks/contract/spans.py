"""Every span that there is: what it is called, what it hangs below, what it carries."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv._incubating.attributes import user_attributes as user
from opentelemetry.semconv.attributes import db_attributes as db
from opentelemetry.semconv.attributes import http_attributes as http
from opentelemetry.semconv.attributes import network_attributes as network
from opentelemetry.semconv.attributes import server_attributes as server
from opentelemetry.semconv.attributes import url_attributes as url
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE

from observability.signals import (
    BULK_UPLOAD_ROUTE,
    CONTENT_ROUTE,
    DOCUMENT_ROUTE,
    FORGOTTEN_STORAGE_KEYS_ROUTE,
    KNOWN_STORAGE_KEYS_ROUTE,
    PRINCIPAL_BY_KEY_ROUTE,
    PRINCIPAL_BY_SUBJECT_ROUTE,
    PURGE_ROUTE,
    RECORDS_ROUTE,
    REMOVED_STORAGE_KEYS_ROUTE,
    RESTORE_ROUTE,
    SEARCH_ROUTE,
    SUMMARY_JOBS_ROUTE,
    SUMMARY_ROUTE,
    UPLOAD_ROUTE,
    VERSION_ROUTE,
    VERSIONS_ROUTE,
    Attribute,
    Span,
)
from telemetry_queries.sources import Source


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
    on_success: frozenset[str]  # of the optional ones, those that a step that succeeded has

    def named(self, attributes: Mapping[str, object]) -> str:
        """Return the name of a span with these attributes; what it has no attribute for is left out."""
        return _PLACE.sub(lambda place: str(attributes.get(place[1], "")), self.name).strip()

    def is_below(self, parent: "SpanSpec | None") -> bool:
        """Whether it may hang below that span; only a request comes from another service."""
        if parent is None:
            return not self.parents
        return parent.name in self.parents and (self.service == parent.service) != (self.kind == Kind.SERVER)


def _span(
    name: str,
    service: Source,
    *parents: str,
    kind: Kind = Kind.INTERNAL,
    has: tuple[str, ...] = (),
    on_success: tuple[str, ...] = (),
    may_have: tuple[str, ...] = (),
    identity: tuple[str, ...] = (Attribute.CORRELATION_ID, Attribute.CLIENT_ID),
) -> SpanSpec:
    """Return a span that carries the request's identity beside its own attributes, and a reason where it fails."""
    required = frozenset({*identity, *has})
    optional = frozenset({ERROR_TYPE, Attribute.EXEMPLAR_KEEP, *on_success, *may_have})
    return SpanSpec(name, service, kind, frozenset(parents), required, optional, frozenset(on_success))


def _request(service: Source, *parents: str, may_have: tuple[str, ...] = ()) -> SpanSpec:
    """Return the span of a request that a service serves: the tenant is known once its path is accepted."""
    required = {
        *(Attribute.CORRELATION_ID, http.HTTP_REQUEST_METHOD, http.HTTP_RESPONSE_STATUS_CODE),
        *(url.URL_SCHEME, network.NETWORK_PROTOCOL_VERSION),
        *(server.SERVER_ADDRESS, server.SERVER_PORT),
    }
    on_success = frozenset({Attribute.CLIENT_ID, http.HTTP_ROUTE, url.URL_PATH})
    optional = on_success | {
        *(ERROR_TYPE, Attribute.PROBLEM_DETAIL, Attribute.ADMISSION_WAIT, Attribute.EXEMPLAR_KEEP),
        *may_have,
    }
    return SpanSpec(
        *(REQUEST_SPAN, service, Kind.SERVER, frozenset(parents), frozenset(required), optional, on_success)
    )


_CALL: Final = (http.HTTP_REQUEST_METHOD, url.URL_FULL, server.SERVER_ADDRESS, server.SERVER_PORT)
_STATEMENT: Final = (
    *(db.DB_SYSTEM_NAME, db.DB_OPERATION_NAME, db.DB_COLLECTION_NAME, db.DB_QUERY_SUMMARY, db.DB_QUERY_TEXT),
    Attribute.QUERY_TIMING,
)
_GEN_AI: Final = (
    *(gen_ai.GEN_AI_OPERATION_NAME, gen_ai.GEN_AI_PROVIDER_NAME, gen_ai.GEN_AI_REQUEST_MODEL),
    *(gen_ai.GEN_AI_REQUEST_MAX_TOKENS, gen_ai.GEN_AI_REQUEST_TEMPERATURE),
    *(server.SERVER_ADDRESS, server.SERVER_PORT),
)
_ANSWERED: Final = (
    *(http.HTTP_RESPONSE_STATUS_CODE, http.HTTP_REQUEST_RESEND_COUNT),
    *(gen_ai.GEN_AI_RESPONSE_ID, gen_ai.GEN_AI_RESPONSE_MODEL, gen_ai.GEN_AI_RESPONSE_FINISH_REASONS),
    *(gen_ai.GEN_AI_USAGE_INPUT_TOKENS, gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS),
    # Question and answer, where OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT lets them be recorded.
    *(gen_ai.GEN_AI_SYSTEM_INSTRUCTIONS, gen_ai.GEN_AI_INPUT_MESSAGES, gen_ai.GEN_AI_OUTPUT_MESSAGES),
)
_PROCESSED: Final = (
    *(Attribute.FILE_SIZE, Attribute.FILE_TYPE, Attribute.FILE_SHA256, Attribute.SUMMARY_INPUT_CHARS),
)
# Of steps that also find out whose request it is.
_BEFORE_THE_TENANT: Final = (Attribute.CORRELATION_ID,)
_CHANGES: Final = (Span.CHANGE_DOCUMENT, Span.DELETE_DOCUMENT, Span.RESTORE_DOCUMENT, Span.PURGE_DOCUMENT)
_API: Final = Source.DOCUMENT_API
_STORE: Final = Source.DATA_STORE

# What is optional is missing where a step did not come so far.
SPANS: Final = (
    _request(_API, may_have=(Attribute.AUTH_DENIED,)),
    _span(
        *(Span.AUTHENTICATE, _API, REQUEST_SPAN),
        has=(Attribute.OUTCOME,),
        on_success=(Attribute.AUTH_METHOD, user.USER_ID, user.USER_ROLES),
        identity=_BEFORE_THE_TENANT,
    ),
    _span(
        Span.UPLOAD_DOCUMENT,
        _API,
        REQUEST_SPAN,
        has=(Attribute.OUTCOME,),
        on_success=(Attribute.DOCUMENT_ID,),
    ),
    _span(Span.FILE_PROCESSING, _API, Span.UPLOAD_DOCUMENT, on_success=_PROCESSED),
    _span(
        *(Span.FILE_READ, _API, Span.FILE_PROCESSING),
        on_success=(Attribute.CONTENT_BYTES, Attribute.CONTENT_CHUNKS),
    ),
    _span(
        *(Span.FILE_SAVE, _API, Span.FILE_PROCESSING),
        has=(Attribute.STORAGE_BACKEND,),
        on_success=(Attribute.STORAGE_BYTES,),
    ),
    # Only where a scanner is configured.
    _span(*(Span.VIRUS_SCAN, _API, Span.FILE_PROCESSING), on_success=(Attribute.SCAN_RESULT,)),
    # Only of documents that are more than text.
    _span(
        *(Span.TEXT_EXTRACTION, _API, Span.FILE_PROCESSING),
        on_success=(Attribute.FILE_TYPE, Attribute.TEXT_CHARS, Attribute.TEXT_OUTCOME),
    ),
    _span(
        *(Span.LLM_SUMMARIZATION, _API, Span.UPLOAD_DOCUMENT, Span.SUMMARIZE_LATER),
        has=(Attribute.PROCESSING_TIME, Attribute.SUMMARY_SOURCE),
        may_have=(Attribute.SUMMARY_REASON,),
    ),
    _span(CHAT_SPAN, _API, Span.LLM_SUMMARIZATION, kind=Kind.CLIENT, has=_GEN_AI, may_have=_ANSWERED),
    _span(Span.STORE_METADATA, _API, Span.UPLOAD_DOCUMENT, has=(Attribute.DATABASE_OPERATION,)),
    _span(
        *(Span.RETRIEVE_DOCUMENT, _API, REQUEST_SPAN),
        has=(Attribute.OUTCOME,),
        on_success=(Attribute.DOCUMENT_ID,),
    ),
    *(
        _span(name, _API, REQUEST_SPAN, has=(Attribute.OUTCOME,), on_success=(Attribute.DOCUMENT_COUNT,))
        for name in (Span.LIST_DOCUMENTS, Span.SEARCH_DOCUMENTS)
    ),
    _span(
        *(Span.RETRIEVE_CONTENT, _API, REQUEST_SPAN),
        has=(Attribute.OUTCOME,),
        on_success=(Attribute.DOCUMENT_ID, Attribute.FILE_SIZE, Attribute.STORAGE_BACKEND),
    ),
    _span(
        *(Span.LIST_VERSIONS, _API, REQUEST_SPAN),
        has=(Attribute.OUTCOME,),
        on_success=(Attribute.DOCUMENT_ID, Attribute.DOCUMENT_COUNT),
    ),
    *(
        _span(name, _API, REQUEST_SPAN, has=(Attribute.OUTCOME,), on_success=(Attribute.DOCUMENT_ID,))
        for name in _CHANGES
    ),
    # Of no request: what killed processes have left, and what no document has any more.
    *(
        _span(name, _API, has=(Attribute.OUTCOME,), identity=_BEFORE_THE_TENANT)
        for name in (Span.SWEEP_LEFTOVERS, Span.REMOVE_CONTENTS)
    ),
    # After the upload, under its correlation ID, in a trace of its own that is linked to the upload's.
    _span(
        *(Span.SUMMARIZE_LATER, _API),
        has=(Attribute.OUTCOME, Attribute.DOCUMENT_ID, Attribute.SUMMARY_ATTEMPT),
    ),
    _span(Span.STORE_SUMMARY, _API, Span.SUMMARIZE_LATER),
    _span(
        *(Span.CLAIM_SUMMARIES, _API),
        has=(Attribute.OUTCOME,),
        on_success=(Attribute.SUMMARY_JOBS,),
        identity=_BEFORE_THE_TENANT,
    ),
    _span(
        *(
            CALL_SPAN,
            _API,
            Span.AUTHENTICATE,
            Span.STORE_METADATA,
            *(Span.RETRIEVE_DOCUMENT, Span.LIST_DOCUMENTS, Span.SEARCH_DOCUMENTS, Span.LIST_VERSIONS),
            *(*_CHANGES, Span.RETRIEVE_CONTENT),
            *(Span.SWEEP_LEFTOVERS, Span.REMOVE_CONTENTS, Span.CLAIM_SUMMARIES, Span.STORE_SUMMARY),
        ),
        kind=Kind.CLIENT,
        has=_CALL,
        on_success=(http.HTTP_RESPONSE_STATUS_CODE,),
        may_have=(Attribute.CLIENT_ID, http.HTTP_REQUEST_RESEND_COUNT),
        identity=_BEFORE_THE_TENANT,
    ),
    _request(_STORE, CALL_SPAN),
    _span(
        *(Span.DATABASE_CONNECTION, _STORE, REQUEST_SPAN),
        has=(Attribute.POOL_WAIT, Attribute.POOL_IN_USE, Attribute.POOL_SIZE),
        may_have=(Attribute.CLIENT_ID,),
        identity=_BEFORE_THE_TENANT,
    ),
    _span(
        *(Span.SQL_EXECUTION, _STORE, REQUEST_SPAN),
        kind=Kind.CLIENT,
        has=_STATEMENT,
        may_have=(Attribute.CLIENT_ID, db.DB_RESPONSE_STATUS_CODE),
        identity=_BEFORE_THE_TENANT,
    ),
    _span(
        *(Span.TRANSACTION_COMMIT, _STORE, REQUEST_SPAN),
        has=(Attribute.SUCCESS_STATUS,),
        may_have=(Attribute.CLIENT_ID,),  # what is purged by itself is of many clients
        identity=_BEFORE_THE_TENANT,
    ),
)
# What is served, beside health, which makes no span.
ENDPOINTS: Final = frozenset(
    {
        (_API, "PUT", UPLOAD_ROUTE),
        (_API, "PUT", BULK_UPLOAD_ROUTE),
        (_API, "GET", DOCUMENT_ROUTE),
        (_API, "GET", RECORDS_ROUTE),
        (_API, "GET", SEARCH_ROUTE),
        (_API, "GET", VERSIONS_ROUTE),
        (_API, "PUT", CONTENT_ROUTE),
        (_API, "GET", CONTENT_ROUTE),
        (_API, "PATCH", DOCUMENT_ROUTE),
        (_API, "DELETE", DOCUMENT_ROUTE),
        (_API, "POST", RESTORE_ROUTE),
        (_API, "POST", PURGE_ROUTE),
        (_STORE, "GET", RECORDS_ROUTE),
        (_STORE, "GET", SEARCH_ROUTE),
        (_STORE, "GET", VERSIONS_ROUTE),
        (_STORE, "GET", VERSION_ROUTE),
        (_STORE, "POST", VERSIONS_ROUTE),
        (_STORE, "PATCH", DOCUMENT_ROUTE),
        (_STORE, "DELETE", DOCUMENT_ROUTE),
        (_STORE, "POST", RESTORE_ROUTE),
        (_STORE, "POST", PURGE_ROUTE),
        (_STORE, "POST", REMOVED_STORAGE_KEYS_ROUTE),
        (_STORE, "POST", FORGOTTEN_STORAGE_KEYS_ROUTE),
        (_STORE, "POST", RECORDS_ROUTE),
        (_STORE, "GET", DOCUMENT_ROUTE),
        (_STORE, "POST", PRINCIPAL_BY_KEY_ROUTE),
        (_STORE, "POST", PRINCIPAL_BY_SUBJECT_ROUTE),
        (_STORE, "POST", KNOWN_STORAGE_KEYS_ROUTE),
        (_STORE, "POST", SUMMARY_JOBS_ROUTE),
        (_STORE, "PUT", SUMMARY_ROUTE),
    }
)

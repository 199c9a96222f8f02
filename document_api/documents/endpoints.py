"""The routes of documents."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from access.roles import Permission
from access.routes import GuardedRoute, needs
from document_api.documents.bulk import MAX_FILES, BulkUpload, nothing_stored
from document_api.documents.library import Library
from document_api.documents.multipart import MultipartFile
from document_api.documents.sameness import KEY_HEADER, KEY_PATTERN, MAX_KEY_CHARS, REPLAYED_HEADER, Sameness
from document_api.documents.schemas import (
    Document,
    DocumentList,
    FoundList,
    ListedDocuments,
    SearchedDocuments,
    TagChange,
    UploadResponse,
    UploadResults,
    Versions,
    When,
    WhichVersion,
)
from document_api.documents.service import DocumentService
from document_api.identity.credentials import SECURITY_SCHEMES
from document_api.identity.limits import TenantLimits
from observability import ClientId
from observability.fields import DocumentId
from observability.openapi import problems

# Of a change: every tag at its longest, every character escaped.
MAX_CHANGE_BYTES: Final = 64 * 1024

router = APIRouter(prefix="/clients/{client_id}", tags=["documents"], route_class=GuardedRoute)

_MULTIPART_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary", "minLength": 1}},
                }
            }
        },
    }
}

_SEVERAL_FILES: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "array",
                            "minItems": 1,
                            "description": f"{MAX_FILES} are stored at most; each that is refused has its problem in its result",
                            "items": {"type": "string", "format": "binary"},
                            "contains": {"type": "string", "minLength": 1},  # else nothing is stored
                        }
                    },
                }
            }
        },
    }
}
_IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": KEY_HEADER,
            "in": "header",
            "required": False,
            "description": "The same for every try of one upload, and for no other upload of this client: a UUID, say",
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": KEY_PATTERN},
        }
    ]
}
# What may become of any request about documents.
_USUAL: Final = (400, 401, 403, 404, 422, 429, 502, 503, 504)
_READS: Final = needs(Permission.READ_DOCUMENTS, *SECURITY_SCHEMES)
_WRITES: Final = needs(Permission.WRITE_DOCUMENTS, *SECURITY_SCHEMES)
_LINK: Final[dict[str, Any]] = {
    "description": 'The next page: `<PATH?QUERY>; rel="next"` (RFC 8288); none on the last one',
    "schema": {"type": "string"},
}
_REPLAYED: Final[dict[str, Any]] = {
    "description": "`true` where an earlier upload with this Idempotency-Key has made the document",
    "schema": {"type": "string", "enum": ["true"]},
}

SummaryWhen = Annotated[
    When,
    Query(
        description="`async`: the answer does not wait for the summary; `summary_status` is `pending` until it is written"
    ),
]


def _library(request: Request) -> Library:
    library: Library = request.state.library
    return library


def _documents(request: Request) -> DocumentService:
    """Return the service: a call, for FastAPI would run it as a dependency in a thread."""
    service: DocumentService = request.state.documents
    return service


@router.put(
    "/upload-document",
    # The body is streamed by hand: FastAPI would spool it a second time.
    openapi_extra=_MULTIPART_BODY | _IDEMPOTENCY_KEY | needs(Permission.WRITE_DOCUMENTS, *SECURITY_SCHEMES),
    response_model=UploadResponse,
    responses={
        200: {"headers": {REPLAYED_HEADER: _REPLAYED}},
        **problems(400, 401, 403, 408, 409, 413, 415, 422, 429, 502, 503, 504, 507),
    },
)
async def upload_document(
    client_id: ClientId, request: Request, summary: SummaryWhen = When.SYNC
) -> Response:
    """Store one document: multipart/form-data with one part named `file`.

    An upload that is repeated with the same Idempotency-Key answers the first one's document and stores no second one.
    """
    return await _upload(client_id, request, None, summary)


@router.put(
    "/upload-documents",
    openapi_extra=_SEVERAL_FILES | _IDEMPOTENCY_KEY | needs(Permission.WRITE_DOCUMENTS, *SECURITY_SCHEMES),
    response_model=UploadResults,
    responses=problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 502, 503, 504, 507),
)
async def upload_documents(
    client_id: ClientId, request: Request, summary: SummaryWhen = When.SYNC
) -> Response:
    """Store several documents: multipart/form-data with up to 100 parts named `file`; each has its own result.

    All of them together may be as large as one document. Where none is stored the answer is the first one's problem, with all
    `results`.
    """
    sameness = Sameness.of_headers(request.headers)
    limits: TenantLimits = request.state.limits
    bulk: BulkUpload = request.state.bulk
    with limits.uploading(client_id):
        results = await bulk.store(client_id, request, sameness, summary)
    if refused := nothing_stored(results):
        return refused
    return _json(UploadResults(client_id=client_id, results=results))


_CONTENT: Final[dict[str, Any]] = {
    "openapi_extra": _READS,
    "response_class": Response,
    "responses": {
        200: {
            "description": "The bytes, as an attachment under the document's name; the ETag is their SHA-256",
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        },
        206: {
            "description": "The range that was asked for (`Range`, `If-Range`)",
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        },
        304: {"description": "The client has them already (`If-None-Match`)"},
        **problems(400, 401, 403, 404, 416, 422, 429, 500, 502, 503, 504),
    },
}


@router.get("/documents/{doc_id}/content", **_CONTENT)
@router.head("/documents/{doc_id}/content", **_CONTENT, include_in_schema=False)
async def get_content(
    client_id: ClientId, doc_id: DocumentId, which: Annotated[WhichVersion, Query()], request: Request
) -> Response:
    """Return a document's bytes, or those of one of its versions."""
    return await _library(request).content(client_id, doc_id, which.version)


@router.put(
    "/documents/{doc_id}/content",
    openapi_extra=_MULTIPART_BODY | _IDEMPOTENCY_KEY | needs(Permission.WRITE_DOCUMENTS, *SECURITY_SCHEMES),
    response_model=UploadResponse,
    responses={
        200: {"headers": {REPLAYED_HEADER: _REPLAYED}},
        **problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 502, 503, 504, 507),
    },
)
async def add_version(
    client_id: ClientId, doc_id: DocumentId, request: Request, summary: SummaryWhen = When.SYNC
) -> Response:
    """Store a new version of a document, as upload-document stores a document; what it was is kept as a version."""
    return await _upload(client_id, request, doc_id, summary)


async def _upload(client_id: str, request: Request, version_of: int | None, summary: When) -> Response:
    sameness = Sameness.of_headers(request.headers)
    limits: TenantLimits = request.state.limits
    with limits.uploading(client_id):
        uploaded = await _documents(request).upload(
            client_id, MultipartFile(request), sameness, version_of=version_of, summary=summary
        )
    document = uploaded.document
    message = "Document uploaded successfully" if document.version == 1 else "Version stored successfully"
    answer = _json(
        UploadResponse(message=message, client_id=client_id, document_id=document.id, metadata=document)
    )
    if uploaded.repeated:
        answer.headers[REPLAYED_HEADER] = "true"
    return answer


@router.get(
    "/documents",
    openapi_extra=_READS,
    response_model=DocumentList,
    responses={200: {"headers": {"Link": _LINK}}, **problems(*_USUAL)},
)
async def list_documents(
    client_id: ClientId, which: Annotated[ListedDocuments, Query()], request: Request
) -> Response:
    """Return a page of a client's documents, the newest first unless asked otherwise."""
    page = await _library(request).list(client_id, which)
    return _page(page, page.next, which, request)


@router.get(
    "/search",
    openapi_extra=_READS,
    response_model=FoundList,
    responses={200: {"headers": {"Link": _LINK}}, **problems(*_USUAL)},
)
async def search_documents(
    client_id: ClientId, which: Annotated[SearchedDocuments, Query()], request: Request
) -> Response:
    """Return a page of the documents that have all words asked for in their name or text, the best first.

    Words are compared as they are written, in any case and any language: none is reduced to its stem.
    """
    page = await _library(request).search(client_id, which)
    return _page(page, page.next, which, request)


@router.get(
    "/documents/{doc_id}/versions",
    openapi_extra=_READS,
    response_model=Versions,
    responses=problems(*_USUAL),
)
async def list_versions(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
    """Return what a document is and was, the newest first; tags are the document's."""
    return _json(await _library(request).versions(client_id, doc_id))


@router.patch(
    "/documents/{doc_id}",
    openapi_extra=_WRITES,
    response_model=Document,
    responses=problems(400, 401, 403, 404, 413, 422, 429, 502, 503, 504),
    max_body_size=MAX_CHANGE_BYTES,
)
async def change_document(
    client_id: ClientId, doc_id: DocumentId, change: TagChange, request: Request
) -> Response:
    """Set a document's tags; null takes one away (RFC 7396)."""
    return _json(await _library(request).change(client_id, doc_id, change))


@router.delete(
    "/documents/{doc_id}",
    openapi_extra=_WRITES,
    status_code=204,
    responses=problems(*_USUAL),
)
async def delete_document(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
    """Delete a document: it is not found any more, and can be restored for a time (RESTORE_SECONDS)."""
    await _library(request).delete(client_id, doc_id)
    return Response(status_code=204)


@router.post(
    "/documents/{doc_id}/restore",
    openapi_extra=_WRITES,
    response_model=Document,
    responses=problems(*_USUAL),
)
async def restore_document(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
    """Bring a deleted document back."""
    return _json(await _library(request).restore(client_id, doc_id))


@router.post(
    "/documents/{doc_id}/purge",
    openapi_extra=needs(Permission.PURGE_DOCUMENTS, *SECURITY_SCHEMES),
    status_code=204,
    responses=problems(400, 401, 403, 404, 409, 422, 429, 502, 503, 504),
)
async def purge_document(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
    """Do away with a deleted document and its versions for ever; the bytes go within SWEEP_SECONDS.

    A document that is not deleted stays (409).
    """
    await _library(request).purge(client_id, doc_id)
    return Response(status_code=204)


@router.get(
    "/documents/{doc_id}",
    openapi_extra=_READS,
    response_model=Document,
    responses=problems(*_USUAL),
)
async def get_document(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
    """Return a document's metadata with its summary; another client's document is not found."""
    return _json(await _documents(request).retrieve(client_id, doc_id))


def _page(page: BaseModel, cursor: str | None, which: BaseModel, request: Request) -> Response:
    """Return a page, and where the next one is (RFC 8288)."""
    answer = _json(page)
    if cursor is not None:
        asked = which.model_dump(mode="json", exclude_none=True, exclude_defaults=True) | {"cursor": cursor}
        answer.headers["Link"] = f'<{request.scope["path"]}?{urlencode(asked, doseq=True)}>; rel="next"'
    return answer


def _json(answer: BaseModel) -> Response:
    """Return an answer as it is: FastAPI would validate it a second time."""
    return Response(answer.model_dump_json(), media_type="application/json")

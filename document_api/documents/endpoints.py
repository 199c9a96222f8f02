"""The routes of documents."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from access.roles import Permission
from access.routes import GuardedRoute, needs
from document_api.documents.multipart import MultipartFile
from document_api.documents.sameness import KEY_HEADER, KEY_PATTERN, MAX_KEY_CHARS, REPLAYED_HEADER, Sameness
from document_api.documents.schemas import Document, UploadResponse
from document_api.documents.service import DocumentService
from document_api.identity.credentials import SECURITY_SCHEMES
from document_api.identity.limits import TenantLimits
from observability import ClientId
from observability.fields import DocumentId
from observability.openapi import problems

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
_REPLAYED: Final[dict[str, Any]] = {
    "description": "`true` where an earlier upload with this Idempotency-Key has made the document",
    "schema": {"type": "string", "enum": ["true"]},
}


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
async def upload_document(client_id: ClientId, request: Request) -> Response:
    """Store one document: multipart/form-data with one part named `file`.

    An upload that is repeated with the same Idempotency-Key answers the first one's document and stores no second one.
    """
    sameness = Sameness.of_headers(request.headers)
    limits: TenantLimits = request.state.limits
    with limits.uploading(client_id):
        uploaded = await _documents(request).upload(client_id, MultipartFile(request), sameness)
    document = uploaded.document
    answer = _json(UploadResponse(client_id=client_id, document_id=document.id, metadata=document))
    if uploaded.repeated:
        answer.headers[REPLAYED_HEADER] = "true"
    return answer


@router.get(
    "/documents/{doc_id}",
    openapi_extra=needs(Permission.READ_DOCUMENTS, *SECURITY_SCHEMES),
    response_model=Document,
    responses=problems(400, 401, 403, 404, 422, 429, 502, 503, 504),
)
async def get_document(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
    """Return a document's metadata with its summary; another client's document is not found."""
    return _json(await _documents(request).retrieve(client_id, doc_id))


def _json(answer: BaseModel) -> Response:
    """Return an answer as it is: FastAPI would validate it a second time."""
    return Response(answer.model_dump_json(), media_type="application/json")

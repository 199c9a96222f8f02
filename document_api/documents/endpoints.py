"""The routes of documents."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request

from document_api.documents.multipart import MultipartFile
from document_api.documents.schemas import Document, UploadResponse
from document_api.documents.service import DocumentService
from observability import ClientId
from observability.fields import DocumentId

router = APIRouter(prefix="/clients/{client_id}", tags=["documents"])

_PROBLEM: Final[dict[str, Any]] = {"content": {"application/problem+json": {}}}
_MULTIPART_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


def _documents(request: Request) -> DocumentService:
    service: DocumentService = request.state.documents
    return service


Documents = Annotated[DocumentService, Depends(_documents)]


@router.put(
    "/upload-document",
    openapi_extra=_MULTIPART_BODY,  # the body is streamed by hand: FastAPI would spool it a second time
    responses=dict.fromkeys((400, 413, 415, 422, 502, 503, 504, 507), _PROBLEM),
)
async def upload_document(client_id: ClientId, request: Request, documents: Documents) -> UploadResponse:
    """Store one document: multipart/form-data with one part named `file`."""
    document = await documents.upload(client_id, MultipartFile(request))
    return UploadResponse(client_id=client_id, document_id=document.id, metadata=document)


@router.get("/documents/{doc_id}", responses=dict.fromkeys((404, 422, 502, 503, 504), _PROBLEM))
async def get_document(client_id: ClientId, doc_id: DocumentId, documents: Documents) -> Document:
    """Return a document's metadata with its summary; another client's document is not found."""
    return await documents.retrieve(client_id, doc_id)

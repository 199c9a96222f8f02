"""HTTP of the records."""

from typing import Final

from fastapi import APIRouter, Request, Response

from access.audit import ANONYMOUS
from access.roles import Permission
from access.routes import GuardedRoute, needs
from access.service_token import ACTOR_HEADER, SCHEME
from data_store.body_limit import MAX_BODY_BYTES
from data_store.records.repository import DocumentRepository
from data_store.records.schemas import Document, NewDocument
from observability import ClientId, NotFound, Problem
from observability.fields import DocumentId

_FOR_SERVICES: Final = needs(Permission.BE_A_SERVICE, SCHEME)
_MAX_ACTOR_CHARS: Final = 256


def records_router(documents: DocumentRepository) -> APIRouter:
    """Return the routes of the records, on this repository."""
    router = APIRouter(prefix="/clients/{client_id}/documents", tags=["documents"], route_class=GuardedRoute)

    @router.post(
        "",
        status_code=201,
        response_model=Document,
        max_body_size=MAX_BODY_BYTES,
        openapi_extra=_FOR_SERVICES,
    )
    async def add_document(client_id: ClientId, document: NewDocument, request: Request) -> Response:
        """Store a document's record; a client appears with its first document."""
        return _json(await documents.add(client_id, document, actor=_actor(request)), 201)

    @router.get("/{doc_id}", response_model=Document, openapi_extra=_FOR_SERVICES)
    async def get_document(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
        """Return a document's record."""
        document = await documents.get(client_id, doc_id, actor=_actor(request))
        if document is None:
            raise NotFound("The client has no such document.")  # recorded, and the number may be a card's
        return _json(document, 200)

    return router


def _json(document: Document, status: int) -> Response:
    """Return a document as it is: FastAPI would validate it a second time."""
    return Response(document.model_dump_json(), status, media_type="application/json")


def _actor(request: Request) -> str:
    """Return who asks, for the audit log."""
    actor = request.headers.get(ACTOR_HEADER) or ANONYMOUS
    if len(actor) > _MAX_ACTOR_CHARS:
        raise Problem(f"{ACTOR_HEADER} may have {_MAX_ACTOR_CHARS} characters.", status=422)
    return actor

"""HTTP of the records."""

from typing import Final

from fastapi import APIRouter, Request, Response

from access.audit import ANONYMOUS
from access.roles import Permission
from access.routes import GuardedRoute, needs
from access.service_token import ACTOR_HEADER, SCHEME
from data_store.body_limit import MAX_BODY_BYTES
from data_store.records.repository import DocumentRepository
from data_store.records.schemas import Document, NewDocument, StorageKeys
from observability import ClientId, NotFound, Problem
from observability.fields import DocumentId
from observability.openapi import problems
from observability.signals import KNOWN_STORAGE_KEYS_ROUTE

_FOR_SERVICES: Final = needs(Permission.BE_A_SERVICE, SCHEME)
_MAX_ACTOR_CHARS: Final = 256


def records_router(documents: DocumentRepository) -> APIRouter:
    """Return the routes of the records, on this repository."""
    router = APIRouter(prefix="/clients/{client_id}/documents", tags=["documents"], route_class=GuardedRoute)

    @router.post(
        "",
        status_code=201,
        response_model=Document,
        responses={
            200: {"model": Document, "description": "The document that the same upload has made before"},
            **problems(400, 401, 409, 413, 422, 503, 504),
        },
        max_body_size=MAX_BODY_BYTES,
        openapi_extra=_FOR_SERVICES,
    )
    async def add_document(client_id: ClientId, document: NewDocument, request: Request) -> Response:
        """Store a document's record, once for each idempotency_digest; a client appears with its first document."""
        added = await documents.add(client_id, document, actor=_actor(request))
        return _json(added.document, 200 if added.repeated else 201)

    @router.get(
        "/{doc_id}",
        response_model=Document,
        responses=problems(401, 404, 413, 422, 503, 504),
        openapi_extra=_FOR_SERVICES,
    )
    async def get_document(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
        """Return a document's record."""
        document = await documents.get(client_id, doc_id, actor=_actor(request))
        if document is None:
            raise NotFound("The client has no such document.")  # recorded, and the number may be a card's
        return _json(document, 200)

    return router


def storage_keys_router(documents: DocumentRepository) -> APIRouter:
    """Return the route that tells which stored bytes are a document's."""
    router = APIRouter(tags=["documents"], route_class=GuardedRoute)

    @router.post(
        KNOWN_STORAGE_KEYS_ROUTE,
        response_model=StorageKeys,
        responses=problems(400, 401, 413, 422, 503),
        max_body_size=MAX_BODY_BYTES,
        openapi_extra=_FOR_SERVICES,
    )
    async def known_storage_keys(asked: StorageKeys) -> Response:
        """Return those of the keys that a document of any client has."""
        known = StorageKeys(keys=await documents.known_storage_keys(asked.keys))
        return Response(known.model_dump_json(), media_type="application/json")

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

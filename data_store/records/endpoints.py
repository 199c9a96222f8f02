"""HTTP of the records."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from access.audit import ANONYMOUS
from access.roles import Permission
from access.routes import GuardedRoute, needs
from access.service_token import ACTOR_HEADER, SCHEME
from data_store.body_limit import MAX_BODY_BYTES
from data_store.records.lifecycle import DocumentLifecycle
from data_store.records.listing import DocumentListing
from data_store.records.repository import Added, DocumentRepository
from data_store.records.schemas import (
    Claim,
    Document,
    DocumentPage,
    FoundPage,
    Listing,
    NewDocument,
    Search,
    StorageKeys,
    SummaryJobs,
    Tags,
    Versions,
    WrittenSummary,
)
from data_store.records.summaries import SummaryQueue
from data_store.records.versions import DocumentVersions
from observability import ClientId, NotFound, Problem
from observability.fields import INT32_MAX, DocumentId
from observability.openapi import problems
from observability.signals import (
    DOCUMENT_ROUTE,
    FORGOTTEN_STORAGE_KEYS_ROUTE,
    KNOWN_STORAGE_KEYS_ROUTE,
    PURGE_ROUTE,
    RECORDS_ROUTE,
    REMOVED_STORAGE_KEYS_ROUTE,
    RESTORE_ROUTE,
    SEARCH_ROUTE,
    SUMMARY_JOBS_ROUTE,
    SUMMARY_ROUTE,
    VERSION_ROUTE,
    VERSIONS_ROUTE,
)

_FOR_SERVICES: Final = needs(Permission.BE_A_SERVICE, SCHEME)
# What may become of any request about a document.
_USUAL: Final = (401, 404, 413, 422, 503, 504)
_MAX_ACTOR_CHARS: Final = 256
_NOT_THERE: Final = "The client has no such document."


def records_router(documents: DocumentRepository) -> APIRouter:
    """Return the routes by which documents are stored and found."""
    router = APIRouter(tags=["documents"], route_class=GuardedRoute)

    @router.post(
        RECORDS_ROUTE,
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
        """Store a document's record, once for each idempotency_digest; a client appears with its first document.

        Bytes that the client has stored before keep their storage_key: the answer's is another one then.
        """
        return _added(await documents.add(client_id, document, actor=_actor(request)))

    @router.get(
        DOCUMENT_ROUTE,
        response_model=Document,
        responses=problems(*_USUAL),
        openapi_extra=_FOR_SERVICES,
    )
    async def get_document(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
        """Return a document's record."""
        document = await documents.get(client_id, doc_id, actor=_actor(request))
        if document is None:
            raise NotFound(_NOT_THERE)  # recorded, and the number may be a card's
        return _json(document)

    return router


def versions_router(versions: DocumentVersions) -> APIRouter:
    """Return the routes of what documents are and were."""
    router = APIRouter(tags=["documents"], route_class=GuardedRoute)

    @router.post(
        VERSIONS_ROUTE,
        status_code=201,
        response_model=Document,
        responses={
            200: {"model": Document, "description": "The version that the same upload has made before"},
            **problems(400, 401, 404, 409, 413, 422, 503, 504),
        },
        max_body_size=MAX_BODY_BYTES,
        openapi_extra=_FOR_SERVICES,
    )
    async def add_version(
        client_id: ClientId, doc_id: DocumentId, document: NewDocument, request: Request
    ) -> Response:
        """Let a document become what is new, once for each idempotency_digest; what it was is kept as a version."""
        return _added(await versions.add(client_id, doc_id, document, actor=_actor(request)))

    @router.get(
        VERSIONS_ROUTE,
        response_model=Versions,
        responses=problems(*_USUAL),
        openapi_extra=_FOR_SERVICES,
    )
    async def list_versions(client_id: ClientId, doc_id: DocumentId) -> Response:
        """Return a document's newest versions, the newest first."""
        found = await versions.list(client_id, doc_id)
        if not found:
            raise NotFound(_NOT_THERE)
        return _json(Versions(versions=found))

    @router.get(
        VERSION_ROUTE,
        response_model=Document,
        responses=problems(*_USUAL),
        openapi_extra=_FOR_SERVICES,
    )
    async def get_version(
        client_id: ClientId,
        doc_id: DocumentId,
        version: Annotated[int, Path(ge=1, le=INT32_MAX)],
        request: Request,
    ) -> Response:
        """Return a document as it is or was in one version."""
        found = await versions.get(client_id, doc_id, version, actor=_actor(request))
        if found is None:
            raise NotFound("The client has no such document, or it has had no such version.")
        return _json(found)

    return router


def listing_router(listing: DocumentListing) -> APIRouter:
    """Return the routes that list and search."""
    router = APIRouter(tags=["documents"], route_class=GuardedRoute)

    @router.get(
        RECORDS_ROUTE,
        response_model=DocumentPage,
        responses=problems(401, 413, 422, 503, 504),
        openapi_extra=_FOR_SERVICES,
    )
    async def list_documents(client_id: ClientId, which: Annotated[Listing, Query()]) -> Response:
        """Return a page of a client's documents."""
        return _json(await listing.list(client_id, which))

    @router.get(
        SEARCH_ROUTE,
        response_model=FoundPage,
        responses=problems(401, 413, 422, 503, 504),
        openapi_extra=_FOR_SERVICES,
    )
    async def search_documents(client_id: ClientId, which: Annotated[Search, Query()]) -> Response:
        """Return a page of the documents that have all words asked for in their name or text, the best first."""
        return _json(await listing.search(client_id, which))

    return router


def lifecycle_router(lifecycle: DocumentLifecycle) -> APIRouter:
    """Return the routes that change a document."""
    router = APIRouter(tags=["documents"], route_class=GuardedRoute)

    @router.patch(
        DOCUMENT_ROUTE,
        response_model=Document,
        responses=problems(400, 401, 404, 413, 422, 503, 504),
        max_body_size=MAX_BODY_BYTES,
        openapi_extra=_FOR_SERVICES,
    )
    async def change_document(
        client_id: ClientId, doc_id: DocumentId, change: Tags, request: Request
    ) -> Response:
        """Set a document's tags, and take away those that are null."""
        return _json(await lifecycle.change(client_id, doc_id, change.tags, actor=_actor(request)))

    @router.delete(
        DOCUMENT_ROUTE,
        status_code=204,
        responses=problems(*_USUAL),
        openapi_extra=_FOR_SERVICES,
    )
    async def delete_document(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
        """Delete a document; it can be restored for RESTORE_SECONDS."""
        await lifecycle.delete(client_id, doc_id, actor=_actor(request))
        return Response(status_code=204)

    @router.post(
        RESTORE_ROUTE,
        response_model=Document,
        responses=problems(*_USUAL),
        openapi_extra=_FOR_SERVICES,
    )
    async def restore_document(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
        """Bring a deleted document back."""
        return _json(await lifecycle.restore(client_id, doc_id, actor=_actor(request)))

    @router.post(
        PURGE_ROUTE,
        status_code=204,
        responses=problems(401, 404, 409, 413, 422, 503, 504),
        openapi_extra=_FOR_SERVICES,
    )
    async def purge_document(client_id: ClientId, doc_id: DocumentId, request: Request) -> Response:
        """Do away with a deleted document for ever."""
        await lifecycle.purge(client_id, doc_id, actor=_actor(request))
        return Response(status_code=204)

    return router


def storage_keys_router(documents: DocumentRepository, lifecycle: DocumentLifecycle) -> APIRouter:
    """Return the routes that tell which stored bytes are a document's, and which are no longer."""
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
        return _json(StorageKeys(keys=await documents.known_storage_keys(asked.keys)))

    @router.post(
        REMOVED_STORAGE_KEYS_ROUTE,
        response_model=StorageKeys,
        responses=problems(401, 413, 503, 504),
        openapi_extra=_FOR_SERVICES,
    )
    async def removed_storage_keys() -> Response:
        """Purge what was deleted RESTORE_SECONDS ago, and return the keys of bytes that no document has any more."""
        return _json(StorageKeys(keys=await lifecycle.purge_expired()))

    @router.post(
        FORGOTTEN_STORAGE_KEYS_ROUTE,
        status_code=204,
        responses=problems(400, 401, 413, 422, 503, 504),
        max_body_size=MAX_BODY_BYTES,
        openapi_extra=_FOR_SERVICES,
    )
    async def forget_storage_keys(removed: StorageKeys) -> Response:
        """Forget the keys of bytes that are removed from the storage."""
        await lifecycle.forget(removed.keys)
        return Response(status_code=204)

    return router


def summaries_router(queue: SummaryQueue) -> APIRouter:
    """Return the routes by which summaries are written after the upload."""
    router = APIRouter(tags=["documents"], route_class=GuardedRoute)

    @router.post(
        SUMMARY_JOBS_ROUTE,
        response_model=SummaryJobs,
        responses=problems(400, 401, 413, 422, 503, 504),
        max_body_size=MAX_BODY_BYTES,
        openapi_extra=_FOR_SERVICES,
    )
    async def claim_summaries(claim: Claim) -> Response:
        """Take summaries that are to be written, of all clients in turn: nobody else gets them for a time."""
        return _json(await queue.claim(claim))

    @router.put(
        SUMMARY_ROUTE,
        status_code=204,
        responses=problems(400, *_USUAL),
        max_body_size=MAX_BODY_BYTES,
        openapi_extra=_FOR_SERVICES,
    )
    async def write_summary(client_id: ClientId, doc_id: DocumentId, written: WrittenSummary) -> Response:
        """Write the summary of a version that waits for one; it is written once."""
        await queue.write(client_id, doc_id, written)
        return Response(status_code=204)

    return router


def _added(added: Added) -> Response:
    return _json(added.document, 200 if added.repeated else 201)


def _json(answer: BaseModel, status: int = 200) -> Response:
    """Return an answer as it is: FastAPI would validate it a second time."""
    return Response(answer.model_dump_json(), status, media_type="application/json")


def _actor(request: Request) -> str:
    """Return who asks, for the audit log."""
    actor = request.headers.get(ACTOR_HEADER) or ANONYMOUS
    if len(actor) > _MAX_ACTOR_CHARS:
        raise Problem(f"{ACTOR_HEADER} may have {_MAX_ACTOR_CHARS} characters.", status=422)
    return actor

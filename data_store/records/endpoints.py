"""HTTP of the records. Endpoints are plain functions: each runs in a thread that may wait for the database."""

from fastapi import APIRouter
from sqlalchemy import RowMapping

from data_store.body_limit import MAX_BODY_BYTES
from data_store.records.repository import DocumentRepository
from data_store.records.schemas import Document, NewDocument
from observability import ClientId, NotFound
from observability.fields import DocumentId


def records_router(documents: DocumentRepository) -> APIRouter:
    """Return the routes of the records, on this repository."""
    router = APIRouter(prefix="/clients/{client_id}/documents", tags=["documents"])

    @router.post("", status_code=201, response_model=Document, max_body_size=MAX_BODY_BYTES)
    def add_document(client_id: ClientId, document: NewDocument) -> RowMapping:
        """Store a document's record; a client appears with its first document."""
        return documents.add(client_id, document)

    @router.get("/{doc_id}", response_model=Document)
    def get_document(client_id: ClientId, doc_id: DocumentId) -> RowMapping:
        """Return a document's record."""
        row = documents.get(client_id, doc_id)
        if row is None:
            raise NotFound(f"Client {client_id} has no document {doc_id}.")
        return row

    return router

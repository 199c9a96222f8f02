"""What clients do with documents that are stored; each `with` is a span of the contract."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from access.audit import Action, audited
from document_api.documents.content import ContentResponse
from document_api.documents.record_client import RecordClient
from document_api.documents.schemas import (
    Document,
    DocumentList,
    FoundList,
    ListedDocuments,
    Recorded,
    SearchedDocuments,
    TagChange,
    Versions,
)
from document_api.documents.shelf import Content
from document_api.documents.storage import FileStorage
from document_api.documents.store_client import StoreClient
from document_api.identity.limits import TenantLimits, Work
from document_api.labels import BoundedLabel, media_type_label
from observability import Problem, Step, Telemetry, Unavailable
from observability.signals import Attribute, DocumentChange, Span

logger = logging.getLogger(__name__)

_LOST: Final = "The document's bytes are not there any more: restore them from a backup (docs/backup.md)."
_ACTIONS: Final = {
    DocumentChange.CHANGED: Action.DOCUMENT_CHANGE,
    DocumentChange.DELETED: Action.DOCUMENT_DELETE,
    DocumentChange.RESTORED: Action.DOCUMENT_RESTORE,
    DocumentChange.PURGED: Action.DOCUMENT_PURGE,
}


class Library:
    """Lists, searches, changes and removes documents of clients; raises Problem as RecordClient says."""

    def __init__(
        self,
        store: StoreClient,
        storage: FileStorage,
        telemetry: Telemetry,
        *,
        limits: TenantLimits,
        client_label: BoundedLabel,
    ) -> None:
        self._store = store
        self._records = RecordClient(store)
        self._storage = storage
        self._telemetry = telemetry
        self._limits = limits
        self._client_label = client_label

    async def list(self, client_id: str, which: ListedDocuments) -> DocumentList:
        """Return a page of a client's documents."""
        async with self._step(Span.LIST_DOCUMENTS, client_id) as step:
            page = await self._records.list(client_id, which)
            step.set(Attribute.DOCUMENT_COUNT, len(page.documents))
        return page

    async def search(self, client_id: str, which: SearchedDocuments) -> FoundList:
        """Return a page of the documents that have all words asked for, the best first."""
        async with self._step(Span.SEARCH_DOCUMENTS, client_id) as step:
            page = await self._records.search(client_id, which)
            step.set(Attribute.DOCUMENT_COUNT, len(page.found))
        return page

    async def versions(self, client_id: str, document_id: int) -> Versions:
        """Return what a document is and was."""
        async with self._step(Span.LIST_VERSIONS, client_id) as step:
            found = await self._records.versions(client_id, document_id)
            step.set(Attribute.DOCUMENT_ID, document_id)
            step.set(Attribute.DOCUMENT_COUNT, len(found.versions))
        return found

    async def content(self, client_id: str, document_id: int, version: int | None) -> ContentResponse:
        """Return the answer with a document's bytes, or a version's; raises Problem where they are not there any more (500), or now (503)."""
        async with self._step(Span.RETRIEVE_CONTENT, client_id) as step:
            recorded = await self._found(client_id, document_id, version)
            step.set(Attribute.DOCUMENT_ID, document_id)
            step.set(Attribute.FILE_SIZE, recorded.file_size)
            step.set(Attribute.STORAGE_BACKEND, self._storage.backend)
            found = await self._bytes_of(recorded)
            client = self._client_label.of(client_id)
            self._telemetry.metrics.documents_downloaded(
                1, client=client, file_type=media_type_label(recorded.file_type)
            )
            logger.info(
                "Document downloaded", extra={"context_data": audited(Action.DOCUMENT_READ, document_id)}
            )
        return ContentResponse(recorded, found)

    async def _bytes_of(self, recorded: Recorded) -> Content:
        try:
            found = await self._storage.find(recorded.storage_key)
        except FileNotFoundError as error:
            raise Problem(_LOST, status=500) from error
        except OSError as error:
            raise Unavailable("The document's bytes cannot be read at the moment; try again.") from error
        if found.size != recorded.file_size:
            raise Problem(_LOST, status=500)
        return found

    async def _found(self, client_id: str, document_id: int, version: int | None) -> Recorded:
        if version is None:
            return await self._store.find(client_id, document_id)
        return await self._records.version(client_id, document_id, version)

    async def change(self, client_id: str, document_id: int, change: TagChange) -> Document:
        """Set and take away a document's tags."""
        async with self._step(Span.CHANGE_DOCUMENT, client_id) as step:
            document = await self._records.change(client_id, document_id, change)
            self._report(step, client_id, document_id, DocumentChange.CHANGED)
        return document

    async def delete(self, client_id: str, document_id: int) -> None:
        """Delete a document, so that it can be restored for a time."""
        async with self._step(Span.DELETE_DOCUMENT, client_id) as step:
            await self._records.delete(client_id, document_id)
            self._report(step, client_id, document_id, DocumentChange.DELETED)

    async def restore(self, client_id: str, document_id: int) -> Document:
        """Bring a deleted document back."""
        async with self._step(Span.RESTORE_DOCUMENT, client_id) as step:
            document = await self._records.restore(client_id, document_id)
            self._report(step, client_id, document_id, DocumentChange.RESTORED)
        return document

    async def purge(self, client_id: str, document_id: int) -> None:
        """Do away with a deleted document for ever; its bytes go with the next sweep."""
        async with self._step(Span.PURGE_DOCUMENT, client_id) as step:
            await self._records.purge(client_id, document_id)
            self._report(step, client_id, document_id, DocumentChange.PURGED)

    @asynccontextmanager
    async def _step(self, name: Span, client_id: str) -> AsyncIterator[Step]:
        with self._telemetry.step(name, outcome=True) as step:
            async with self._limits.turn(client_id, Work.RECORD):
                yield step

    def _report(self, step: Step, client_id: str, document_id: int, change: DocumentChange) -> None:
        """Say what was done to a document that is there: any other number may be a card's."""
        step.set(Attribute.DOCUMENT_ID, document_id)
        self._telemetry.metrics.document_changes(1, client=self._client_label.of(client_id), change=change)
        logger.info(
            "Document %s", change.value, extra={"context_data": audited(_ACTIONS[change], document_id)}
        )

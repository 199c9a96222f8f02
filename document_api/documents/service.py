"""What happens to a document, step by step; each `with` is a span of the contract."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio.to_thread import run_sync

from access.audit import Action, audited
from document_api.documents.incoming import IncomingFile
from document_api.documents.multipart import MultipartFile, OneOfSeveral
from document_api.documents.sameness import Sameness
from document_api.documents.schemas import Document, NewDocument, Recorded, SummaryLater, When
from document_api.documents.storage import FileStorage
from document_api.documents.store_client import Created, OutcomeUnknown, OverALimit, StoreClient
from document_api.identity.limits import TenantLimits, Work
from document_api.labels import BoundedLabel, media_type_label
from document_api.scan import Scanner
from document_api.settings import DocumentApiSettings
from document_api.summaries import Summary, SummarySource, SummaryStatus
from document_api.summaries.writer import SummaryWriter
from document_api.text import ReadText
from document_api.text.reader import BEGINNING_BYTES, TextReader
from document_api.turns import LONGEST_WAIT_SECONDS
from observability import Problem, Telemetry, Unavailable, current_actor
from observability.propagation import traceparent
from observability.signals import Attribute, DocumentChange, Span

logger = logging.getLogger(__name__)

IncomingUpload = MultipartFile | OneOfSeveral


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An upload's document, and whether an earlier upload that is the same had made it."""

    document: Document
    repeated: bool


class DocumentService:
    """Uploads and retrieves documents of clients."""

    def __init__(
        self,
        storage: FileStorage,
        store: StoreClient,
        summaries: SummaryWriter,
        telemetry: Telemetry,
        settings: DocumentApiSettings,
        *,
        reader: TextReader,
        scanner: Scanner | None,
        limits: TenantLimits,
        client_label: BoundedLabel,
        summary_wanted: Callable[[], None],
    ) -> None:
        self._storage = storage
        self._store = store
        self._reader = reader
        self._scanner = scanner
        self._summaries = summaries
        self._telemetry = telemetry
        self._max_bytes = settings.max_upload_bytes
        self._deadline_seconds = settings.request_deadline_seconds
        # The model, if there is one, a turn, and the data store: no upload is late for its text.
        self._seconds_after_text = LONGEST_WAIT_SECONDS + settings.data_store_deadline_seconds
        if settings.llm_base_url is not None:
            self._seconds_after_text += settings.llm_timeout_seconds
        self._min_bytes_per_second = settings.min_upload_bytes_per_second
        self._limits = limits
        self._client_label = client_label
        self._summary_wanted = summary_wanted

    async def upload(
        self,
        client_id: str,
        upload: IncomingUpload,
        sameness: Sameness | None,
        *,
        version_of: int | None = None,
        summary: When = When.SYNC,
    ) -> Uploaded:
        """Keep the bytes, summarise the text, record the metadata; a refusal or failure leaves nothing behind.

        With When.ASYNC the text is summarised later, if it could be read. It is a new document, or a new version of one. An upload that is the same as an earlier one gives what that one has
        made; its bytes go, as those of a document that the client has stored already.

        Raises Problem: 400, 413, 415, 422 for what was sent, 404 where there is no document of which it could be a version,
        429 for too much of it, 502, 503 or 504 for the data store.
        """
        with self._telemetry.step(Span.UPLOAD_DOCUMENT, outcome=True) as step:
            self._store.refuse_if_open()
            async with self._storage.receive(client_id) as file, _ending(file) as deadline:
                text = await self._process_file(client_id, upload, file, deadline)
                new = _record(upload, file, text, await self._summary(text, summary), sameness)
                async with self._limits.turn(client_id, Work.RECORD):
                    created = await self._store_metadata(client_id, file, new, version_of)
            step.set(Attribute.DOCUMENT_ID, created.document.id)
            if created.document.summary_status is SummaryStatus.PENDING:
                self._summary_wanted()
            self._report(created, step.elapsed())
        return Uploaded(created.document, repeated=created.repeated)

    async def retrieve(self, client_id: str, document_id: int) -> Document:
        """Return a document of this client; raises NotFound, or Problem for the data store."""
        with self._telemetry.step(Span.RETRIEVE_DOCUMENT, outcome=True) as step:
            async with self._limits.turn(client_id, Work.RECORD):
                document = await self._store.find(client_id, document_id)
            step.set(Attribute.DOCUMENT_ID, document.id)  # one that is not there may be any number: a card's
            if current_actor() is not None:
                context = audited(Action.DOCUMENT_READ, document_id)
                logger.info("Document read", extra={"context_data": context})
        return document

    async def _process_file(
        self, client_id: str, upload: IncomingUpload, file: IncomingFile, deadline: asyncio.Timeout
    ) -> ReadText:
        """Bring the bytes to disk and return what they are and say; they come before the deadline runs."""
        with self._telemetry.step(Span.FILE_PROCESSING) as step:
            beginning = await self._read(upload, file)
            ends = asyncio.get_running_loop().time() + self._deadline_seconds
            deadline.reschedule(ends)
            if self._scanner is not None:  # first: a bucket may keep versions of what is put and removed
                await file.finish()
                await self._scanner.scan(file.path)
            async with self._limits.turn(client_id, Work.FILE):
                await self._save(file)
            text = await self._reader.read(
                *(beginning, file.path),
                claimed=upload.media_type,
                filename=upload.filename,
                until=ends - self._seconds_after_text,
            )
            step.set(Attribute.FILE_SIZE, file.size)
            step.set(Attribute.FILE_TYPE, media_type_label(text.media_type))
            step.set(Attribute.FILE_SHA256, file.sha256[:12])
            step.set(Attribute.SUMMARY_INPUT_CHARS, len(self._summaries.read_of(text.content)))
        return text

    async def _read(self, upload: IncomingUpload, file: IncomingFile) -> bytearray:
        """Take the document in, and return its beginning."""
        beginning = bytearray()
        with self._telemetry.step(Span.FILE_READ) as step:
            chunks = 0
            async for chunk in upload.chunks(self._max_bytes, self._min_bytes_per_second):
                await file.write(chunk)
                if (missing := BEGINNING_BYTES - len(beginning)) > 0:
                    beginning += chunk[:missing]
                chunks += 1
            step.set(Attribute.CONTENT_BYTES, file.size)
            step.set(Attribute.CONTENT_CHUNKS, chunks)
        return beginning

    async def _save(self, file: IncomingFile) -> None:
        with self._telemetry.step(Span.FILE_SAVE, {Attribute.STORAGE_BACKEND: self._storage.backend}) as step:
            await file.save()
            step.set(Attribute.STORAGE_BYTES, file.size)

    async def _summary(self, text: ReadText, when: When) -> Summary | SummaryLater:
        if when is When.ASYNC and text.reason is None:
            return SummaryLater(
                input_chars=len(self._summaries.read_of(text.content)), traceparent=traceparent()
            )
        summary = await self._summaries.write(text.content, text.reason)
        self._summaries.count(summary)
        return summary

    async def _store_metadata(
        self, client_id: str, file: IncomingFile, new: NewDocument, version_of: int | None
    ) -> Created:
        operation = "INSERT" if version_of is None else "UPDATE"
        with self._telemetry.step(Span.STORE_METADATA, {Attribute.DATABASE_OPERATION: operation}):
            # From here on the row may be there, whatever happens to this task: bytes without a row are harmless, a
            # row without bytes is a broken promise.
            file.keep()
            try:
                created = await self._store.create(client_id, new, version_of=version_of)
            except OutcomeUnknown:
                raise
            except Problem as error:
                if isinstance(error, OverALimit):
                    self._telemetry.metrics.tenant_limit_exceeded(
                        1, client=self._client_label.of(client_id), limit=error.limit
                    )
                file.drop()
                raise
            if created.document.storage_key == file.key:
                file.confirm()
            else:
                await self._give_way(file, created.document)
            return created

    async def _give_way(self, file: IncomingFile, document: Recorded) -> None:
        """Leave the bytes to those that the client has stored before; where these are lost, they take their place."""
        # What a repeated upload has made may have become another since.
        if document.sha256 == file.sha256 and await self._brought_back(document.storage_key, file):
            logger.warning(
                "Lost bytes of a document are there again",
                extra={"context_data": {"document_id": document.id}},
            )
        file.drop()

    async def _brought_back(self, key: str, file: IncomingFile) -> bool:
        """Put lost bytes where they were, and tell whether they are there again; raises OutcomeUnknown."""
        try:
            if not await self._storage.mend(key, file):
                return False
            if await self._store.known_storage_keys([key]):
                return True
            await run_sync(self._storage.remove, key)  # purged meanwhile: nobody else would remove them
        except (OSError, Problem) as error:
            raise OutcomeUnknown(
                "The document is recorded, but its bytes are lost or cannot be looked for: send it again to bring them back."
            ) from error
        return False

    def _report(self, created: Created, seconds: float) -> None:
        document = created.document
        file_type = media_type_label(document.file_type)
        if created.repeated:
            logger.info(
                "Upload repeated",
                extra={"context_data": {"document_id": document.id, "duration": round(seconds, 6)}},
            )
            return
        metrics = self._telemetry.metrics
        client = self._client_label.of(document.client_id)
        if document.version == 1:
            metrics.documents_uploaded(1, client=client, file_type=file_type)
        else:
            metrics.document_changes(1, client=client, change=DocumentChange.VERSION_ADDED)
        metrics.document_size(document.file_size, file_type=file_type)
        logger.info(
            "Document uploaded",
            extra={
                "context_data": {
                    **audited(
                        Action.DOCUMENT_CREATE if document.version == 1 else Action.DOCUMENT_ADD_VERSION,
                        document.id,
                    ),
                    "file_size": document.file_size,
                    "file_type": file_type,
                    "summary_source": document.summary_source,
                    "duration": round(seconds, 6),
                }
            },
        )


def _record(
    upload: IncomingUpload,
    file: IncomingFile,
    text: ReadText,
    summary: Summary | SummaryLater,
    sameness: Sameness | None,
) -> NewDocument:
    later = summary if isinstance(summary, SummaryLater) else None
    written = summary if isinstance(summary, Summary) else Summary(None, SummarySource.NONE)
    return NewDocument(
        filename=upload.filename,
        file_size=file.size,
        file_type=text.media_type,
        sha256=file.sha256,
        storage_key=file.key,
        summary=written.text,
        summary_source=written.source,
        summary_reason=written.reason,
        summary_later=later,
        # Always one: whoever gets no answer from the data store may ask it again.
        idempotency_digest=(sameness or Sameness.of_file(file.key)).digest,
        text=text.content,
    )


@asynccontextmanager
async def _ending(file: IncomingFile) -> AsyncIterator[asyncio.Timeout]:
    """Give the block up at a deadline that is set inside; raises Unavailable, or OutcomeUnknown once the record may be there."""
    try:
        async with asyncio.timeout(None) as deadline:
            yield deadline
    except TimeoutError as error:
        if file.kept:
            raise OutcomeUnknown(
                "The document was not recorded in time: look whether it was stored before you try again."
            ) from error
        raise Unavailable("The document could not be stored in time; try again.") from error

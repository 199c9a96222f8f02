"""The SQL of an upload and of a lookup. What is done is one statement; others only look why it did nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ARRAY, Text, bindparam, func, select

from access.audit import Action
from data_store.database import Database
from data_store.failures import failures_as_problems
from data_store.records.limits import Limits
from data_store.records.schemas import Document, NewDocument
from data_store.records.statements import ALL, AUDIT, TABLE, audit, audited, document_of, statement
from observability import Problem
from observability.database import Connection, Statement

# How the document API tells this refusal from that of a record that is no record.
IDEMPOTENCY_KEY_REUSED: Final = "idempotency_key_reused"
# The client's row is locked from here to the commit: of documents that come at once, each finds what those before it
# have left. A new client has no row whose limits could allow more than the service's.
_COUNT: Final = """
    INSERT INTO clients (id, stored_documents, stored_bytes)
    SELECT :of_client, 1, :new_file_size
    WHERE :most_documents >= 1 AND :most_bytes >= :new_file_size
        OR EXISTS (SELECT FROM clients WHERE id = :of_client)
    ON CONFLICT (id) DO UPDATE SET
        stored_documents = clients.stored_documents + 1,
        stored_bytes = clients.stored_bytes + excluded.stored_bytes
    WHERE clients.stored_documents < coalesce(clients.max_documents, :most_documents)
        AND clients.stored_bytes <= coalesce(clients.max_stored_bytes, :most_bytes) - excluded.stored_bytes
    RETURNING id
"""
# Where the same bytes of this client are, so that they are kept once. Looked for when the client's row is locked, and
# locked themselves: what a purge has taken meanwhile is not found (migrations/versions/0004).
SAME_BYTES: Final = """
    {name} AS (
        SELECT same.storage_key FROM client, LATERAL (
            SELECT storage_key FROM {table} WHERE client_id = client.id AND sha256 = :new_sha256 LIMIT 1 FOR KEY SHARE
        ) AS same
    )
"""
WHERE_SAME_BYTES: Final = f"{SAME_BYTES.format(name='same_now', table=TABLE)}, {SAME_BYTES.format(name='same_before', table='document_versions')}"
KEPT_AT: Final = (
    "coalesce((SELECT storage_key FROM same_now), (SELECT storage_key FROM same_before), :new_storage_key)"
)
_COPIED: Final = [
    "summary_status",
    *(name for name in NewDocument.model_fields if name not in {"storage_key", "text", "summary_later"}),
]
_INSERTED: Final = (
    f"INSERT INTO {TABLE} (client_id, storage_key, {', '.join(_COPIED)})"  # noqa: S608  names of columns
    f" SELECT id, {KEPT_AT}, {', '.join(f':new_{name}' for name in _COPIED)} FROM client"
    f" ON CONFLICT (client_id, idempotency_digest) DO NOTHING RETURNING {ALL}"
)
_TEXT: Final = """
    INSERT INTO document_texts (client_id, document_id, name, content)
    SELECT client_id, id, filename, :new_text FROM document
"""
_FOUND: Final = (
    f"SELECT {ALL} FROM {TABLE} WHERE client_id = :of_client AND id = :of_id AND deleted_at IS NULL"  # noqa: S608  names of columns
)

# To be put behind what makes a document of which the summary is still to be written.
LATER: Final = """
    , job AS (
        INSERT INTO summary_jobs (client_id, document_id, version, content, traceparent, correlation_id)
        SELECT client_id, id, version, left(:new_text, :input_chars), :traceparent, CAST(:in_request AS uuid) FROM document
    )
"""


def _insert(more: str = "") -> Statement:
    return statement(
        f"WITH client AS ({_COUNT}), {WHERE_SAME_BYTES}, document AS ({_INSERTED}), text AS ({_TEXT}), audit AS ({AUDIT})"  # noqa: S608
        f"{more} SELECT {ALL} FROM document",
        "INSERT",
    )


INSERT: Final = _insert()
_INSERT_LATER: Final = _insert(LATER)
SELECT: Final = statement(_FOUND, "SELECT")
AUDITED_SELECT: Final = audited(_FOUND, "SELECT", durable=False)
_SELECT_EARLIER: Final = statement(
    f"SELECT {ALL} FROM {TABLE} WHERE client_id = :of_client AND idempotency_digest = :new_idempotency_digest",  # noqa: S608
    "SELECT",
)
_KNOWN_KEYS: Final = Statement.of(
    select(func.known_storage_keys(bindparam("keys", type_=ARRAY(Text)))), about=("SELECT", TABLE)
)


@dataclass(frozen=True, slots=True)
class Added:
    """A document that is stored, and whether it had been before."""

    document: Document
    repeated: bool


class AddedBefore(Exception):  # noqa: N818  no error: the transaction that found it is undone, with all it has counted
    """The same upload has made its document already."""


class DocumentRepository:
    """The documents of all clients; every method takes the client whose they are, and who acts."""

    def __init__(self, database: Database, *, limits: Limits, audit_reads: bool) -> None:
        self._database = database
        self._limits = limits
        self._audit_reads = audit_reads

    async def add(self, client_id: str, document: NewDocument, *, actor: str) -> Added:
        """Store a document, and its client when this is its first; an upload that is repeated gives its first document.

        Bytes that the client has stored before are named in place of the new ones. Raises Problem: 409, 413 for a document
        that is beyond what the client may store, 422 for a repetition that is none.
        """
        sql = _INSERT_LATER if document.summary_later else INSERT
        values = new_values(document) | audit(actor, Action.DOCUMENT_CREATE)
        earlier = {"of_client": client_id, "new_idempotency_digest": values["new_idempotency_digest"]}

        def insert_document(connection: Connection) -> Document:
            rows = connection.execute(sql, {**self._limits.values(client_id), **values})
            if not rows:
                if connection.execute(_SELECT_EARLIER, earlier):
                    raise AddedBefore
                self._limits.refuse(connection, client_id, document.file_size, documents=1)
            return document_of(rows[0])

        def select_earlier(connection: Connection) -> Document:
            return document_of(connection.execute(_SELECT_EARLIER, earlier)[0])

        with failures_as_problems():
            try:
                return Added(await self._database.write(insert_document, tenant=client_id), repeated=False)
            except AddedBefore:
                # Not only read: the first may be on its way to the disk, and this waits until it is there.
                found = await self._database.write(select_earlier, tenant=client_id)
        check_same(found, document)
        return Added(found, repeated=True)

    async def known_storage_keys(self, keys: Sequence[str]) -> list[str]:
        """Return those of these names of bytes that a document of any client has."""

        def select_known(connection: Connection) -> list[str]:
            return [key for (key,) in connection.execute(_KNOWN_KEYS, {"keys": list(keys)})]

        with failures_as_problems():
            return await self._database.read(select_known, tenant=None)

    async def get(self, client_id: str, document_id: int, *, actor: str) -> Document | None:
        """Return a client's document, None when it is not there, deleted, or another client's."""
        sql = AUDITED_SELECT if self._audit_reads else SELECT
        values = {"of_client": client_id, "of_id": document_id, **audit(actor, Action.DOCUMENT_READ)}

        def select_document(connection: Connection) -> Document | None:
            rows = connection.execute(sql, values)
            return document_of(rows[0]) if rows else None

        with failures_as_problems():
            return await self._database.read(select_document, tenant=client_id)


def new_values(document: NewDocument) -> dict[str, Any]:
    """Return the values of a new document, as statements name them."""
    values = {f"new_{name}": value for name, value in document.model_dump(exclude={"summary_later"}).items()}
    digest, later = document.idempotency_digest, document.summary_later
    return {
        **values,
        "new_idempotency_digest": bytes.fromhex(digest) if digest is not None else None,
        "new_summary_status": "pending" if later else "complete",
        **(later.model_dump() if later else {}),
    }


def check_same(found: Document, repeated: NewDocument) -> None:
    """Raise a Problem unless what is repeated is what was sent the first time, as the Idempotency-Key draft says (2.6)."""
    same = ("sha256", "file_size", "filename", "file_type")
    # A document that has had new versions since is not what its first upload made of it.
    if found.version == 1 and any(getattr(found, name) != getattr(repeated, name) for name in same):
        raise Problem(
            "This Idempotency-Key was used for another document.", status=422, refused=IDEMPOTENCY_KEY_REUSED
        )

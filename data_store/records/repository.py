"""The SQL of the records. What is done is one statement, its line in the audit log included; others only look why it did nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from sqlalchemy import ARRAY, Text, bindparam, func, select, text

from access.audit import Action
from data_store.database import Database
from data_store.failures import failures_as_problems
from data_store.records.models import document_metadata
from data_store.records.schemas import Document, NewDocument
from data_store.settings import DataStoreSettings
from observability import Problem, current_correlation_id
from observability.database import Connection, Row, Statement
from observability.fields import INT64_MAX

# How the document API tells this refusal from that of a record that is no record.
IDEMPOTENCY_KEY_REUSED: Final = "idempotency_key_reused"
_TABLE: Final = document_metadata.name
_COLUMNS: Final = list(Document.model_fields)
_ALL: Final = ", ".join(_COLUMNS)
_NEW: Final = ", ".join(NewDocument.model_fields)
_NEW_VALUES: Final = ", ".join(f":new_{name}" for name in NewDocument.model_fields)
# Of every document that a statement gives.
_AUDIT: Final = """
    INSERT INTO audit_log (client_id, actor, action, document_id, correlation_id)
    SELECT client_id, :by_actor, :action, id, CAST(:in_request AS uuid) FROM document
"""
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
_INSERTED: Final = (
    f"INSERT INTO {_TABLE} (client_id, {_NEW}) SELECT id, {_NEW_VALUES} FROM client"  # noqa: S608  names of columns
    f" ON CONFLICT (client_id, idempotency_digest) DO NOTHING RETURNING {_ALL}"
)
_FOUND: Final = f"SELECT {_ALL} FROM {_TABLE} WHERE client_id = :of_client AND id = :of_id"  # noqa: S608  names of columns


def _statement(sql: str, operation: str, *, durable: bool = True) -> Statement:
    """Return a statement about documents, in one line."""
    return Statement.of(text(" ".join(sql.split())), about=(operation, _TABLE), durable=durable)


INSERT: Final = _statement(
    f"WITH client AS ({_COUNT}), document AS ({_INSERTED}), audit AS ({_AUDIT}) SELECT {_ALL} FROM document",  # noqa: S608
    "INSERT",
)
SELECT: Final = _statement(_FOUND, "SELECT")
AUDITED_SELECT: Final = _statement(
    f"WITH document AS ({_FOUND}), audit AS ({_AUDIT}) SELECT {_ALL} FROM document",  # noqa: S608
    "SELECT",
    durable=False,
)
_SELECT_EARLIER: Final = Statement.of(
    text(
        f"SELECT {_ALL} FROM {_TABLE} WHERE client_id = :of_client AND idempotency_digest = :new_idempotency_digest"  # noqa: S608
    ),
    about=("SELECT", _TABLE),
)
_KNOWN_KEYS: Final = Statement.of(
    select(func.known_storage_keys(bindparam("keys", type_=ARRAY(Text)))), about=("SELECT", _TABLE)
)
_SELECT_USAGE: Final = Statement.of(
    text(
        "SELECT stored_documents, coalesce(max_documents, :most_documents),"
        " stored_bytes, coalesce(max_stored_bytes, :most_bytes) FROM clients WHERE id = :of_client"
    )
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may store whose row sets no limit of its own."""

    documents: int = INT64_MAX
    stored_bytes: int = INT64_MAX

    @classmethod
    def of(cls, settings: DataStoreSettings) -> "Limits":
        """Return the limits that are configured."""
        return cls(
            *(
                INT64_MAX if limit is None else limit
                for limit in (settings.tenant_max_documents, settings.tenant_max_stored_bytes)
            )
        )


@dataclass(frozen=True, slots=True)
class Added:
    """A document that is stored, and whether it had been before."""

    document: Document
    repeated: bool


class _AddedBefore(Exception):  # noqa: N818  no error: the transaction that found it is undone, with all it has counted
    """The same upload has made its document already."""


class DocumentRepository:
    """The documents of all clients; every method takes the client whose they are, and who acts."""

    def __init__(self, database: Database, *, limits: Limits, audit_reads: bool) -> None:
        self._database = database
        self._limits = limits
        self._audit_reads = audit_reads

    async def add(self, client_id: str, document: NewDocument, *, actor: str) -> Added:
        """Store a document, and its client when this is its first; an upload that is repeated gives its first document.

        Raises Problem: 409, 413 for a document that is beyond what the client may store, 422 for a repetition that is none.
        """
        client: dict[str, Any] = {
            "of_client": client_id,
            "most_documents": self._limits.documents,
            "most_bytes": self._limits.stored_bytes,
        }
        values = {
            **{f"new_{name}": value for name, value in document.model_dump().items()},
            **_audit(actor, Action.DOCUMENT_CREATE),
        }
        earlier = {"of_client": client_id, "new_idempotency_digest": _digest(document)}
        values |= earlier

        def insert_document(connection: Connection) -> Document:
            rows = connection.execute(INSERT, {**client, **values})
            if not rows:
                if connection.execute(_SELECT_EARLIER, earlier):
                    raise _AddedBefore
                usage = connection.execute(_SELECT_USAGE, client)
                self._refuse(client_id, document.file_size, usage)
            return _document(rows[0])

        def select_earlier(connection: Connection) -> Document:
            return _document(connection.execute(_SELECT_EARLIER, earlier)[0])

        with failures_as_problems():
            try:
                return Added(await self._database.write(insert_document, tenant=client_id), repeated=False)
            except _AddedBefore:
                # Not only read: the first may be on its way to the disk, and this waits until it is there.
                found = await self._database.write(select_earlier, tenant=client_id)
        _check_same(found, document)
        return Added(found, repeated=True)

    async def known_storage_keys(self, keys: Sequence[str]) -> list[str]:
        """Return those of these names of bytes that a document of any client has."""

        def select_known(connection: Connection) -> list[str]:
            return [key for (key,) in connection.execute(_KNOWN_KEYS, {"keys": list(keys)})]

        with failures_as_problems():
            return await self._database.read(select_known, tenant=None)

    async def get(self, client_id: str, document_id: int, *, actor: str) -> Document | None:
        """Return a client's document, None when it is not there or another client's."""
        statement = AUDITED_SELECT if self._audit_reads else SELECT
        values = {"of_client": client_id, "of_id": document_id, **_audit(actor, Action.DOCUMENT_READ)}

        def select_document(connection: Connection) -> Document | None:
            rows = connection.execute(statement, values)
            return _document(rows[0]) if rows else None

        with failures_as_problems():
            return await self._database.read(select_document, tenant=client_id)

    def _refuse(self, client_id: str, file_size: int, usage: list[Row]) -> NoReturn:
        """Raise the Problem that says with its numbers what a client has reached; there is no row of a new client."""
        documents, max_documents, stored, max_stored = (
            usage[0] if usage else (0, self._limits.documents, 0, self._limits.stored_bytes)
        )
        if documents >= max_documents:
            raise Problem(
                f"Client {client_id} stores {documents} documents and may store {max_documents}.",
                status=409,
                limit=max_documents,
                used=documents,
                requested=1,
            )
        raise Problem(
            f"Client {client_id} stores {stored} bytes and may store {max_stored}; this document has {file_size}.",
            status=413,
            limit=max_stored,
            used=stored,
            requested=file_size,
        )


def _audit(actor: str, action: Action) -> dict[str, str | None]:
    return {"by_actor": actor, "action": action.value, "in_request": current_correlation_id()}


def _digest(document: NewDocument) -> bytes | None:
    return bytes.fromhex(document.idempotency_digest) if document.idempotency_digest is not None else None


def _check_same(found: Document, repeated: NewDocument) -> None:
    """Raise a Problem unless what is repeated is what was sent the first time, as the Idempotency-Key draft says (2.6)."""
    same = ("sha256", "file_size", "filename", "file_type")
    if any(getattr(found, name) != getattr(repeated, name) for name in same):
        raise Problem(
            "This Idempotency-Key was used for another document.", status=422, refused=IDEMPOTENCY_KEY_REUSED
        )


def _document(row: Row) -> Document:
    return Document.model_validate(dict(zip(_COLUMNS, row, strict=True)))

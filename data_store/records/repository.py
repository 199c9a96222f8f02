"""The SQL of the records. Each method is one statement on one connection, its line in the audit log included."""

from dataclasses import dataclass
from typing import Any, Final, NoReturn

from sqlalchemy import text

from access.audit import Action
from data_store.database import Database
from data_store.failures import failures_as_problems
from data_store.records.models import document_metadata
from data_store.records.schemas import Document, NewDocument
from data_store.settings import DataStoreSettings
from observability import Problem, current_correlation_id
from observability.database import Connection, Row, Statement
from observability.fields import INT64_MAX

_TABLE: Final = document_metadata.name
_COLUMNS: Final = [column.name for column in document_metadata.columns]
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
    f"INSERT INTO {_TABLE} (client_id, {_NEW}) SELECT id, {_NEW_VALUES} FROM client RETURNING {_ALL}"  # noqa: S608  names of columns
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


class DocumentRepository:
    """The documents of all clients; every method takes the client whose they are, and who acts."""

    def __init__(self, database: Database, *, limits: Limits, audit_reads: bool) -> None:
        self._database = database
        self._limits = limits
        self._audit_reads = audit_reads

    async def add(self, client_id: str, document: NewDocument, *, actor: str) -> Document:
        """Store a document, and its client when this is its first; return what is stored.

        Raises Problem (409, 413) for a document that is beyond what the client may store.
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

        def insert_document(connection: Connection) -> Document:
            rows = connection.execute(INSERT, {**client, **values})
            if not rows:
                usage = connection.execute(_SELECT_USAGE, client)
                self._refuse(client_id, document.file_size, usage)
            return _document(rows[0])

        with failures_as_problems():
            return await self._database.write(insert_document, tenant=client_id)

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


def _document(row: Row) -> Document:
    return Document.model_validate(dict(zip(_COLUMNS, row, strict=True)))

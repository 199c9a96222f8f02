"""The SQL of the records. Each method is one statement on one connection."""

from typing import Final

from sqlalchemy import bindparam, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore

from data_store.database import Database
from data_store.failures import failures_as_problems
from data_store.records.models import clients, document_metadata
from data_store.records.schemas import Document, NewDocument
from observability.database import Connection, Row, Statement

_CLIENT: Final = (
    insert_or_ignore(clients).values(id=bindparam("of_client")).on_conflict_do_nothing().cte("client")
)
_INSERT_DOCUMENT: Final = (
    insert(document_metadata)
    .values(
        client_id=bindparam("of_client"),
        **{name: bindparam(f"new_{name}") for name in NewDocument.model_fields},
    )
    .returning(*document_metadata.columns)
    .add_cte(_CLIENT)
)
_INSERT: Final = Statement.of(_INSERT_DOCUMENT)
_SELECT: Final = Statement.of(
    select(document_metadata).where(
        document_metadata.c.client_id == bindparam("of_client"), document_metadata.c.id == bindparam("of_id")
    )
)
_COLUMNS: Final = [column.name for column in document_metadata.columns]


class DocumentRepository:
    """The documents of all clients; every method takes the client whose they are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, client_id: str, document: NewDocument) -> Document:
        """Store a document, and its client when this is its first; return what is stored."""
        values = {f"new_{name}": value for name, value in document.model_dump().items()}

        def insert_document(connection: Connection) -> Document:
            (row,) = connection.execute(_INSERT, {"of_client": client_id, **values})
            return _document(row)

        with failures_as_problems():
            return await self._database.write(insert_document, tenant=client_id)

    async def get(self, client_id: str, document_id: int) -> Document | None:
        """Return a client's document, None when it is not there or another client's."""

        def select_document(connection: Connection) -> Document | None:
            rows = connection.execute(_SELECT, {"of_client": client_id, "of_id": document_id})
            return _document(rows[0]) if rows else None

        with failures_as_problems():
            return await self._database.read(select_document, tenant=client_id)


def _document(row: Row) -> Document:
    return Document.model_validate(dict(zip(_COLUMNS, row, strict=True)))

"""The SQL of the records. Each method is one statement on one connection."""

from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, insert, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore

from data_store.database import Database
from data_store.failures import failures_as_problems
from data_store.records.models import clients, document_metadata
from data_store.records.schemas import Document, NewDocument

# Built once: building a statement costs more than running it through SQLAlchemy's cache.
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
# SQLAlchemy's cache takes no ON CONFLICT: as text, the statement is compiled once and not for each document.
_NAMED: Final = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
_INSERT: Final = text(str(_INSERT_DOCUMENT.compile(dialect=_NAMED)))
_SELECT: Final = select(document_metadata).where(
    document_metadata.c.client_id == bindparam("of_client"), document_metadata.c.id == bindparam("of_id")
)


class DocumentRepository:
    """The documents of all clients; every method takes the client whose they are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, client_id: str, document: NewDocument) -> Document:
        """Store a document, and its client when this is its first; return what is stored."""
        values = {f"new_{name}": value for name, value in document.model_dump().items()}

        def insert_document(connection: Connection) -> Document:
            return _document(connection.execute(_INSERT, {"of_client": client_id, **values}).one())

        with failures_as_problems():
            return await self._database.write(insert_document)

    async def get(self, client_id: str, document_id: int) -> Document | None:
        """Return a client's document, None when it is not there or another client's."""

        def select_document(connection: Connection) -> Document | None:
            row = connection.execute(_SELECT, {"of_client": client_id, "of_id": document_id}).one_or_none()
            return None if row is None else _document(row)

        with failures_as_problems():
            return await self._database.read(select_document)


def _document(row: Row[Any]) -> Document:
    return Document.model_validate(row._asdict())

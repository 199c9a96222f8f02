"""The SQL of the records. Each method is one statement on one connection."""

from typing import Final

from sqlalchemy import RowMapping, bindparam, insert, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore

from data_store.failures import failures_as_problems
from data_store.records.models import clients, document_metadata
from data_store.records.schemas import NewDocument
from observability.database import DatabaseTelemetry

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

    def __init__(self, database: DatabaseTelemetry) -> None:
        self._database = database

    def add(self, client_id: str, document: NewDocument) -> RowMapping:
        """Store a document, and its client when this is its first; return the stored row."""
        values = {f"new_{name}": value for name, value in document.model_dump().items()}
        with failures_as_problems(), self._database.begin() as connection:
            result = connection.execute(_INSERT, {"of_client": client_id, **values})
            return result.mappings().one()

    def get(self, client_id: str, document_id: int) -> RowMapping | None:
        """Return a client's document, None when it is not there or another client's."""
        with failures_as_problems(), self._database.connect() as connection:
            result = connection.execute(_SELECT, {"of_client": client_id, "of_id": document_id})
            return result.mappings().one_or_none()

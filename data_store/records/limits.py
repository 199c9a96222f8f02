"""What a client may store: counted with every document, in its own row."""

from dataclasses import dataclass
from typing import Any, Final, NoReturn

from sqlalchemy import text

from data_store.settings import DataStoreSettings
from observability import Problem
from observability.database import Connection, Statement
from observability.fields import INT64_MAX

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

    def values(self, client_id: str) -> dict[str, Any]:
        """Return what a statement needs that counts."""
        return {"of_client": client_id, "most_documents": self.documents, "most_bytes": self.stored_bytes}

    def refuse(self, connection: Connection, client_id: str, file_size: int, *, documents: int) -> NoReturn:
        """Raise the Problem that says with its numbers what a client has reached; there is no row of a new client."""
        usage = connection.execute(_SELECT_USAGE, self.values(client_id))
        stored_documents, max_documents, stored, max_stored = (
            usage[0] if usage else (0, self.documents, 0, self.stored_bytes)
        )
        if documents and stored_documents >= max_documents:
            raise Problem(
                f"Client {client_id} stores {stored_documents} documents and may store {max_documents}.",
                status=409,
                limit=max_documents,
                used=stored_documents,
                requested=documents,
            )
        raise Problem(
            f"Client {client_id} stores {stored} bytes and may store {max_stored}; this document has {file_size}.",
            status=413,
            limit=max_stored,
            used=stored,
            requested=file_size,
        )

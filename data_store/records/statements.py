"""What all statements about documents have in common: their columns, their line in the audit log, how a row is read."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text

from access.audit import Action
from data_store.records.models import document_metadata
from data_store.records.schemas import Document
from observability import current_correlation_id
from observability.database import Row, Statement

TABLE: Final = document_metadata.name
COLUMNS: Final[Sequence[str]] = list(Document.model_fields)
ALL: Final = ", ".join(COLUMNS)
# Of every document that a statement gives.
AUDIT: Final = """
    INSERT INTO audit_log (client_id, actor, action, document_id, correlation_id)
    SELECT client_id, :by_actor, :action, id, CAST(:in_request AS uuid) FROM document
"""


def statement(sql: str, operation: str, *, table: str = TABLE, durable: bool = True) -> Statement:
    """Return a statement about documents, in one line."""
    return Statement.of(text(" ".join(sql.split())), about=(operation, table), durable=durable)


def audited(sql: str, operation: str, *, durable: bool = True) -> Statement:
    """Return a statement that gives documents, each with its line in the audit log."""
    return statement(
        f"WITH document AS ({sql}), audit AS ({AUDIT}) SELECT {ALL} FROM document",  # noqa: S608  names of columns
        operation,
        durable=durable,
    )


def audit(actor: str, action: Action) -> dict[str, Any]:
    """Return the values of the line in the audit log."""
    return {"by_actor": actor, "action": action.value, "in_request": current_correlation_id()}


def document_of(row: Row) -> Document:
    """Return the document of a row that has its columns first."""
    return Document.model_validate(dict(zip(COLUMNS, row, strict=False)))

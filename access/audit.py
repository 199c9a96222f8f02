"""What the audit log says of a document, in the table and in log records."""

from enum import StrEnum
from typing import Final

from observability import current_actor

# Who did it where nobody is asked (AUTH_MODE=open).
ANONYMOUS: Final = "anonymous"


class Action(StrEnum):
    """What somebody did to a document."""

    DOCUMENT_CREATE = "document.create"
    DOCUMENT_READ = "document.read"
    DOCUMENT_ADD_VERSION = "document.add_version"
    DOCUMENT_CHANGE = "document.change"
    DOCUMENT_DELETE = "document.delete"
    DOCUMENT_RESTORE = "document.restore"
    DOCUMENT_PURGE = "document.purge"


def audited(action: Action, document_id: int) -> dict[str, object]:
    """Return what a log record says of who did what, as the audit log does."""
    return {"action": action.value, "actor": current_actor() or ANONYMOUS, "document_id": document_id}

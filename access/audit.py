"""What the audit log says of a document, in the table and in log records."""

from enum import StrEnum
from typing import Final

# Who did it where nobody is asked (AUTH_MODE=open).
ANONYMOUS: Final = "anonymous"


class Action(StrEnum):
    """What somebody did to a document."""

    DOCUMENT_CREATE = "document.create"
    DOCUMENT_READ = "document.read"

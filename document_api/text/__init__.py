"""What documents are, and what they say."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

# Of a document's text, as much as can be searched for.
MAX_CHARS: Final = 100_000


class Unreadable(StrEnum):
    """Why a document has no text, and so no summary."""

    NOT_TEXT = "not_text"
    NO_WORDS = "no_words"
    MALFORMED = "malformed"  # not what it begins as
    ENCRYPTED = "encrypted"
    TOO_COMPLEX = "too_complex"  # takes more memory, or is nested more deeply, than is granted
    EXTRACTION_TIMEOUT = "extraction_timeout"
    EXTRACTION_BUSY = "extraction_busy"  # too many others wait to be read
    EXTRACTION_FAILED = "extraction_failed"  # the process that read it has ended


@dataclass(frozen=True, slots=True)
class ReadText:
    """What a document is, and the beginning of its text, at most MAX_CHARS of it, or why there is none."""

    content: str
    reason: Unreadable | None = None
    media_type: str = "text/plain"


def has_words(text: str) -> bool:
    """Tell whether there is anything to be said about a text."""
    return any(map(str.isalnum, text))

"""The text of a document, where it is text."""

import codecs
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from anyio.to_thread import run_sync

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Unreadable(StrEnum):
    """Why a document has no summary."""

    NOT_TEXT = "not_text"
    NO_WORDS = "no_words"


@dataclass(frozen=True, slots=True)
class ReadText:
    """The beginning of a document as text, or why it is none."""

    content: str
    reason: Unreadable | None = None


async def read_text(path: Path, limit_bytes: int) -> ReadText:
    """Read at most `limit_bytes` of a file as text: UTF-8, or UTF-16 with a byte order mark; raises OSError."""
    return await run_sync(_read, path, limit_bytes)


def decode(data: bytes) -> ReadText:
    """Return bytes as text; a character that is cut off at the end is dropped."""
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        content = codecs.getincrementaldecoder(encoding)().decode(data, final=False)
    except UnicodeDecodeError:
        return ReadText("", Unreadable.NOT_TEXT)
    if "\x00" in content:
        return ReadText("", Unreadable.NOT_TEXT)
    if not any(character.isalnum() for character in content):
        return ReadText("", Unreadable.NO_WORDS)
    return ReadText(content)


def _read(path: Path, limit_bytes: int) -> ReadText:
    with path.open("rb") as file:
        return decode(file.read(limit_bytes))

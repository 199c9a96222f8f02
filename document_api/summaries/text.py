"""The text of a document, where it is text."""

import codecs
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

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


def decode(data: bytes | bytearray) -> ReadText:
    """Return bytes as text: UTF-8, or UTF-16 with a byte order mark; a character cut off at the end is dropped."""
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        content = codecs.getincrementaldecoder(encoding)().decode(data, final=False)
    except UnicodeDecodeError:
        return ReadText("", Unreadable.NOT_TEXT)
    if "\x00" in content:
        return ReadText("", Unreadable.NOT_TEXT)
    if not any(map(str.isalnum, content)):
        return ReadText("", Unreadable.NO_WORDS)
    return ReadText(content)

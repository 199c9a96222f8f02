"""Text out of bytes that are text."""

import codecs
from typing import Final

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decoded(data: bytes | bytearray) -> str | None:
    """Return bytes as text: UTF-8, or UTF-16 with a byte order mark; None where they are none.

    A character cut off at the end is dropped.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        content = codecs.getincrementaldecoder(encoding)().decode(data, final=False)
    except UnicodeDecodeError:
        return None
    return None if "\x00" in content else content

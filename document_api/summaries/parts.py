"""Parts of a long text, each short enough to be read at once."""

from typing import Final

# Where a text is cut, the best place first.
_BOUNDARIES: Final = ("\n\n", "\n", ". ", "! ", "? ", "。", " ")


def parts_of(text: str, most_bytes: int, most_parts: int) -> list[str]:
    """Return a text in so many parts of so many bytes of UTF-8 at most, cut between paragraphs, sentences or words.

    What is longer than all of them is left out at its end.
    """
    rest = text.encode(errors="replace")
    parts: list[str] = []
    while rest and len(parts) < most_parts:
        part = _beginning(rest, most_bytes)
        parts.append(part)
        rest = rest[len(part.encode()) :]
    return parts


def _beginning(data: bytes, most_bytes: int) -> str:
    """Return as much as fits, up to the best boundary of its second half."""
    beginning = data[:most_bytes].decode(errors="ignore")  # a character cut off is left to the next part
    if len(data) <= most_bytes:
        return beginning
    half = len(beginning) // 2
    for boundary in _BOUNDARIES:
        if (found := beginning.rfind(boundary, half)) >= 0:
            return beginning[: found + len(boundary)]
    return beginning

"""What a document is: what its content says for certain, else what its client says, unless the content contradicts (docs/adr/0025).

Own code, for libraries that look at content know files by their first bytes, and text by its name: none says whether a
client's word is contradicted.
"""

import mimetypes
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

PLAIN: Final = "text/plain"
HTML: Final = "text/html"
JSON: Final = "application/json"
PDF: Final = "application/pdf"
ZIP: Final = "application/zip"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
UNKNOWN: Final = "application/octet-stream"
_DOC: Final = "application/msword"
_OLE: Final = "application/x-ole-storage"

# From the MIME Sniffing Standard, and for OLE from [MS-CFB].
_SIGNATURES: Final = (
    (b"%PDF-", PDF),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),  # an empty one
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OLE),
)
_MARKS: Final = tuple(mark for mark, _ in _SIGNATURES)
# Junk before a PDF's first bytes is common, and readers accept so much of it.
_PDF_WITHIN: Final = 1024
_HTML: Final = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<!--.{0,2000}?-->\s*)?<(!doctype\s+html|html)[\s>]", re.IGNORECASE | re.DOTALL
)
_BEGINNING_BYTES: Final = 4096
# Files of these types begin with their signature; the types that are a container of their own kind say more than that one's.
_SIGNED: Final = frozenset({found for _, found in _SIGNATURES} | {DOCX, _DOC})
_KINDS_OF: Final = {ZIP: DOCX, _OLE: _DOC}
_TEXTS: Final = frozenset({JSON, "application/xml"})
_NEVER_TEXT: Final = ("audio/", "font/", "image/", "video/")


class Form(Enum):
    """How a document is read."""

    NONE = auto()
    TEXT = auto()
    HTML = auto()
    JSON = auto()
    PDF = auto()
    ZIP = auto()  # a DOCX, or not: only its list of parts tells


@dataclass(frozen=True, slots=True)
class Kind:
    """What a document is, and how it is read."""

    media_type: str
    form: Form


_FORMS: Final = {HTML: Form.HTML, JSON: Form.JSON}


def kind_of(data: bytes | bytearray, *, is_text: bool, claimed: str, filename: str) -> Kind:
    """Return what a document is by its first bytes, by whether they are text, and by what its client says."""
    if claimed == UNKNOWN:  # said by clients who do not know either
        claimed = mimetypes.guess_type(filename)[0] or UNKNOWN
    found = _signed(data, claimed)
    if found in _KINDS_OF:
        return Kind(_of_container(found, claimed), Form.ZIP if found == ZIP else Form.NONE)
    if found is not None:
        return Kind(found, Form.PDF if found == PDF else Form.NONE)
    if _HTML.match(data[:_BEGINNING_BYTES]) and not claimed.endswith("+xml"):
        return Kind(HTML, Form.HTML)  # perhaps in another encoding, which it names
    if is_text:
        media_type = PLAIN if _contradicts_text(claimed) else claimed
        return Kind(media_type, _FORMS.get(media_type, Form.TEXT))
    return Kind(UNKNOWN if claimed in _SIGNED or _says_text(claimed) else claimed, Form.NONE)


def of_zip(*, is_docx: bool, claimed: str) -> str:
    """Return what a ZIP file is, once its list of parts is known."""
    if is_docx:
        return DOCX
    return ZIP if claimed == DOCX else claimed


def _signed(data: bytes | bytearray, claimed: str) -> str | None:
    """Return the type whose signature the first bytes are."""
    if data.startswith(_MARKS):
        return next(found for mark, found in _SIGNATURES if data.startswith(mark))
    return PDF if claimed == PDF and data.find(b"%PDF-", 0, _PDF_WITHIN) >= 0 else None


def _of_container(found: str, claimed: str) -> str:
    """Return what a container is: many a type is one, and its client may know which."""
    if claimed == _KINDS_OF[found]:
        return claimed
    contradicted = claimed in _SIGNED or _says_text(claimed) or not claimed.startswith("application/")
    return found if contradicted or claimed == UNKNOWN else claimed


def _says_text(claimed: str) -> bool:
    return claimed.startswith("text/") or claimed in _TEXTS


def _contradicts_text(claimed: str) -> bool:
    """Tell whether a file of this type would not be text."""
    if claimed.endswith("+xml"):
        return False
    return claimed == UNKNOWN or claimed in _SIGNED or claimed.startswith(_NEVER_TEXT)

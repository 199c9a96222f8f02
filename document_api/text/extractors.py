"""Text out of files that are more than text; used in a process of its own (document_api/text/worker.py)."""

import json
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import docx
from docx.oxml.ns import qn
from docx.text.paragraph import Paragraph
from lxml import etree
from pypdf import PdfReader
from pypdf.errors import FileNotDecryptedError, LimitReachedError

from document_api.text import MAX_CHARS, ReadText, Unreadable, has_words
from document_api.text.decoding import decoded
from document_api.text.media_types import Form, of_zip

# Of HTML, as much as is read: what the text lies in may be many times the text.
_MAX_HTML_BYTES: Final = 8 * 1024 * 1024
# What the parts of a DOCX may be unpacked: XML packs a thousandfold.
_MAX_UNPACKED_BYTES: Final = 128 * 1024 * 1024
_DOCX_PART: Final = "word/document.xml"
_HIDDEN: Final = frozenset({"script", "style", "template", "noscript"})
_BLOCKS: Final = frozenset(
    {
        *("address", "article", "aside", "blockquote", "br", "caption", "dd", "details", "dialog", "div"),
        *("dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3"),
        *("h4", "h5", "h6", "head", "header", "hr", "legend", "li", "main", "nav"),
        *("ol", "option", "p", "pre", "section", "summary", "table", "td", "th", "title"),
        *("tr", "ul"),
    }
)


class TooComplexError(Exception):
    """Reading a file takes more than is granted."""


def extract(path: Path, form: Form, media_type: str, seconds: float) -> ReadText:
    """Return the text of a file, as far as it can be read in such a time; never fails for the file."""
    pieces: list[str] = []
    reason = Unreadable.NO_WORDS
    try:
        with path.open("rb") as file:
            if form is Form.ZIP:
                is_docx = _is_docx(file)
                media_type = of_zip(is_docx=is_docx, claimed=media_type)
                if not is_docx:
                    return ReadText("", Unreadable.NOT_TEXT, media_type)
            _gather(_PIECES[form](file), pieces, until=time.monotonic() + seconds)
    except Exception as error:  # noqa: BLE001  libraries raise whatever a broken file makes them stumble over
        reason = _reason_of(error)
    text = _storable("".join(pieces))[:MAX_CHARS]
    if has_words(text):  # also of what was read before it broke
        return ReadText(text, None, media_type)
    return ReadText("", reason, media_type)


def _gather(found: Iterator[str], pieces: list[str], *, until: float) -> None:
    chars = 0
    for piece in found:
        pieces.append(piece)
        chars += len(piece)
        if chars >= MAX_CHARS or time.monotonic() > until:
            return


def _of_pdf(file: BinaryIO) -> Iterator[str]:
    for page in PdfReader(file).pages:
        yield page.extract_text()
        yield "\n\n"


def _is_docx(file: BinaryIO) -> bool:
    """Tell whether a ZIP file is a DOCX; raises TooComplexError where its parts are too much."""
    with zipfile.ZipFile(file) as parts:
        if _DOCX_PART not in parts.NameToInfo:
            return False
        if sum(part.file_size for part in parts.filelist) > _MAX_UNPACKED_BYTES:
            raise TooComplexError
    return True


def _of_docx(file: BinaryIO) -> Iterator[str]:
    """Yield the paragraphs of a document, wherever they stand: in tables, text boxes and controls as well."""
    document = docx.Document(file)
    for paragraph in document.element.body.iter(qn("w:p")):
        yield Paragraph(paragraph, document).text
        yield "\n"


def _of_html(file: BinaryIO) -> Iterator[str]:
    """Yield what a page shows, a line for each block."""
    data = file.read(_MAX_HTML_BYTES)
    # Without a word of its own libxml2 takes it for Latin-1.
    encoding = None if decoded(data) is None else "utf-8"
    parser = etree.HTMLParser(encoding=encoding, remove_comments=True, remove_pis=True)
    walk = etree.iterwalk(etree.fromstring(data, parser), events=("start", "end"))
    for event, element in walk:
        if element.tag in _BLOCKS:
            yield "\n"
        if event == "end":
            yield _in_line(element.tail)
        elif element.tag in _HIDDEN:
            walk.skip_subtree()
        else:
            yield _in_line(element.text)


def _in_line(text: str | None) -> str:
    """Return text as a page shows it: line breaks of its source are none."""
    return " ".join(text.split("\n")) if text else ""


def _of_json(file: BinaryIO) -> Iterator[str]:
    yield from _told(json.load(file), "")


def _told(value: Any, name: str) -> Iterator[str]:
    """Yield a line for each value, with its name."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _told(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from _told(each, name)
    elif value is not None:
        yield f"{name}: {value}\n" if name else f"{value}\n"


_PIECES: Final[Mapping[Form, Callable[[BinaryIO], Iterator[str]]]] = {
    Form.PDF: _of_pdf,
    Form.ZIP: _of_docx,
    Form.HTML: _of_html,
    Form.JSON: _of_json,
}


def _reason_of(error: Exception) -> Unreadable:
    if isinstance(error, FileNotDecryptedError):
        return Unreadable.ENCRYPTED
    if isinstance(error, TooComplexError | MemoryError | RecursionError | LimitReachedError):
        return Unreadable.TOO_COMPLEX
    if isinstance(error, etree.XMLSyntaxError) and error.code == etree.ErrorTypes.ERR_NO_MEMORY:
        return Unreadable.TOO_COMPLEX
    return Unreadable.MALFORMED


def _storable(text: str) -> str:
    """Return a text without what PostgreSQL and UTF-8 cannot hold: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode()

"""What is read of each format, and what is said of a file that is broken."""

import json
from pathlib import Path
from typing import Final

import pytest

from document_api.text import MAX_CHARS, ReadText
from document_api.text.extractors import extract
from document_api.text.media_types import DOCX, HTML, JSON, PDF, ZIP, Form
from tests.files import WORDS, archive, docx_of, encrypted_pdf, pdf, pdf_of

FORMS: Final = {PDF: Form.PDF, DOCX: Form.ZIP, ZIP: Form.ZIP, HTML: Form.HTML, JSON: Form.JSON}


def read(folder: Path, data: bytes, media_type: str, seconds: float = 60) -> ReadText:
    """Return what is read of a file."""
    path = folder / "file"
    path.write_bytes(data)
    return extract(path, FORMS[media_type], media_type, seconds)


def lines(text: ReadText) -> list[str]:
    """Return the lines of a text that have something."""
    return [line.strip() for line in text.content.splitlines() if line.strip()]


PAGE: Final = """<!doctype html><html><head><title>Title</title><style>p {color: red}</style></head><body><!-- hidden -->
<h1>Heading</h1><p>One <b>bold</b>word,
and more</p><script>var x = 1;</script><ul><li>Zoë<li>中文</ul>after<br>break</body></html>"""
GOOD: Final[dict[str, tuple[bytes, str, list[str]]]] = {
    "pdf": (pdf("First page", "Second page"), PDF, ["First page", "Second page"]),
    "docx": (docx_of("One", "Zoë", cell="In a table"), DOCX, ["One", "Zoë", "In a table"]),
    "html": (
        PAGE.encode(),
        HTML,
        ["Title", "Heading", "One boldword, and more", "Zoë", "中文", "after", "break"],
    ),
    "html in another encoding": (
        '<meta charset="iso-8859-1"><p>café au lait'.encode("latin-1"),
        HTML,
        ["café au lait"],
    ),
    "part of a page": (b"just <i>words</i>", HTML, ["just words"]),
    "json": (
        b'{"title": "A", "tags": ["b", "c"], "in": {"price": 1.5, "none": null, "sold": true}}',
        JSON,
        ["title: A", "tags: b", "tags: c", "price: 1.5", "sold: True"],
    ),
}


@pytest.mark.parametrize(("data", "media_type", "text"), GOOD.values(), ids=list(GOOD))
def test_the_text_of_a_file_is_read(tmp_path: Path, data: bytes, media_type: str, text: list[str]) -> None:
    """What a reader would see of it, and nothing of what he would not."""
    found = read(tmp_path, data, media_type)
    assert (lines(found), found.reason, found.media_type) == (text, None, media_type)


BROKEN: Final[dict[str, tuple[bytes, str, str, str]]] = {
    "cut off PDF": (pdf("x")[:60], PDF, "malformed", PDF),
    "PDF of nothing": (b"%PDF-1.7\n", PDF, "malformed", PDF),
    "PDF with a password": (encrypted_pdf("x"), PDF, "encrypted", PDF),
    "PDF of a picture": (pdf_of(b""), PDF, "no_words", PDF),
    "cut off DOCX": (docx_of("x")[:-100], DOCX, "malformed", DOCX),
    "DOCX with a broken part": (
        archive(**{"word/document.xml": b"<w:document", "[Content_Types].xml": b"<"}),
        *(DOCX, "malformed", DOCX),
    ),
    "DOCX without a word": (docx_of(""), DOCX, "no_words", DOCX),
    "ZIP of something else": (archive(a=b"words"), ZIP, "not_text", ZIP),
    "ZIP that is said to be a DOCX": (archive(a=b"words"), DOCX, "not_text", ZIP),
    "broken JSON": (b'{"a": ', JSON, "malformed", JSON),
    "deep JSON": (b"[" * 200_000 + b"]" * 200_000, JSON, "too_complex", JSON),
    "JSON of nothing": (b"[null]", JSON, "no_words", JSON),
    "empty page": (b"<html><body><script>x</script>", HTML, "no_words", HTML),
}


@pytest.mark.parametrize(("data", "media_type", "reason", "found"), BROKEN.values(), ids=list(BROKEN))
def test_what_cannot_be_read_says_why(
    tmp_path: Path, data: bytes, media_type: str, reason: str, found: str
) -> None:
    """An upload never fails for it."""
    assert read(tmp_path, data, media_type) == ReadText("", reason, found)  # type: ignore[arg-type]


def test_a_page_that_is_nested_deeply_is_read_or_says_why_not(tmp_path: Path) -> None:
    """libxml2 has a depth at which it stops: what comes before is there."""
    found = read(tmp_path, b"<html><p>before" + b"<div>" * 100_000 + b"deep", HTML)
    assert lines(found)[:1] == ["before"]


def test_what_was_read_before_a_file_broke_counts(tmp_path: Path) -> None:
    """A page of many that cannot be read takes nothing from the others."""
    good, bad = pdf("Good page", "Bad page"), b"(Bad page) Tj ET"
    found = read(tmp_path, good.replace(bad, b"<" * len(bad)), PDF)
    assert (lines(found)[:1], found.reason) == (["Good page"], None)


def test_what_was_read_in_time_counts(tmp_path: Path) -> None:
    """Better than none."""
    found = read(tmp_path, pdf("First page", "Second page"), PDF, seconds=0)
    assert lines(found) == ["First page"]


@pytest.mark.parametrize("media_type", [PDF, DOCX, HTML, JSON])
def test_no_more_is_read_than_is_kept(tmp_path: Path, media_type: str) -> None:
    """As much as can be searched for."""
    text = f"{WORDS} " * (2 * MAX_CHARS // len(WORDS))
    made = {
        PDF: pdf(*[WORDS * 100] * 100),
        DOCX: docx_of(text),
        HTML: f"<p>{text}".encode(),
        JSON: json.dumps([text]).encode(),
    }
    assert len(read(tmp_path, made[media_type], media_type).content) == MAX_CHARS


def test_what_the_database_cannot_hold_is_left_out(tmp_path: Path) -> None:
    """JSON can say NUL, and half of a character."""
    assert lines(read(tmp_path, rb'["a\u0000b\ud800c"]', JSON)) == ["abc"]

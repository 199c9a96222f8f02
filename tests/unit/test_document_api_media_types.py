"""What a document is: its content wins where it is certain, its client is believed where it is not contradicted."""

from typing import Final

import pytest

from document_api.text.decoding import decoded
from document_api.text.media_types import DOCX, Form, kind_of, of_zip

XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PNG: Final = b"\x89PNG\r\n\x1a\n\x00\x00"
ZIP: Final = b"PK\x03\x04\x14\x00\x00\x00\xff"
OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00"
PAGE: Final = b"<!-- by hand -->\n<!DOCTYPE html><p>x"
BINARY: Final = b"\x00\x01\x02\xff"
UNKNOWN: Final = "application/octet-stream"


@pytest.mark.parametrize(
    ("data", "claimed", "filename", "media_type", "form"),
    [
        # a signature is certain
        (b"%PDF-1.7\n", "text/plain", "a.txt", "application/pdf", Form.PDF),
        (b"\r\njunk\xff %PDF-1.7\n", "application/pdf", "a.pdf", "application/pdf", Form.PDF),
        (PNG, "image/jpeg", "a.jpg", "image/png", Form.NONE),
        (PNG, UNKNOWN, "a", "image/png", Form.NONE),
        # so is the beginning of a page, also in an encoding of its own
        (PAGE, "text/plain", "a.txt", "text/html", Form.HTML),
        (b"\xef\xbb\xbf<html>caf\xc3\xa9", UNKNOWN, "a", "text/html", Form.HTML),
        (b"<HTML lang=de>caf\xe9", "text/html", "a.html", "text/html", Form.HTML),
        (b"<html xmlns='x'/>", "application/xhtml+xml", "a.xhtml", "application/xhtml+xml", Form.TEXT),
        # a container may be what its client says, if that is one
        (ZIP, XLSX, "a.xlsx", XLSX, Form.ZIP),
        (ZIP, "text/plain", "a.txt", "application/zip", Form.ZIP),
        (ZIP, "image/png", "a.png", "application/zip", Form.ZIP),
        (ZIP, UNKNOWN, "a", "application/zip", Form.ZIP),
        (ZIP, DOCX, "a.docx", DOCX, Form.ZIP),
        (OLE, "application/msword", "a.doc", "application/msword", Form.NONE),
        (OLE, "application/vnd.ms-excel", "a.xls", "application/vnd.ms-excel", Form.NONE),
        (OLE, DOCX, "a.docx", "application/x-ole-storage", Form.NONE),
        # text is what its client says, unless that would not be text
        (b"# Title", "text/markdown", "a.md", "text/markdown", Form.TEXT),
        (b"a,b\n1,2", "text/csv", "a.csv", "text/csv", Form.TEXT),
        (b"a,b\n1,2", UNKNOWN, "a.csv", "text/csv", Form.TEXT),
        (b'{"a": 1}', UNKNOWN, "a.json", "application/json", Form.JSON),
        (b"<p>part of a page", "text/html", "a.html", "text/html", Form.HTML),
        (b"<svg/>", "image/svg+xml", "a.svg", "image/svg+xml", Form.TEXT),
        (b"words", "application/pdf", "a.pdf", "text/plain", Form.TEXT),
        (b"words", DOCX, "a.docx", "text/plain", Form.TEXT),
        (b"words", "video/mp4", "a.mp4", "text/plain", Form.TEXT),
        (b"words", UNKNOWN, "a", "text/plain", Form.TEXT),
        # what is neither is what its client says, unless that would be
        (BINARY, "text/plain", "a.txt", UNKNOWN, Form.NONE),
        (BINARY, "application/json", "a.json", UNKNOWN, Form.NONE),
        (BINARY, "application/pdf", "a.pdf", UNKNOWN, Form.NONE),
        (BINARY, "video/mp4", "a.mp4", "video/mp4", Form.NONE),
        (BINARY, UNKNOWN, "a", UNKNOWN, Form.NONE),
    ],
)
def test_a_document_is_what_its_content_says(
    data: bytes, claimed: str, filename: str, media_type: str, form: Form
) -> None:
    """What the content cannot tell, its client may."""
    kind = kind_of(data, is_text=decoded(data) is not None, claimed=claimed, filename=filename)
    assert (kind.media_type, kind.form) == (media_type, form)


@pytest.mark.parametrize(
    ("is_docx", "claimed", "media_type"),
    [
        (True, "application/zip", DOCX),
        (True, XLSX, DOCX),
        (False, DOCX, "application/zip"),
        (False, XLSX, XLSX),
    ],
)
def test_a_zip_is_a_docx_if_it_has_its_part(is_docx: bool, claimed: str, media_type: str) -> None:  # noqa: FBT001
    """Whatever its client says."""
    assert of_zip(is_docx=is_docx, claimed=claimed) == media_type

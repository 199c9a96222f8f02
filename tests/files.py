"""Files of the formats whose text is read: good ones, broken ones, and such as are made to harm their reader."""

import io
import zipfile
import zlib
from typing import Final

import docx
from pypdf import PdfReader, PdfWriter

MIB: Final = 1024 * 1024
WORDS: Final = "The harbour of Bergen is old"


def pdf(*pages: str) -> bytes:
    """Return a PDF with a line of text on each page."""
    return pdf_of(*(f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET".encode() for page in pages))


def pdf_of(*contents: bytes, packed: int = 0) -> bytes:
    """Return a PDF whose pages have these contents, packed so many times."""
    numbers = range(4, 4 + 2 * len(contents), 2)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%b] >>"
        % (len(contents), b" ".join(b"%d 0 R" % number for number in numbers)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, content in zip(numbers, contents, strict=True):
        for _ in range(packed):
            content = zlib.compress(content)  # noqa: PLW2901
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (number + 1)
        )
        filters = b" /Filter [%b]" % b" ".join([b"/FlateDecode"] * packed) if packed else b""
        objects.append(b"<< /Length %d%b >>\nstream\n%b\nendstream" % (len(content), filters, content))
    return _joined(objects)


def _joined(objects: list[bytes]) -> bytes:
    file, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return (
        file
        + b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (
            len(objects) + 1,
            table,
            len(objects) + 1,
            len(file),
        )
    )


def encrypted_pdf(*pages: str) -> bytes:
    """Return a PDF that asks for a password."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(*pages))))
    writer.encrypt("secret", algorithm="AES-256")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def memory_bomb() -> bytes:
    """Return a PDF of some kilobytes that unpacks to 100 MiB."""
    return pdf_of(b"0" * (100 * MIB), packed=2)


def time_bomb() -> bytes:
    """Return a PDF of some kilobytes on which a reader works for half a minute."""
    return pdf_of(b"BT /F1 1 Tf (a) Tj ET\n" * 250_000, packed=2)


def docx_of(*paragraphs: str, cell: str = "") -> bytes:
    """Return a DOCX with these paragraphs, and a table of one cell."""
    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    if cell:
        document.add_table(1, 1).cell(0, 0).text = cell
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def archive(**parts: bytes) -> bytes:
    """Return a ZIP file of these parts."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in parts.items():
            written.writestr(name, content)
    return file.getvalue()


def zip_bomb() -> bytes:
    """Return what would be a DOCX, and unpacks to 130 MiB."""
    return archive(**{"word/document.xml": b" " * (130 * MIB)})


def tree_bomb() -> bytes:
    """Return a DOCX of some kilobytes whose paragraphs take hundreds of megabytes once they are a tree."""
    source = docx_of(WORDS)
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(source)) as parts,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written,
    ):
        for part in parts.infolist():
            content = parts.read(part)
            if part.filename == "word/document.xml":
                content = content.replace(b"<w:body>", b"<w:body>" + b"<w:p/>" * 4_000_000)
            written.writestr(part, content)
    return file.getvalue()

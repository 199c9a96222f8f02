"""Writes an archive while the system serves: the rows of one moment, and the files that they name, which never change."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from pydantic import BaseModel
from sqlalchemy import Connection, text

from data_store import VERSION
from data_store.backup import BackupError
from data_store.backup.archive import (
    CHUNK_BYTES,
    COMPLETE,
    DOCUMENTS,
    MANIFEST,
    TABLES,
    Output,
    Writer,
)
from data_store.backup.damage import Damage
from data_store.backup.database import bytes_kept, copy_command, lock, tables, transaction
from data_store.backup.files import is_storage_key
from data_store.backup.manifest import Complete, Manifest, PepperDigest, TableColumns, TableContent
from data_store.backup.progress import Counted, Progress
from data_store.migrations import HEAD

_PART_BYTES: Final = 8 * CHUNK_BYTES
_ROWS_AT_ONCE: Final = 1000
# The same bytes are named by as many rows as have them, and are kept once.
_FILES: Final = """
    SELECT DISTINCT ON (storage_key) client_id, id, storage_key, file_size, sha256 FROM (
        SELECT client_id, id, storage_key, file_size, sha256 FROM document_metadata
        UNION ALL SELECT client_id, document_id, storage_key, file_size, sha256 FROM document_versions
    ) AS contents ORDER BY storage_key, client_id, id
"""
_TOTAL: Final = text(
    f"""
    SELECT count(*), coalesce(sum(file_size), 0), (SELECT count(*) FROM document_metadata), now()
    FROM ({_FILES}) AS files
    """  # noqa: S608  a constant
)
_SEQUENCES: Final = text(
    "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = current_schema() ORDER BY 1"
)


class _Document(NamedTuple):
    client_id: str
    id: int
    storage_key: str
    file_size: int
    sha256: str


def create(
    output: Output,
    database_url: str,
    pepper: str,
    uploads: Path,
    progress: Progress,
    *,
    storage_url: str | None = None,
) -> tuple[Manifest, Damage]:
    """Write an archive and return what it is of, and which bytes it does without, since they are lost.

    With a storage URL the documents' bytes are there, and not in it. Raises BackupError, and then what was written is
    worth nothing.

    What is acknowledged before this begins is in it: its row is committed then, and its file was there before its row.
    """
    with bytes_kept(database_url), transaction(database_url, "REPEATABLE READ") as connection:
        found = tables(connection)  # the first statement: all others see what is committed now
        lock(connection, [table.name for table in found], "ACCESS SHARE")  # no migration meanwhile
        manifest = _manifest(connection, found, pepper, storage_url)
        folder = uploads / DOCUMENTS if storage_url is None else None
        if folder is not None:
            _check_folder(folder, manifest)
        writer = Writer(output, manifest.taken_at.timestamp())
        writer.add(MANIFEST, _json(manifest))
        damage = _add_documents(writer, connection, folder, progress.of(manifest.files or 0))
        contents = {table.name: _add_table(writer, connection, table) for table in found}
        # Sequences belong to no transaction: read last, they are beyond every row of it.
        sequences = dict(connection.execute(_SEQUENCES).tuples().all())
        complete = Complete(
            documents=manifest.documents, damaged=damage.files, tables=contents, sequences=sequences
        )
        writer.add(COMPLETE, _json(complete))
        writer.close()
    return manifest, damage


def _manifest(
    connection: Connection, found: list[TableColumns], pepper: str, storage_url: str | None
) -> Manifest:
    files, document_bytes, documents, taken_at = connection.execute(_TOTAL).one()
    return Manifest(
        robin=VERSION,
        schema_revision=HEAD,
        postgresql=str(connection.scalar(text("SHOW server_version"))),
        taken_at=taken_at.astimezone(UTC),
        documents=documents,
        files=files,
        document_bytes=int(document_bytes),
        documents_at=storage_url,
        pepper=PepperDigest.of(pepper),
        tables=found,
    )


def _check_folder(folder: Path, manifest: Manifest) -> None:
    """Refuse to take all documents for lost where the folder is the wrong one."""
    if manifest.files and not folder.is_dir():
        raise BackupError(f"there is no folder {folder}: name the UPLOAD_DIR of document_api with --uploads")


def _add_documents(writer: Writer, connection: Connection, folder: Path | None, progress: Counted) -> Damage:
    """Append the file of each row, where they are files, and go on past those that are damaged."""
    damage = Damage()
    for document in _documents(connection):
        _check_key(document)
        if folder is not None and (problem := _add_document(writer, folder, document)):
            damage.add(document.client_id, document.id, document.storage_key, problem)
        progress.advance()
    return damage


def _documents(connection: Connection) -> Iterator[_Document]:
    rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(text(_FILES))
    return (_Document(*row) for row in rows)


def _check_key(document: _Document) -> None:
    """Refuse a row that no restore takes: whoever serves it would read a file that is none of robin's."""
    if not is_storage_key(document.storage_key):
        raise BackupError(
            f"document {document.id} of client {document.client_id} names {document.storage_key!r}, which is no file of robin"
            " (what to do: docs/backup.md)"
        )


def _add_document(writer: Writer, folder: Path, document: _Document) -> str | None:
    """Append a file and return what is wrong with it."""
    try:
        file = (folder / document.storage_key).open("rb")
    except OSError as error:
        return _unreadable(error)
    with file:
        size = os.fstat(file.fileno()).st_size
        if size != document.file_size:
            return f"its file has {size} bytes, not {document.file_size}"
        return _append(writer, file, document)


def _append(writer: Writer, file: BinaryIO, document: _Document) -> str | None:
    """Append a file that has its size; where it cannot be read on, zeros take the place of the rest."""
    digest, left = hashlib.sha256(), document.file_size
    problem: str | None = None
    writer.begin(DOCUMENTS + document.storage_key, left)
    while left:
        size = min(left, CHUNK_BYTES)
        chunk, problem = (b"", problem) if problem else _read(file, size)
        chunk = chunk or bytes(size)
        digest.update(chunk)
        writer.write(chunk)
        left -= len(chunk)
    writer.end(document.file_size)
    if problem is None and digest.hexdigest() != document.sha256:
        return "its bytes are not those that were uploaded"
    return problem


def _read(file: BinaryIO, size: int) -> tuple[bytes, str | None]:
    """Return the next bytes and what is wrong with them."""
    try:
        return file.read(size), None
    except OSError as error:
        return b"", _unreadable(error)


def _unreadable(error: OSError) -> str:
    return f"its file cannot be read: {error.strerror}"


def _add_table(writer: Writer, connection: Connection, table: TableColumns) -> TableContent:
    parts = _Parts(writer, table.name)
    with closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(copy_command(connection, table, "TO STDOUT"), parts)
        parts.flush()
        return TableContent(rows=cursor.rowcount, sha256=parts.digest.hexdigest())


class _Parts:
    """Takes what COPY says and appends it in members of some size: how long the whole is, is not known before."""

    def __init__(self, writer: Writer, table: str) -> None:
        self.digest = hashlib.sha256()
        self._writer = writer
        self._table = table
        self._number = 0
        self._buffer = bytearray()

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self._buffer += data
        if len(self._buffer) >= _PART_BYTES:
            self.flush()

    def flush(self) -> None:
        """Append what is gathered."""
        if self._buffer:
            self._writer.add(f"{TABLES}{self._table}/{self._number:06}.copy", bytes(self._buffer))
            self._number += 1
            self._buffer.clear()


def _json(model: BaseModel) -> bytes:
    return f"{model.model_dump_json(indent=1)}\n".encode()

"""Brings an archive back into a system that is empty: all of it, or nothing."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final

from alembic import command
from alembic.script import ScriptDirectory
from psycopg2.extras import execute_values
from sqlalchemy import Connection, text

from data_store.backup import BackupError
from data_store.backup.archive import CHUNK_BYTES, COMPLETE, DOCUMENTS, MANIFEST, TABLES, Reader
from data_store.backup.damage import Damage
from data_store.backup.database import copy_command, is_empty, lock, tables, transaction
from data_store.backup.files import StagedFile, Staging, is_storage_key
from data_store.backup.manifest import Complete, Manifest, TableColumns, TableContent
from data_store.backup.progress import Counted, Progress
from data_store.migrations import HEAD, LOCK
from data_store.migrations.grants import grant, lacks_grants
from data_store.migrations.upgrade import config, upgrade

_ROWS_AT_ONCE: Final = 1000
_FILES: Final = "pg_temp.restored_files"
_MAKE_FILES: Final = text(
    f"CREATE TABLE {_FILES} (storage_key text PRIMARY KEY, file_size bigint NOT NULL, sha256 text NOT NULL)"
    " ON COMMIT DROP"
)
_KEEP_FILES: Final = f"INSERT INTO {_FILES} VALUES %s"  # noqa: S608  a constant
# Rows without their file, and files without their row; each file once.
_UNLIKE: Final = text(
    f"""
    SELECT DISTINCT ON (storage_key) documents.client_id, documents.id, storage_key, files.sha256 IS NOT NULL
    FROM (
        SELECT id, client_id, storage_key, file_size, sha256 FROM document_metadata
        UNION ALL SELECT document_id, client_id, storage_key, file_size, sha256 FROM document_versions
    ) AS documents FULL JOIN {_FILES} AS files USING (storage_key)
    WHERE (documents.file_size, documents.sha256) IS DISTINCT FROM (files.file_size, files.sha256)
    ORDER BY storage_key, documents.client_id, documents.id
    """  # noqa: S608  a constant
)
_SET_SEQUENCE: Final = text("SELECT setval(CAST(:name AS regclass), :last)")
_CLAIM: Final = text("SELECT pg_try_advisory_xact_lock(:lock)")


def restore(
    stream: BinaryIO,
    database_url: str,
    service_role: str | None,
    uploads: Path,
    progress: Progress,
    *,
    storage_url: str | None = None,
) -> tuple[Manifest, Damage]:
    """Bring an archive back and return what it is of, and which bytes it had not got.

    With a storage URL the documents' bytes are there already. Raises BackupError, and then nothing has changed.
    """
    reader = Reader(stream)
    manifest = Manifest.parse(reader.take(MANIFEST))
    _check_place(manifest, storage_url)
    with transaction(database_url, "READ COMMITTED") as connection:
        _claim(connection)
        _check_known(connection, manifest)
        _check_empty(connection)
        staging = Staging(uploads)
        staging.prepare()
        try:
            _stage_documents(reader, connection, staging, progress.of(manifest.files or manifest.documents))
            complete = _load_tables(reader, connection, manifest)
            _bring_up_to_date(connection, service_role)
            damage = _check_files(
                connection, staging, known=complete.damaged, elsewhere=storage_url is not None
            )
            staging.place()
            # A commit that fails may have been done all the same: files that no row names do no harm, rows without files do.
            connection.commit()
        finally:
            staging.remove()
    return manifest, damage


def _check_place(manifest: Manifest, storage_url: str | None) -> None:
    """Refuse to restore rows where nobody would find their bytes."""
    if manifest.documents_at is not None and storage_url is None:
        raise BackupError(
            f"the documents' bytes are in {manifest.documents_at}, not in the backup: start with STORAGE_URL, of that store or"
            " of a copy, and restore again"
        )
    if manifest.documents_at is None and storage_url is not None and manifest.files != 0:
        raise BackupError(
            f"the documents' bytes are in the backup, and would not be looked for outside of {storage_url}: start without"
            " STORAGE_URL, restore again, and move them (docs/backup.md)"
        )


def _claim(connection: Connection) -> None:
    if not connection.scalar(_CLAIM, {"lock": LOCK}):
        raise BackupError("another restore or a migration is under way: wait for it")


def _check_known(connection: Connection, manifest: Manifest) -> None:
    known = {each.revision for each in ScriptDirectory.from_config(config(connection)).walk_revisions()}
    if manifest.schema_revision not in known:
        raise BackupError(
            f"the backup has the schema {manifest.schema_revision} of robin {manifest.robin}, and this robin knows only up to"
            f" {HEAD}: restore it with that version or a newer one"
        )


def _check_empty(connection: Connection) -> None:
    if used := [table.name for table in tables(connection) if not is_empty(connection, table.name)]:
        raise BackupError(
            f"the system is not empty (rows in {', '.join(used)}): a backup is restored into a new one only"
        )


def _stage_documents(reader: Reader, connection: Connection, staging: Staging, progress: Counted) -> None:
    """Write all files down, and keep in a table what they are: memory would not hold a million of them."""
    connection.execute(_MAKE_FILES)
    with closing(connection.connection.cursor()) as cursor:
        execute_values(cursor, _KEEP_FILES, _staged(reader, staging, progress), page_size=_ROWS_AT_ONCE)


def _staged(reader: Reader, staging: Staging, progress: Counted) -> Iterator[StagedFile]:
    while reader.name.startswith(DOCUMENTS):
        key = reader.name.removeprefix(DOCUMENTS)
        if not is_storage_key(key):
            raise BackupError(f"{reader.name!r} is no name of a file of robin: this is no backup of it")
        yield staging.write(key, reader.chunks())
        reader.advance()
        progress.advance()


def _load_tables(reader: Reader, connection: Connection, manifest: Manifest) -> Complete:
    """Fill the tables as they were then and return what the end says; whoever would write waits until all is done."""
    lock(connection, [table.name for table in tables(connection)], "ACCESS EXCLUSIVE")
    _check_empty(connection)  # once more, as nobody can come between any longer
    if manifest.schema_revision != HEAD:
        command.downgrade(config(connection), manifest.schema_revision)
    loaded = {table.name: _load(reader, connection, table) for table in manifest.tables}
    complete = Complete.parse(reader.take(COMPLETE))
    if loaded != complete.tables:
        raise BackupError("the rows in it are not those that were backed up: take another backup")
    for name, last in complete.sequences.items():
        if last is not None:
            connection.execute(_SET_SEQUENCE, {"name": name, "last": last})
    return complete


def _check_files(connection: Connection, staging: Staging, *, known: int, elsewhere: bool) -> Damage:
    """Leave out as many files as were known to be damaged; one more is a BackupError, as is one that no row names.

    Where they are elsewhere, none need be there.
    """
    damage = Damage()
    for client_id, document_id, key, written in connection.execute(
        _UNLIKE, execution_options={"yield_per": _ROWS_AT_ONCE}
    ):
        missing = written is False and elsewhere
        # What no restore writes down, no row may name either: it would be served.
        if client_id is None or not is_storage_key(key) or (damage.files == known and not missing):
            row = f"document {document_id} of client {client_id}" if client_id else "no document"
            raise BackupError(f"documents/{key} in it is not what was uploaded ({row}): take another backup")
        if missing:
            continue
        if written:
            staging.discard(key)
        damage.add(client_id, document_id, key, "the backup has not got what was uploaded")
    return damage


def _load(reader: Reader, connection: Connection, table: TableColumns) -> TableContent:
    parts = _Parts(reader, f"{TABLES}{table.name}/")
    with closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(copy_command(connection, table, "FROM STDIN"), parts, CHUNK_BYTES)
        return TableContent(rows=cursor.rowcount, sha256=parts.digest.hexdigest())


class _Parts:
    """Gives COPY the members of a table as if they were one file."""

    def __init__(self, reader: Reader, prefix: str) -> None:
        self.digest = hashlib.sha256()
        self._reader = reader
        self._prefix = prefix

    def read(self, size: int) -> bytes:
        while self._reader.name.startswith(self._prefix):
            if data := self._reader.read(size):
                self.digest.update(data)
                return data
            self._reader.advance()
        return b""


def _bring_up_to_date(connection: Connection, service_role: str | None) -> None:
    upgrade(connection)
    if service_role and lacks_grants(connection, service_role):
        grant(connection, service_role)

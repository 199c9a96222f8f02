"""Backups of a system whose documents' bytes are in an object store: the database, and never a row without its bytes."""

import io
import json
import shutil
from collections.abc import Callable
from typing import Final

import pytest

from data_store.backup import BackupError
from data_store.backup.create import create
from data_store.backup.manifest import Manifest
from data_store.backup.restore import restore
from tests.integration.backup.conftest import PEPPER, QUIET, SERVICE, System, changed, members, packed, run

STORE: Final = "s3://documents/of-robin"


@pytest.fixture
def source(source: System) -> System:
    """A system whose documents are no files."""
    shutil.rmtree(source.uploads / "documents")
    return source


def backed_up(system: System) -> bytes:
    """Return a backup of it."""
    output = io.BytesIO()
    url = system.postgresql.owner_url(system.database)
    _, damage = create(output, url, PEPPER, system.uploads, QUIET, storage_url=STORE)
    assert not damage.files
    return output.getvalue()


def bring_back(system: System, archive: bytes, storage_url: str | None = STORE) -> Manifest:
    """Restore into it; no document is missed."""
    url = system.postgresql.owner_url(system.database)
    told, damage = restore(io.BytesIO(archive), url, SERVICE, system.uploads, QUIET, storage_url=storage_url)
    assert not damage.files
    return told


def test_rows_come_back_and_no_bytes_are_looked_for(source: System, target: System) -> None:
    """What is in it says where they are."""
    archive = backed_up(source)
    assert not [name for name in members(archive) if name.startswith("documents/")]
    assert json.loads(members(archive)["manifest.json"])["documents_at"] == STORE
    assert bring_back(target, archive).documents == 3
    assert target.rows() == source.rows()
    assert target.files() == {}


def test_rows_are_not_restored_where_nobody_looks_for_their_bytes(
    source: System, target: System, new_system: Callable[[], System]
) -> None:
    """Neither without the store nor, of a backup that has them, with one; an empty one has none to be lost."""
    with pytest.raises(BackupError, match=f"bytes are in {STORE}, not in the backup: start with STORAGE_URL"):
        bring_back(target, backed_up(source), storage_url=None)
    files = new_system()
    empty = files.create()
    files.fill()
    with pytest.raises(BackupError, match=r"bytes are in the backup, .*: start without STORAGE_URL"):
        bring_back(target, files.create())
    assert target.is_untouched
    bring_back(target, empty)


def test_a_row_that_names_no_object_of_robin_is_neither_backed_up_nor_restored(
    source: System, target: System
) -> None:
    """It would be another's that is served."""
    ((key,),) = source.sql("SELECT storage_key FROM document_metadata WHERE client_id = 'globex'")
    archive = changed(
        backed_up(source),
        "tables/document_metadata/",
        lambda rows: rows.replace(key.encode(), b"../elsewhere/object"),
    )
    source.sql("UPDATE document_metadata SET storage_key = '../elsewhere' WHERE client_id = 'globex'")
    with pytest.raises(BackupError, match="no file of robin"):
        backed_up(source)
    with pytest.raises(BackupError, match="rows in it are not those"):
        bring_back(target, archive)
    assert target.is_untouched


def test_bytes_that_are_in_it_all_the_same_must_be_a_documents(source: System, target: System) -> None:
    """Nobody would ever remove them."""
    contents = members(backed_up(source))
    manifest = contents.pop("manifest.json")
    extra = f"documents/{'0' * 32}/{'1' * 32}"
    with pytest.raises(BackupError, match="is not what was uploaded"):
        bring_back(target, packed({"manifest.json": manifest, extra: b"x", **contents}))
    assert target.is_untouched


def test_the_command_says_what_is_not_in_it_and_what_to_do(source: System, target: System) -> None:
    """In one line each, and ends well: it is what there is to back up."""
    backup = run(source, "create", STORAGE_URL=STORE)
    assert backup.returncode == 0
    said = backup.stderr.decode().splitlines()
    assert said[0].startswith("backed up 3 documents (without their bytes) as of ")
    assert said[1].startswith(f"not in it, keep it beside it: what is in {STORE}, by versions or a copy")
    assert said[2].startswith("not in it, keep it beside it: API_KEY_PEPPER")

    refused = run(target, "restore", archive=backup.stdout)
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"error: the documents' bytes are in s3://")
    restored = run(target, "restore", archive=backup.stdout, STORAGE_URL="s3://a-copy")
    assert restored.returncode == 0
    said = restored.stderr.decode().splitlines()
    assert said[1].startswith("not in it: the documents' bytes; s3://a-copy must have them")
    assert target.rows() == source.rows()

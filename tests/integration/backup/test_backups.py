"""Backups on a real PostgreSQL: of one moment, and all of it comes back."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from data_store.backup.manifest import Manifest
from data_store.migrations import Place, is_migrated
from tests.integration.backup.conftest import PEPPER, System, members
from tests.integration.conftest import SERVICE


def test_everything_comes_back(source: System, target: System) -> None:
    """Every row of every table, every file, and nothing beside."""
    told = target.restore(source.create())
    assert target.rows() == source.rows()
    assert all(source.rows().values())
    assert target.files() == source.files()
    assert told.documents == len(source.files()) == 3


def test_what_is_restored_is_its_owners_alone(source: System, target: System) -> None:
    """As document_api makes files and folders."""
    target.restore(source.create())
    made = [path for path in target.uploads.rglob("*") if path != target.uploads]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
    assert {path.stat().st_nlink for path in made if path.is_file()} == {1}


def test_a_restored_system_goes_on(source: System, target: System) -> None:
    """Numbers continue where they were, for every table; the service's role may do its work."""
    target.restore(source.create())
    last = target.sql("SELECT max(id) FROM document_metadata")[0][0]
    target.store("acme", b"new")
    target.sql("INSERT INTO users (name, email, role) VALUES ('New', 'n@x', 'operator')")
    assert target.sql("SELECT max(id) FROM document_metadata")[0][0] == last + 1
    assert target.sql("SELECT stored_documents FROM clients WHERE id = 'acme'") == [(3,)]
    assert is_migrated(Place(target.postgresql.owner_url(target.database), 0), service_role=SERVICE)
    again = target.create()
    assert len([name for name in members(again) if name.startswith("documents/")]) == 4


def test_an_empty_system_can_be_backed_up(target: System, new_system: Callable[[], System]) -> None:
    """And comes back empty."""
    other = new_system()
    other.restore(target.create())
    assert other.is_untouched


def test_a_large_table_comes_in_parts(
    source: System, target: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a row is cut."""
    monkeypatch.setattr("data_store.backup.create._PART_BYTES", 1)
    for number in range(40):
        source.store("acme", str(number).encode())
    archive = source.create()
    assert len([name for name in members(archive) if name.startswith("tables/document_metadata/")]) > 10
    target.restore(archive)
    assert target.rows() == source.rows()


class Meanwhile(io.BytesIO):
    """Lets something happen when the archive has begun."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self._happens: Callable[[], object] | None = happens

    def write(self, data: Any) -> int:
        """Take bytes."""
        happens, self._happens = self._happens, None
        if happens:
            happens()
        return super().write(data)


def test_what_is_stored_meanwhile_is_not_in_it_by_half(source: System, target: System) -> None:
    """Neither its file nor its row nor its share of a counter."""
    rows, files = source.rows(), source.files()
    archive = source.create(Meanwhile(lambda: (source.store("acme", b"late"), source.store("late", b"late"))))
    assert source.rows() != rows
    target.restore(archive)
    assert (target.rows(), target.files()) == (rows, files)


def test_no_secret_is_in_it(source: System) -> None:
    """Of the pepper a slow, salted digest; of keys what the table has."""
    contents = members(source.create())
    assert PEPPER.encode() not in b"".join(contents.values())
    manifest = Manifest.parse(contents["manifest.json"])
    assert manifest.pepper.matches(PEPPER)
    assert not manifest.pepper.matches("another")
    assert json.loads(members(source.create())["manifest.json"])["pepper"] != manifest.pepper.model_dump()

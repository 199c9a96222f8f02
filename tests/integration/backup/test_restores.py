"""Restores on a real PostgreSQL: all or nothing, whatever comes between."""

import hashlib
import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic import command
from sqlalchemy import create_engine

from data_store.backup import BackupError
from data_store.backup.archive import CHUNK_BYTES
from data_store.backup.restore import restore
from data_store.migrations import HEAD, Place, is_migrated
from data_store.migrations.upgrade import config
from tests.integration.backup.conftest import QUIET, System, changed
from tests.integration.conftest import SERVICE, PostgreSQL, data_store_on
from tests.records import DOCUMENT, DOCUMENTS, assert_problem
from tests.telemetry_spy import TelemetrySpy


@pytest.mark.parametrize(
    "used",
    [
        "INSERT INTO clients (id) VALUES ('acme')",
        "INSERT INTO users (name, email, role) VALUES ('Ops', 'o@x', 'operator')",
        "INSERT INTO audit_log (actor, action) VALUES ('cli:x', 'user.create')",
    ],
)
def test_a_system_that_is_used_stays_as_it_is(source: System, target: System, used: str) -> None:
    """Whatever is in it."""
    target.sql(used)
    before = target.rows()
    with pytest.raises(BackupError, match="the system is not empty"):
        target.restore(source.create())
    assert (target.rows(), target.files()) == (before, {})


def test_whoever_stores_meanwhile_is_found_before_it_is_too_late(source: System, target: System) -> None:
    """The system was empty when the restore began, and is not any more when it comes to the tables."""

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 1_500_000 and not target.rows()["clients"]:
                target.store("early", b"bird")
            return super().read(size)

    archive = Slow(source.create())
    url = target.postgresql.owner_url(target.database)
    with pytest.raises(BackupError, match="the system is not empty"):
        restore(archive, url, SERVICE, target.uploads, QUIET)
    assert [row[0]["id"] for row in target.rows()["clients"]] == ["early"]
    assert list(target.files().values()) == [b"bird"]


def test_whoever_stores_while_tables_are_loaded_is_told_to_come_again(
    source: System, target: System, telemetry: TelemetrySpy
) -> None:
    """A service that runs on the empty system serves what is restored as soon as it is there."""
    source.sql(
        "INSERT INTO audit_log (client_id, actor, action)"
        " SELECT 'acme', 'somebody', 'document.read' FROM generate_series(1, 40000)"
    )
    archive = source.create()
    url = target.postgresql.url(target.database)
    told: list[httpx.Response] = []
    with data_store_on(url, telemetry, lock_timeout_seconds=0.2) as data_store:

        class Slow(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if self.tell() >= len(archive) - CHUNK_BYTES and not told:
                    told.append(data_store.post(DOCUMENTS, json=DOCUMENT))
                return super().read(size)

        owner = target.postgresql.owner_url(target.database)
        restore(Slow(archive), owner, SERVICE, target.uploads, QUIET)
        assert "retry-after" in told[0].headers
        assert_problem(told[0], 503)
        assert target.rows() == source.rows()
        assert data_store.post(DOCUMENTS, json=DOCUMENT).status_code == 201


def test_a_newer_schema_is_refused_by_name(source: System, target: System) -> None:
    """And what can be done about it is said."""
    archive = changed(
        source.create(), "manifest.json", lambda content: content.replace(HEAD.encode(), b"9999")
    )
    with pytest.raises(BackupError, match=f"schema 9999 .*up to {HEAD}: restore it with that version"):
        target.restore(archive)
    assert target.is_untouched


def test_an_older_schema_is_brought_up_to_date(
    postgresql: PostgreSQL, target: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the migrations do to rows, and what the service may do afterwards."""
    database = postgresql.create_database()
    engine = create_engine(postgresql.owner_url(database))
    with engine.begin() as connection:
        command.upgrade(config(connection), "0001")
    engine.dispose()
    key = f"acme/{'0' * 32}"  # as files were named then
    path = tmp_path / "old" / "documents" / key
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    old = System(postgresql, database, tmp_path / "old")
    old.sql("INSERT INTO clients VALUES ('acme')")
    old.sql("INSERT INTO users (client_id, name, email, role) VALUES ('acme', 'Ada', 'a@x', 'admin')")
    old.sql(
        f"""
        INSERT INTO document_metadata (client_id, filename, file_size, file_type, sha256, storage_key, summary_source)
        VALUES ('acme', 'a', 3, 'text/plain', '{hashlib.sha256(b"old").hexdigest()}', '{key}', 'none')
        """  # noqa: S608  values of this file
    )
    # What this version looks at beside what was there then.
    old.sql(
        "CREATE VIEW document_versions AS SELECT client_id, id AS document_id, storage_key, file_size, sha256"
        " FROM document_metadata WHERE false; GRANT SELECT ON document_versions TO PUBLIC"
    )
    for module in ("create", "database"):
        monkeypatch.setattr(f"data_store.backup.{module}.HEAD", "0001")
    archive = old.create()
    monkeypatch.undo()

    assert target.restore(archive).schema_revision == "0001"
    assert target.sql("SELECT stored_documents, stored_bytes FROM clients") == [(1, 3)]
    assert target.sql("SELECT role FROM users") == [("tenant_admin",)]
    assert target.files() == {f"documents/{key}": b"old"}
    assert is_migrated(Place(postgresql.owner_url(target.database), 0), service_role=SERVICE)


def test_a_database_that_is_not_migrated_is_told_what_to_do(
    postgresql: PostgreSQL, tmp_path: Path, source: System
) -> None:
    """For a backup as for a restore."""
    system = System(postgresql, postgresql.create_database(), tmp_path)
    told = r"schema is empty.* python -m data_store migrate"
    with pytest.raises(BackupError, match=told):
        system.create()
    with pytest.raises(BackupError, match=told):
        system.restore(source.create())


def test_what_a_killed_restore_left_is_in_nobodys_way(source: System, target: System) -> None:
    """Half a file beside the others, or a file in its place whose row was never committed."""
    archive = source.create()
    name = next(name for name in source.files())
    half = target.uploads / "restoring" / Path(name).relative_to("documents")
    placed = target.uploads / name
    for path in (half, placed):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
    target.restore(archive)
    assert target.files() == source.files()


def test_a_restore_that_fails_at_its_very_end_leaves_nothing(source: System, target: System) -> None:
    """Here the role that is to be let at the tables is missing."""
    with pytest.raises(BackupError, match='role "nobody_at_all" does not exist'):
        target.restore(source.create(), service_role="nobody_at_all")
    assert target.is_untouched


def test_files_that_cannot_be_placed_leave_nothing(source: System, target: System) -> None:
    """Those that were placed before are taken back."""
    (target.uploads / "documents").mkdir()
    folder = Path(max(source.files())).parent
    (target.uploads / folder).touch()
    with pytest.raises(OSError, match="exists"):
        target.restore(source.create())
    assert not any(target.rows().values())
    assert list(target.files()) == [str(folder)]


def test_two_restores_at_once_do_not_meet(source: System, target: System) -> None:
    """The second one is refused while the first one is under way."""
    archive = source.create()

    class Twice(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 1_500_000 and not told:
                with pytest.raises(BackupError, match="another restore or a migration is under way") as error:
                    target.restore(archive)
                told.append(error)
            return super().read(size)

    told: list[Any] = []
    url = target.postgresql.owner_url(target.database)
    restore(Twice(archive), url, SERVICE, target.uploads, QUIET)
    assert told
    assert target.files() == source.files()

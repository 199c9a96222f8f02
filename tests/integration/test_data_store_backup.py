"""Backup and restore on a real PostgreSQL: all or nothing, and of one moment."""

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from alembic import command
from sqlalchemy import create_engine

from data_store.backup import INCOMPLETE, BackupError
from data_store.backup.archive import CHUNK_BYTES, COMPLETE, check_complete
from data_store.backup.create import create
from data_store.backup.damage import Damage
from data_store.backup.manifest import Manifest
from data_store.backup.progress import Progress
from data_store.backup.restore import restore
from data_store.migrations import HEAD, Place, is_migrated
from data_store.migrations.upgrade import config
from document_api.last_backup import last_backup
from tests.integration.conftest import MIGRATED, SERVICE, PostgreSQL, data_store_on
from tests.records import DOCUMENT, DOCUMENTS, assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

PEPPER: Final = "a pepper of the tests"
TABLES: Final = ("clients", "users", "api_keys", "document_metadata", "audit_log")
QUIET: Final = Progress()


@dataclass
class System:
    """A database and the files that belong to it."""

    postgresql: PostgreSQL
    database: str
    uploads: Path

    def sql(self, statement: str) -> list[Any]:
        """Run a statement as the superuser."""
        return self.postgresql.execute(statement, database=self.database)

    def store(self, client_id: str, content: bytes) -> Path:
        """Store a document as both services do: first its file, then its row."""
        key = f"{hashlib.sha256(client_id.encode()).hexdigest()[:32]}/{uuid.uuid4().hex}"
        path = self.uploads / "documents" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        self.sql(
            f"""
            WITH client AS (
                INSERT INTO clients (id, stored_documents, stored_bytes) VALUES ('{client_id}', 1, {len(content)})
                ON CONFLICT (id) DO UPDATE SET stored_documents = clients.stored_documents + 1,
                    stored_bytes = clients.stored_bytes + {len(content)}
            ), audit AS (
                INSERT INTO audit_log (client_id, actor, action) VALUES ('{client_id}', 'nobody', 'document.create')
            )
            INSERT INTO document_metadata (client_id, filename, file_size, file_type, sha256, storage_key, summary_source)
            VALUES ('{client_id}', E'tab\\t\\\\ \\u20ac.txt', {len(content)}, 'text/plain', '{digest}', '{key}', 'none')
            """  # noqa: S608  values of this file
        )
        return path

    def fill(self) -> None:
        """Store what every table has something of."""
        self.store("acme", b"The harbour of Bergen is old.")
        self.store("acme", bytes(range(256)) * 10_000)
        self.store("globex", b"x")
        self.sql("INSERT INTO users (client_id, name, email, role) VALUES ('acme', 'Ada', 'a@x', 'writer')")
        self.sql("INSERT INTO users (name, email, role) VALUES ('Ops', 'o@x', 'operator')")
        self.sql(
            "INSERT INTO api_keys (user_id, prefix, hash) SELECT id, '0123456789ab', sha256('k') FROM users LIMIT 1"
        )

    def create(self, output: Any = None) -> bytes:
        """Back it up; nothing of it is damaged."""
        archive, damage = self.create_damaged(output)
        assert not damage.files, damage.lines()
        return archive

    def create_damaged(self, output: Any = None) -> tuple[bytes, Damage]:
        """Back it up, whatever is damaged."""
        output = output or io.BytesIO()
        _, damage = create(output, self.postgresql.owner_url(self.database), PEPPER, self.uploads, QUIET)
        return bytes(output.getvalue()), damage

    def restore(self, archive: bytes, service_role: str | None = SERVICE) -> Manifest:
        """Restore into it; nothing of it is damaged."""
        told, damage = self.restore_damaged(archive, service_role)
        assert not damage.files, damage.lines()
        return told

    def restore_damaged(self, archive: bytes, service_role: str | None = SERVICE) -> tuple[Manifest, Damage]:
        """Restore into it, whatever was damaged."""
        url = self.postgresql.owner_url(self.database)
        return restore(io.BytesIO(archive), url, service_role, self.uploads, QUIET)

    def rows(self) -> dict[str, list[Any]]:
        """Return all rows of all tables."""
        return {name: self.sql(f"SELECT to_jsonb(t) FROM {name} t ORDER BY 1") for name in TABLES}  # noqa: S608

    def files(self) -> dict[str, bytes]:
        """Return all files."""
        return {
            str(path.relative_to(self.uploads)): path.read_bytes()
            for path in self.uploads.rglob("*")
            if path.is_file()
        }

    @property
    def is_untouched(self) -> bool:
        """Whether nothing is in it, and it serves as before."""
        url = self.postgresql.owner_url(self.database)
        return (
            not any(self.rows().values())
            and not self.files()
            and is_migrated(Place(url, 0), service_role=SERVICE)
        )


@pytest.fixture
def new_system(postgresql: PostgreSQL, tmp_path: Path) -> Callable[[], System]:
    """Makes empty systems."""

    def make() -> System:
        database = postgresql.create_database(template=MIGRATED)
        uploads = tmp_path / database
        uploads.mkdir()
        return System(postgresql, database, uploads)

    return make


@pytest.fixture
def source(new_system: Callable[[], System]) -> System:
    """A system with something of everything."""
    system = new_system()
    system.fill()
    return system


@pytest.fixture
def target(new_system: Callable[[], System]) -> System:
    """An empty system."""
    return new_system()


def members(archive: bytes) -> dict[str, bytes]:
    """Return what any tar makes of an archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {each.name: content.read() for each in tar.getmembers() if (content := tar.extractfile(each))}


def packed(contents: dict[str, bytes]) -> bytes:
    """Return an archive of these members."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return output.getvalue()


def changed(archive: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """Return an archive in which the first member of this name, or below it, is another."""
    contents = members(archive)
    found = next(each for each in contents if each.startswith(name))
    return packed({**contents, found: change(contents[found])})


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


def cut(path: Path) -> None:
    """Let a file end too early."""
    path.write_bytes(path.read_bytes()[:-1])


def change_a_byte(path: Path) -> None:
    """Let a file hold something else of the same size."""
    path.write_bytes(b"#" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "its file cannot be read: No such file or directory"),
        (cut, "its file has 4 bytes, not 5"),
        (change_a_byte, "its bytes are not those that were uploaded"),
    ],
)
def test_a_document_that_has_lost_its_bytes_costs_no_other(
    source: System, target: System, damage: Callable[[Path], None], said: str
) -> None:
    """It is named by id and client, with the file; all else comes back, its row as well, but no wrong bytes."""
    hurt = source.store("hurt", b"bytes")
    damage(hurt)
    number = source.sql("SELECT max(id) FROM document_metadata")[0][0]
    archive, missing = source.create_damaged()
    name = f"document {number} of client hurt ({hurt.relative_to(source.uploads)})"
    assert missing.lines() == [f"  {name}: {said}"]

    _, missing = target.restore_damaged(archive)
    assert missing.lines() == [f"  {name}: the backup has not got what was uploaded"]
    assert target.rows() == source.rows()
    hurt.unlink(missing_ok=True)
    assert target.files() == source.files()


def test_a_file_that_cannot_be_read_on_keeps_its_place(source: System, target: System) -> None:
    """What comes after it in the archive is found."""
    broken = source.store("hurt", b"x" * 4096)
    broken.unlink()
    broken.symlink_to("/sys/class/net/lo/speed")  # 4096 bytes by its size, and an error when it is read
    archive, missing = source.create_damaged()
    assert [line.rpartition(": ")[0].rpartition(": ")[2] for line in missing.lines()] == [
        "its file cannot be read"
    ]
    target.restore_damaged(archive)
    assert target.rows() == source.rows()
    assert len(target.files()) == 3


def test_an_output_that_takes_nothing_more_is_no_damage(source: System) -> None:
    """The backup fails, and blames no document."""

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 100_000:  # in the midst of a document
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    with pytest.raises(OSError, match="No space left"):
        source.create_damaged(Full())


def test_all_that_is_damaged_is_counted_and_some_is_named(source: System) -> None:
    """Who mends it does not learn of the next one tomorrow, and reads no endless list."""
    for number in range(23):
        source.store("hurt", str(number).encode()).unlink()
    _, missing = source.create_damaged()
    assert missing.files == 23
    lines = missing.lines()
    assert (len(lines), lines[-1]) == (21, "  and 3 more")


def test_the_wrong_folder_is_no_loss_of_everything(source: System) -> None:
    """Such an archive would be worth little, and take the place of others."""
    source.uploads = source.uploads / "elsewhere"
    with pytest.raises(BackupError, match=r"there is no folder .*/elsewhere/documents: name the UPLOAD_DIR"):
        source.create()


def test_a_row_that_names_no_file_of_robin_is_neither_backed_up_nor_restored(
    source: System, target: System
) -> None:
    """It would be served: an archive may come from anywhere, and say of a file that it is missing."""
    source.store("hurt", b"1").unlink()
    archive, _ = source.create_damaged()
    (key,) = source.sql("SELECT storage_key FROM document_metadata WHERE client_id = 'hurt'")[0]
    other = "../../../" + "x" * (len(key) - 9)
    evil = changed(
        archive, "tables/document_metadata/", lambda rows: rows.replace(key.encode(), other.encode())
    )
    rows = members(evil)["tables/document_metadata/000000.copy"]
    digest = hashlib.sha256(rows).hexdigest()
    contents = json.loads(members(evil)[COMPLETE])
    contents["tables"]["document_metadata"]["sha256"] = digest
    evil = changed(evil, COMPLETE, lambda _: json.dumps(contents).encode())
    with pytest.raises(BackupError, match=r"documents/\.\./.* is not what was uploaded"):
        target.restore(evil)
    assert target.is_untouched

    source.sql("UPDATE document_metadata SET storage_key = '../../etc/passwd' WHERE client_id = 'globex'")
    with pytest.raises(
        BackupError, match=r"client globex names '../../etc/passwd', which is no file of robin"
    ):
        source.create()


def test_more_damage_than_a_backup_knows_of_is_refused(source: System, target: System) -> None:
    """What gets lost of an archive itself is no matter of the system that it is of."""
    source.store("hurt", b"1").unlink()
    archive, _ = source.create_damaged()
    contents = members(archive)
    del contents[next(name for name in contents if name.startswith("documents/"))]
    with pytest.raises(BackupError, match="is not what was uploaded"):
        target.restore(packed(contents))
    assert target.is_untouched


@pytest.mark.parametrize("kept", [0, 100, 600, 3000, 2_500_000, -1100, -12_000])
def test_an_archive_that_is_cut_off_restores_nothing(
    source: System, target: System, tmp_path: Path, kept: int
) -> None:
    """Wherever it ends."""
    archive = source.create()[:kept]
    with pytest.raises(BackupError):
        target.restore(archive)
    assert target.is_untouched
    file = tmp_path / "archive"
    file.write_bytes(archive)
    with pytest.raises(BackupError, match="cut off"):
        check_complete(file)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("documents/", lambda content: content[:-1] + b"#", "is not what was uploaded"),
        ("documents/", lambda content: content[:-1], "is not what was uploaded"),
        (
            "tables/audit_log/",
            lambda content: content.replace(b"nobody", b"Nobody"),
            "rows in it are not those",
        ),
        ("tables/clients/", lambda _: b"", "violates foreign key"),
        ("tables/users/", lambda _: b"nonsense\n", "invalid input syntax"),
        ("complete.json", lambda _: b"{}", "cannot read the backup"),
        ("manifest.json", lambda _: b"no json", "cannot read the backup"),
        (
            "manifest.json",
            lambda content: content.replace(b'"format": 1', b'"format": 2'),
            "cannot read the backup",
        ),
    ],
)
def test_an_archive_that_was_changed_restores_nothing(
    source: System, target: System, name: str, change: Callable[[bytes], bytes], said: str
) -> None:
    """Whatever it is that is not as it was."""
    archive = changed(source.create(), name, change)
    with pytest.raises(BackupError, match=said):
        target.restore(archive)
    assert target.is_untouched


@pytest.mark.parametrize("name", ["documents/../../escaped", "documents//etc/robin", "documents/x", "else"])
def test_a_name_that_is_none_of_robins_is_written_nowhere(
    source: System, target: System, tmp_path: Path, name: str
) -> None:
    """An archive may come from anywhere."""
    contents = members(source.create())
    manifest = contents.pop("manifest.json")
    with pytest.raises(BackupError):
        target.restore(packed({"manifest.json": manifest, name: b"evil", **contents}))
    assert target.is_untouched
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"evil"] == []


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "one too many"])
def test_files_and_rows_must_be_of_each_other(source: System, target: System, *, missing: bool) -> None:
    """A row without bytes would be a document that cannot be had."""
    contents = members(source.create())
    if missing:
        del contents[next(name for name in contents if name.startswith("documents/"))]
    else:
        manifest = contents.pop("manifest.json")
        extra = f"documents/{'0' * 32}/{'1' * 32}"
        contents = {"manifest.json": manifest, extra: b"x", **contents}
    with pytest.raises(BackupError, match="is not what was uploaded"):
        target.restore(packed(contents))
    assert target.is_untouched


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


def test_no_secret_is_in_it(source: System) -> None:
    """Of the pepper a slow, salted digest; of keys what the table has."""
    contents = members(source.create())
    assert PEPPER.encode() not in b"".join(contents.values())
    manifest = Manifest.parse(contents["manifest.json"])
    assert manifest.pepper.matches(PEPPER)
    assert not manifest.pepper.matches("another")
    assert json.loads(members(source.create())["manifest.json"])["pepper"] != manifest.pepper.model_dump()


class TestCommandLine:
    """`python -m data_store.backup`."""

    @staticmethod
    def run(system: System, *arguments: str, archive: bytes = b"", pepper: str = PEPPER) -> Any:
        """Run it as a process."""
        environment = {
            **os.environ,
            "DATABASE_URL": system.postgresql.url(system.database),
            "MIGRATION_DATABASE_URL": system.postgresql.owner_url(system.database),
            "API_KEY_PEPPER": pepper,
        }
        program = (sys.executable, "-m", "data_store.backup", *arguments, "--uploads", str(system.uploads))
        return subprocess.run(program, env=environment, input=archive, capture_output=True, check=False)

    @pytest.mark.parametrize(("pepper", "warned"), [(PEPPER, False), ("another", True)])
    def test_there_and_back(self, source: System, target: System, pepper: str, *, warned: bool) -> None:
        """The archive goes through the standard streams; what is said does not get into it."""
        backed_up = self.run(source, "create")
        said = backed_up.stderr.decode().splitlines()
        assert backed_up.returncode == 0
        assert said[0].startswith("backed up 3 documents (2.6 MB) as of ")
        assert said[-1].startswith("not in it, keep it beside it: API_KEY_PEPPER")
        restored = self.run(target, "restore", archive=backed_up.stdout, pepper=pepper)
        assert restored.returncode == 0, restored.stderr
        assert restored.stderr.decode().startswith("restored 3 documents (2.6 MB) as of ")
        assert (b"warning: API_KEY_PEPPER is not that of the backup" in restored.stderr) == warned
        assert target.rows() == source.rows()
        assert len(target.files()) == 3

    def test_a_whole_backup_leaves_word_of_its_time_and_one_that_is_incomplete_does_not(
        self, source: System, target: System
    ) -> None:
        """What a document API tells of it is the moment that the backup is of; what is missing is told by the exit code as well."""
        assert last_backup(source.uploads) == [(0.0, {})]
        archive = self.run(source, "create").stdout
        taken_at = Manifest.parse(members(archive)["manifest.json"]).taken_at.timestamp()
        assert last_backup(source.uploads) == [(pytest.approx(taken_at), {})]

        source.store("hurt", b"bytes").unlink()
        backed_up = self.run(source, "create")
        restored = self.run(target, "restore", archive=backed_up.stdout)
        for ended in (backed_up, restored):
            assert ended.returncode == INCOMPLETE
            *_, told, line = ended.stderr.decode().splitlines()
            assert told.startswith("incomplete: without the bytes of 1 files, which were lost or damaged")
            assert " of client hurt (documents/" in line
        assert last_backup(source.uploads) == [(pytest.approx(taken_at), {})]

    def test_a_folder_in_which_no_word_can_be_left_costs_no_backup(self, target: System) -> None:
        """It is said, and the archive is as good."""
        target.uploads.rmdir()
        backed_up = self.run(target, "create")
        assert backed_up.returncode == 0
        assert b"warning: how old this backup gets will not be told" in backed_up.stderr

    def test_a_restore_that_is_ended_leaves_nothing(self, source: System, target: System) -> None:
        """Not even the files that it has written already."""
        environment = {**os.environ, "DATABASE_URL": target.postgresql.owner_url(target.database)}
        program = (sys.executable, "-m", "data_store.backup", "restore", "--uploads", str(target.uploads))
        with subprocess.Popen(
            program, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin
            process.stdin.write(source.create()[:-CHUNK_BYTES])
            process.stdin.flush()
            eventually(target.files, "files are written", seconds=60)
            process.terminate()
            process.wait(60)
            assert process.stderr
            assert process.stderr.read() == b"error: interrupted\n"
            assert process.returncode == 130
        assert target.is_untouched
        assert not (target.uploads / "restoring").exists()

    def test_what_fails_is_one_line(self, source: System) -> None:
        """Without a stack."""
        failed = self.run(source, "restore", archive=b"nonsense")
        assert failed.returncode == 1
        (line,) = failed.stderr.decode().splitlines()
        assert line.startswith("error: this is no backup of robin")

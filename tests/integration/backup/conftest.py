"""What the tests of backup and restore share: systems on a real PostgreSQL, and what any tar makes of an archive."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from data_store.backup.create import create
from data_store.backup.damage import Damage
from data_store.backup.manifest import Manifest
from data_store.backup.progress import Progress
from data_store.backup.restore import restore
from data_store.migrations import Place, is_migrated
from tests.integration.conftest import MIGRATED, SERVICE, PostgreSQL

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


def run(
    system: System, *arguments: str, archive: bytes = b"", pepper: str = PEPPER, **more: str
) -> subprocess.CompletedProcess[bytes]:
    """Back up or restore as a process."""
    environment = {
        **os.environ,
        "DATABASE_URL": system.postgresql.url(system.database),
        "MIGRATION_DATABASE_URL": system.postgresql.owner_url(system.database),
        "API_KEY_PEPPER": pepper,
        **more,
    }
    program = (sys.executable, "-m", "data_store.backup", *arguments, "--uploads", str(system.uploads))
    return subprocess.run(program, env=environment, input=archive, capture_output=True, check=False)

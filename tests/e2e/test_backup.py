"""A backup of a stack that serves, and what another one makes of it."""

import hashlib
import os
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from threading import Event
from typing import Any, NamedTuple

import httpx
import psycopg2

from data_store.backup import INCOMPLETE
from local_stack.postgres import database_password, database_url
from local_stack.state import State
from tests.e2e.conftest import RunningStack, running_stack
from tests.waiting import eventually

CLIENTS = ("backup-a", "backup-b", "backup-c", "backup-d")


class Stored(NamedTuple):
    """A document that was acknowledged."""

    metadata: dict[str, Any]
    content: bytes


class Row(NamedTuple):
    """What the database says of a document."""

    client_id: str
    id: int
    storage_key: str
    sha256: str


def archived(stack: RunningStack, what: str, file: Path) -> CompletedProcess[str]:
    """Back a stack up, or restore into it."""
    return stack.run(sys.executable, "-m", "local_stack", what, str(file))


def upload(http: httpx.Client, stack: RunningStack, client: str, content: bytes, key: str = "") -> Stored:
    """Store a document."""
    answer = http.put(
        f"{stack.endpoints['nginx']}/clients/{client}/upload-document",
        files={"file": ("x.bin", content)},
        headers={"X-API-Key": key} if key else {},
    )
    assert answer.status_code == 200, answer.text
    return Stored(answer.json()["metadata"], content)


@contextmanager
def uploads_going_on(http: httpx.Client, stack: RunningStack) -> Iterator[list[Stored]]:
    """Let every client upload one document after the other; what is acknowledged is in the list."""
    ended, acknowledged = Event(), list[Stored]()

    def go_on(client: str) -> None:
        while not ended.is_set():
            acknowledged.append(upload(http, stack, client, os.urandom(3000)))

    with ThreadPoolExecutor(len(CLIENTS)) as threads:
        going_on = [threads.submit(go_on, client) for client in CLIENTS]
        try:
            yield acknowledged
        finally:
            ended.set()
    for each in going_on:
        each.result()


def query(stack: RunningStack, statement: str) -> list[Any]:
    """Ask the database as its owner."""
    port = int(stack.environment["POSTGRES_PORT"])
    url = database_url(port, database_password(State(stack.state)))
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def rows(stack: RunningStack) -> dict[int, Row]:
    """Return all documents in the database."""
    found = query(stack, "SELECT client_id, id, storage_key, sha256 FROM document_metadata")
    return {row[1]: Row(*row) for row in found}


def test_a_backup_of_a_stack_that_serves_is_restored_in_another(
    stack: RunningStack, http: httpx.Client, tmp_path: Path
) -> None:
    """Nothing that was acknowledged before is missing, nothing is without its bytes, and work goes on there."""
    archive = tmp_path / "backup.tar"
    stack.admin("create-client", "backup-keys")
    stack.admin(
        "create-user", "backup-keys", "--email", "ada@example.org", "--name", "Ada", "--role", "writer"
    )
    key = stack.admin("issue-key", "ada@example.org", "--quiet")
    began = time.time()
    with uploads_going_on(http, stack) as acknowledged:
        eventually(lambda: len(acknowledged) >= 100, "uploads go on", seconds=60)
        before = list(acknowledged)
        backed_up = archived(stack, "backup", archive)
        during = len(acknowledged) - len(before)
    assert backed_up.returncode == 0, backed_up.stderr
    assert during > 0
    assert backed_up.stderr.splitlines()[-1].startswith("not in it, keep it beside it: API_KEY_PEPPER")
    assert archive.stat().st_mode & 0o777 == 0o600
    eventually(lambda: _last_backup(http, stack) >= began, "its time is told", seconds=60)
    _check_what_is_lost_is_told(stack, before[0], tmp_path / "damaged.tar")

    with running_stack({"AUTH_MODE": "required"}) as target:
        cut_off = tmp_path / "cut-off.tar"
        cut_off.write_bytes(archive.read_bytes()[:-20_000])
        assert archived(target, "restore", cut_off).returncode == 1
        assert rows(target) == {}

        restored = archived(target, "restore", archive)
        assert restored.returncode == 0, restored.stderr
        assert "warning: API_KEY_PEPPER is not that of the backup" in restored.stderr
        _check_documents(target, archive, before)

        (target.state / "api-key-pepper").write_text((stack.state / "api-key-pepper").read_text())
        target.up()
        _check_work_goes_on(http, target, before, key)

        again = archived(target, "restore", archive)
        assert again.returncode == 1
        assert "the system is not empty" in again.stderr


def _last_backup(http: httpx.Client, stack: RunningStack) -> float:
    """Return the time of the newest backup that Prometheus knows of."""
    url = f"{stack.endpoints['prometheus']}/api/v1/query"
    found = http.get(url, params={"query": "max(last_backup_timestamp_seconds)"}).json()["data"]["result"]
    return float(found[0]["value"][1]) if found else 0


def _check_what_is_lost_is_told(stack: RunningStack, document: Stored, archive: Path) -> None:
    """By the exit code, and a name of its own; the file comes back afterwards, as others use the stack."""
    file = stack.state / "uploads" / "documents" / rows(stack)[document.metadata["id"]].storage_key
    aside = file.rename(archive.with_name("aside"))
    try:
        backed_up = archived(stack, "backup", archive)
    finally:
        aside.rename(file)
    assert backed_up.returncode == INCOMPLETE, backed_up.stderr
    assert (
        f"document {document.metadata['id']} of client {document.metadata['client_id']}" in backed_up.stderr
    )
    assert not archive.exists()
    assert archive.with_name("damaged.tar.incomplete").exists()


def _check_documents(target: RunningStack, archive: Path, before: list[Stored]) -> None:
    """Everything acknowledged is there with its bytes, every row has its file, every file its row, and counters tell."""
    found, folder = rows(target), target.state / "uploads" / "documents"
    for document in before:
        row = found[document.metadata["id"]]
        assert row.client_id == document.metadata["client_id"]
        assert (folder / row.storage_key).read_bytes() == document.content
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert files.keys() == {row.storage_key for row in found.values()}
    for row in found.values():
        assert hashlib.sha256(files[row.storage_key].read_bytes()).hexdigest() == row.sha256
    with tarfile.open(archive) as tar:
        assert sum(name.startswith("documents/") for name in tar.getnames()) == len(files)
    counted = query(
        target,
        "SELECT c.id FROM clients c LEFT JOIN (SELECT client_id, count(*) n, sum(file_size) b FROM document_metadata"
        " GROUP BY 1) d ON d.client_id = c.id WHERE (c.stored_documents, c.stored_bytes)"
        " IS DISTINCT FROM (coalesce(d.n, 0), coalesce(d.b, 0))",
    )
    assert counted == []
    audited = query(
        target, "SELECT count(DISTINCT document_id) FROM audit_log WHERE action = 'document.create'"
    )
    assert audited == [(len(found),)]


def _check_work_goes_on(http: httpx.Client, target: RunningStack, before: list[Stored], key: str) -> None:
    """With the pepper of the backup its keys are valid; new documents get new numbers."""
    new = upload(http, target, "backup-keys", b"new", key)
    assert new.metadata["id"] > max(document.metadata["id"] for document in before)
    address = f"{target.endpoints['nginx']}/clients/backup-keys/documents/{new.metadata['id']}"
    assert http.get(address, headers={"X-API-Key": key}).json()["sha256"] == new.metadata["sha256"]
    assert http.get(address).status_code == 401

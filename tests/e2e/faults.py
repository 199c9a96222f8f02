"""Ways to break a running stack for real, each mended at the end of its block."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import psutil
from sqlalchemy import Connection, NullPool, create_engine

from local_stack.postgres import database_password, database_url
from local_stack.state import State
from local_stack.supervision import Supervisor
from tests.e2e.conftest import RunningStack
from tests.waiting import eventually

SECONDS = 20


def listeners(url: str) -> set[int]:
    """Processes that listen on the port of an address."""
    port = httpx.URL(url).port
    return {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid
    }


@contextmanager
def held(url: str) -> Iterator[None]:
    """Hold the process that listens there: it takes connections, and answers nothing."""
    pids = listeners(url)
    assert pids, f"nothing listens at {url}"
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def restart(url: str) -> None:
    """End the process that listens there; the stack starts another one."""
    old = listeners(url)
    assert old, f"nothing listens at {url}"
    for pid in old:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: listeners(url) - old, f"{url} is restarted", seconds=SECONDS)


@contextmanager
def stopped(stack: RunningStack, *names: str) -> Iterator[None]:
    """End programs of the stack, which are not started again before the block is over."""
    Supervisor(State(stack.state)).stop(*names)
    try:
        yield
    finally:
        stack.up()


@contextmanager
def database(stack: RunningStack) -> Iterator[Connection]:
    """A connection to the stack's database, as the data store has it."""
    port = int(stack.environment["POSTGRES_PORT"])
    engine = create_engine(
        database_url(port, database_password(State(stack.state))),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        yield connection


@contextmanager
def every_insert(stack: RunningStack, does: str) -> Iterator[None]:
    """Let PostgreSQL do something (PL/pgSQL) whenever a document's record is written."""
    with database(stack) as connection:
        connection.exec_driver_sql(
            f"CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN NEW; END $$"
        )
        try:
            connection.exec_driver_sql(
                "CREATE TRIGGER fault BEFORE INSERT ON document_metadata FOR EACH ROW EXECUTE FUNCTION fault()"
            )
            yield
        finally:
            connection.exec_driver_sql("DROP FUNCTION fault CASCADE")


def slow_inserts(stack: RunningStack, seconds: float) -> AbstractContextManager[None]:
    """Writing a document's record takes this long."""
    return every_insert(stack, f"PERFORM pg_sleep({seconds})")


def failing_inserts(stack: RunningStack) -> AbstractContextManager[None]:
    """Writing a document's record fails."""
    return every_insert(stack, "RAISE EXCEPTION 'no record is written during this test'")


@contextmanager
def locked_documents(stack: RunningStack) -> Iterator[None]:
    """Nobody gets at the documents' records: a transaction holds their table."""
    with database(stack) as connection:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("LOCK TABLE document_metadata IN ACCESS EXCLUSIVE MODE")
        try:
            yield
        finally:
            connection.exec_driver_sql("ROLLBACK")


@contextmanager
def rules(stack: RunningStack, name: str, text: str) -> Iterator[None]:
    """Give Prometheus a file of rules, in the place of the one of that name."""
    file = stack.state / "config" / "prometheus" / "rules" / name
    before = file.read_text() if file.exists() else None
    reload = f"{stack.endpoints['prometheus']}/-/reload"
    try:
        file.write_text(text)
        httpx.post(reload).raise_for_status()
        yield
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before)
        httpx.post(reload).raise_for_status()


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """A small file system in the place of a folder, with the same folders in it, nearly all of it used.

    Only root may mount one.
    """
    size = 32 * 1024 * 1024
    inside = [path.relative_to(folder) for path in folder.rglob("*") if path.is_dir()]
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", folder], check=True)
    try:
        for path in inside:
            (folder / path).mkdir(parents=True, exist_ok=True)
        with (folder / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, int(size * 0.97))
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def memory_limit(pid: int, limit: int) -> Iterator[None]:
    """Put a process into a memory cgroup of that many bytes. Only root may do so."""
    hierarchy, limit_file = _memory_hierarchy()
    before = _group_of(pid)
    group = hierarchy / f"robin-test-{pid}"
    group.mkdir()
    try:
        (group / limit_file).write_text(str(limit))
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        (hierarchy / before / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def _memory_hierarchy() -> tuple[Path, str]:
    """Where memory cgroups are, and the name of the file with the limit: version 1, else version 2."""
    first = Path("/sys/fs/cgroup/memory")
    return (first, "memory.limit_in_bytes") if first.is_dir() else (first.parent, "memory.max")


def _group_of(pid: int) -> str:
    """A process's own memory cgroup, relative to the hierarchy."""
    rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    groups = {controllers: path for _, controllers, path in rows}
    return groups.get("memory", groups[""]).lstrip("/")

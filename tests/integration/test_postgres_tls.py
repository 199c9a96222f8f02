"""The database by TLS, with libpq that verifies it: as the local stack has it, ended by nginx, and as Docker has it."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg2
import pytest
import trustme
import yaml

from docker_stack.compose import TLS_FILE
from local_stack.certificates import Authority, KeyPair
from local_stack.health import TlsProbe, Trust
from local_stack.nginx import DatabaseTls
from local_stack.postgres import ordinary_user, run_as
from local_stack.tls import Tls
from tests.certificates import authority_file, issue
from tests.edge import listens
from tests.integration.conftest import PostgreSQL, data_store_on
from tests.ports import free_port
from tests.records import DOCUMENT, DOCUMENTS, assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually, until_up

START_SECONDS = 10
SERVE = Callable[[KeyPair], AbstractContextManager[int]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whom the data store trusts."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """The file that says so."""
    return authority_file(authority, tmp_path / "ca.pem")


@pytest.fixture
def serve(tmp_path: Path, postgresql: PostgreSQL) -> SERVE:
    """How to run what ends TLS, with a certificate, in front of the real PostgreSQL."""

    @contextmanager
    def serving(pair: KeyPair) -> Iterator[int]:
        port = free_port()
        proxy = DatabaseTls(
            listen=f"127.0.0.1:{port}",
            upstream=f"unix:{postgresql.folder}/.s.PGSQL.5432",
            certificate=pair.certificate,
            key=pair.key,
            config_dir=tmp_path / "config dir",
            run_dir=tmp_path,
        )
        proxy.write()
        with subprocess.Popen(proxy.command) as process:
            try:
                until_up(process, lambda: listens(port), seconds=START_SECONDS)
                yield port
            finally:
                process.terminate()

    return serving


@pytest.fixture
def good(authority: trustme.CA, tmp_path: Path) -> KeyPair:
    """A certificate as it should be."""
    return issue(authority, tmp_path / "good", "localhost", "127.0.0.1")


def url(port: int, database: str, ca_file: Path, host: str = "127.0.0.1") -> str:
    """Return the URL as the local stack makes it."""
    tls = Tls(Authority(ca_file.parent), KeyPair.within(ca_file.parent), own=False)
    return f"postgresql://robin_service@{host}:{port}/{database}{tls.database_query}"


def test_a_good_certificate_is_accepted(serve: SERVE, good: KeyPair, ca_file: Path, database: str) -> None:
    """Statements go through, encrypted."""
    with serve(good) as port, closing(psycopg2.connect(url(port, database, ca_file))) as connection:
        assert connection.info.ssl_in_use
        assert connection.info.ssl_attribute("protocol") == "TLSv1.3"
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user")
            assert cursor.fetchone() == ("robin_service",)


@pytest.fixture
def tls_url(serve: SERVE, good: KeyPair, ca_file: Path, database: str) -> Iterator[str]:
    """URL of the database behind what ends TLS."""
    with serve(good) as port:
        yield url(port, database, ca_file)


def test_the_data_store_works_over_it(tls_url: str, telemetry: TelemetrySpy) -> None:
    """Its pool, its health and a record."""
    with data_store_on(tls_url, telemetry) as client:
        assert client.get("/health").json()["status"] == "healthy"
        assert client.get("/clients/acme/documents/1").status_code == 404


def test_connections_that_ended_behind_it_fail_no_request(
    tls_url: str, postgresql: PostgreSQL, database: str, telemetry: TelemetrySpy
) -> None:
    """What PostgreSQL closes, nginx closes as well."""
    with data_store_on(tls_url, telemetry) as client:
        for _ in range(3):
            assert client.post(DOCUMENTS, json=DOCUMENT).status_code == 201
            assert postgresql.terminate_connections(database) >= 1
            eventually(lambda: postgresql.connections(database) == 0)
        assert client.get(f"{DOCUMENTS}/1").status_code == 200
    assert any("the database was lost" in message for message in telemetry.messages("WARN"))


def test_a_silence_behind_it_is_cut(tls_url: str, postgresql: PostgreSQL, telemetry: TelemetrySpy) -> None:
    """libpq waits inside of TLS for an answer, and is woken."""
    settings = {
        "database_pool_timeout_seconds": 1,
        "lock_timeout_seconds": 0.5,
        "statement_timeout_seconds": 1,
    }
    with data_store_on(tls_url, telemetry, **settings) as client:
        assert client.post(DOCUMENTS, json=DOCUMENT).status_code == 201
        with postgresql.held():
            assert_problem(client.get(f"{DOCUMENTS}/1", timeout=30), 503)
        eventually(lambda: client.get(f"{DOCUMENTS}/1").status_code == 200)
    assert "The database does not answer: the connection is cut" in telemetry.messages("WARN")


@dataclass(frozen=True)
class Wrong:
    """What is wrong with a certificate, and what libpq says of it."""

    reason: str
    name: str = "127.0.0.1"
    ended: bool = False
    stranger: bool = False

    def issue(self, authority: trustme.CA, folder: Path) -> KeyPair:
        """Return one like that."""
        return issue(trustme.CA() if self.stranger else authority, folder, self.name, ended=self.ended)


WRONG = (
    Wrong("certificate verify failed", ended=True),
    Wrong("does not match host name", name="postgres.example.org"),
    Wrong("certificate verify failed", stranger=True),
)


@pytest.mark.parametrize("wrong", WRONG)
def test_any_other_certificate_is_refused(
    serve: SERVE, authority: trustme.CA, ca_file: Path, tmp_path: Path, wrong: Wrong
) -> None:
    """One that has ended, one of another host, one of a stranger's authority: nothing is said to any of them."""
    with serve(wrong.issue(authority, tmp_path / "server")) as port:
        with pytest.raises(psycopg2.OperationalError, match=wrong.reason):
            psycopg2.connect(url(port, "robin", ca_file))
        problem = TlsProbe(port, Trust("127.0.0.1", str(ca_file))).problem()
        assert problem is not None
        assert "CERTIFICATE_VERIFY_FAILED" in problem


def test_who_does_not_encrypt_is_refused(serve: SERVE, good: KeyPair, database: str) -> None:
    """Neither from the beginning, nor by asking first as libpq did before version 17."""
    with serve(good) as port:
        for sslmode in ("disable", "require"):
            query = urlencode({"sslmode": sslmode, "connect_timeout": 10})
            with pytest.raises(
                psycopg2.OperationalError, match=r"closed the connection|invalid response|reset"
            ):
                psycopg2.connect(f"postgresql://robin_service@127.0.0.1:{port}/{database}?{query}")


def test_the_stacks_probe_sees_it(serve: SERVE, good: KeyPair, ca_file: Path) -> None:
    """Up with a good certificate, and gone when nobody listens."""
    trust = Trust("localhost", str(ca_file))
    with serve(good) as port:
        assert TlsProbe(port, trust).problem() is None
    assert "refused" in (TlsProbe(port, trust).problem() or "")


def programs_with_tls() -> Path | None:
    """Return the programs of a PostgreSQL of the system's: Debian's are built with TLS, unlike the wheel's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda file: int(file.parts[-3]))
    return found[-1].parent if found else None


@dataclass
class Dockers:
    """A PostgreSQL whose options and rules of access are those of docker-compose.tls.yml."""

    folder: Path
    programs: Path
    user: str | None
    port: int

    def initialise(self) -> None:
        """Make the cluster, as its container does."""
        command = [
            self.programs / "initdb",
            "-D",
            self.folder / "data",
            "-U",
            "postgres",
            "--auth-local=trust",
            "--no-sync",
        ]
        run_as(self.user, [str(word) for word in command], directory=self.folder)

    @contextmanager
    def serving(self, pair: KeyPair) -> Iterator[None]:
        """Run it with a certificate, which it owns as the job in Docker lays it."""
        for file in (pair.certificate, pair.key):
            copy = shutil.copy(file, self.folder / file.name)
            Path(copy).chmod(0o400)
            if self.user:
                shutil.chown(copy, self.user)
        command = [
            self.programs / "postgres",
            "-D",
            self.folder / "data",
            "-p",
            str(self.port),
            *self._options(),
        ]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(command, user=self.user, cwd=self.folder, stdout=log, stderr=log)
        try:
            until_up(process, self._answers, seconds=START_SECONDS)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(START_SECONDS)

    def _options(self) -> list[str]:
        postgres = yaml.safe_load(TLS_FILE.read_text())["services"]["postgres"]
        (rules,) = [volume.split(":")[0] for volume in postgres["volumes"] if volume.startswith("./")]
        shutil.copy(TLS_FILE.parent / rules, self.folder / "pg_hba.conf")
        options = [
            option.replace("/etc/robin/tls", str(self.folder)).replace("/etc/robin", str(self.folder))
            for option in postgres["command"]
            if option.startswith(("-cssl", "-chba_file"))
        ]
        return [*options, "-clisten_addresses=127.0.0.1", f"-cunix_socket_directories={self.folder}"]

    def _answers(self) -> bool:
        try:
            with closing(
                psycopg2.connect(host=str(self.folder), port=self.port, user="postgres")
            ) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("DROP ROLE IF EXISTS robin_service")
                    cursor.execute("CREATE ROLE robin_service LOGIN PASSWORD 'secret'")
        except psycopg2.OperationalError:
            return False
        return True

    def connect(self, **changes: str) -> Any:
        """Connect as the data store does: by the network, with a password."""
        values = {"host": "127.0.0.1", "user": "robin_service", "password": "secret", "dbname": "postgres"}
        return psycopg2.connect(port=self.port, **values | changes)


@pytest.fixture(scope="module")
def dockers() -> Iterator[Dockers]:
    """The cluster."""
    programs = programs_with_tls()
    if programs is None:
        pytest.skip("no PostgreSQL of the system's is installed, and the wheel's is built without TLS")
    # Not below pytest's folder: that is closed to the user PostgreSQL runs as when root runs the tests.
    folder = Path(tempfile.mkdtemp(prefix="robin-pg-tls-"))
    user = ordinary_user() if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
        folder.chmod(0o755)
    server = Dockers(folder, programs, user, free_port())
    try:
        server.initialise()
        yield server
    finally:
        shutil.rmtree(folder)


class TestDocker:
    """What docker-compose.tls.yml makes of PostgreSQL, in a PostgreSQL that ends TLS itself."""

    def test_a_good_certificate_is_accepted(self, dockers: Dockers, good: KeyPair, ca_file: Path) -> None:
        """By libpq's own variables, as the container has them."""
        with dockers.serving(good), closing(verified(dockers, ca_file)) as connection:
            assert connection.info.ssl_in_use

    @pytest.mark.parametrize("wrong", WRONG)
    def test_any_other_is_refused(
        self, dockers: Dockers, authority: trustme.CA, ca_file: Path, tmp_path: Path, wrong: Wrong
    ) -> None:
        """One that has ended, one of another host, one of a stranger's authority."""
        pair = wrong.issue(authority, tmp_path / "server")
        with dockers.serving(pair), pytest.raises(psycopg2.OperationalError, match=wrong.reason):
            verified(dockers, ca_file)

    def test_the_network_must_encrypt_and_know_the_password(
        self, dockers: Dockers, good: KeyPair, ca_file: Path
    ) -> None:
        """The rules of access let nobody else in."""
        with dockers.serving(good):
            with pytest.raises(psycopg2.OperationalError, match="no encryption"):
                dockers.connect(sslmode="disable")
            with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
                verified(dockers, ca_file, password="wrong")


def verified(dockers: Dockers, ca_file: Path, **changes: str) -> Any:
    """Connect as the variables in docker-compose.tls.yml make libpq do it."""
    environment = yaml.safe_load(TLS_FILE.read_text())["services"]["data-store"]["environment"]
    assert Path(environment["PGSSLROOTCERT"]).name == ca_file.name
    return dockers.connect(sslmode=environment["PGSSLMODE"], sslrootcert=str(ca_file), **changes)

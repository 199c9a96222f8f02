"""The database by TLS, as the local stack has it: libpq with sslmode=verify-full, nginx that ends it, a real PostgreSQL."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psycopg2
import pytest
import trustme

from local_stack.certificates import Authority, KeyPair
from local_stack.health import TlsProbe, Trust
from local_stack.nginx import DatabaseTls
from local_stack.tls import Tls
from tests.certificates import authority_file, issue
from tests.edge import listens
from tests.integration.conftest import PostgreSQL, data_store_on
from tests.ports import free_port
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import until_up

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


def test_the_data_store_works_over_it(
    serve: SERVE, good: KeyPair, ca_file: Path, database: str, telemetry: TelemetrySpy
) -> None:
    """Its pool, its health and a record."""
    with serve(good) as port, data_store_on(url(port, database, ca_file), telemetry) as client:
        assert client.get("/health").json()["status"] == "healthy"
        assert client.get("/clients/acme/documents/1").status_code == 404


@dataclass(frozen=True)
class Wrong:
    """What is wrong with a certificate, and what libpq says of it."""

    reason: str
    name: str = "127.0.0.1"
    ended: bool = False
    stranger: bool = False


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong("certificate verify failed", ended=True),
        Wrong("does not match host name", name="postgres.example.org"),
        Wrong("certificate verify failed", stranger=True),
    ],
)
def test_any_other_certificate_is_refused(
    serve: SERVE, authority: trustme.CA, ca_file: Path, tmp_path: Path, wrong: Wrong
) -> None:
    """One that has ended, one of another host, one of a stranger's authority: nothing is said to any of them."""
    signer = trustme.CA() if wrong.stranger else authority
    pair = issue(signer, tmp_path / "server", wrong.name, ended=wrong.ended)
    with serve(pair) as port:
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

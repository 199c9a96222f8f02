"""Mutual TLS between the services, with real certificates: who is let in, and whom the document API talks to."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest
import trustme

from local_stack.certificates import KeyPair
from tests.certificates import authority_file, issue
from tests.ports import free_port
from tests.records import assert_problem
from tests.waiting import until_up

CHECKOUT: Final = Path(__file__).parents[2]
SECONDS: Final = 30
TOKEN: Final = {"SERVICE_TOKEN": "the token of the tests"}


@dataclass(frozen=True)
class Authority:
    """Whoever issues the certificates of the tests."""

    signer: trustme.CA
    file: Path
    folder: Path

    def issue(self, name: str, host: str, *, ended: bool = False) -> KeyPair:
        """Return a certificate for this host."""
        return issue(self.signer, self.folder / name, host, ended=ended)


def authority_in(folder: Path) -> Authority:
    """Return a new authority."""
    signer = trustme.CA()
    return Authority(signer, authority_file(signer, folder / "authority.pem"), folder)


@pytest.fixture
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Ours."""
    return authority_in(tmp_path_factory.mktemp("ours"))


@pytest.fixture
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Somebody else's."""
    return authority_in(tmp_path_factory.mktemp("theirs"))


@contextmanager
def running(module: str, up: str, **variables: str) -> Iterator[int]:
    """Run a service until it says that it is up, and lend its port."""
    port = free_port()
    log = Path(variables.pop("LOG"))
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=CHECKOUT,
            env={"PATH": os.environ["PATH"], "PORT": str(port), "OTEL_SDK_DISABLED": "true", **variables},
            stdout=output,
            stderr=output,
        )
    try:
        until_up(process, lambda: up in log.read_text(), seconds=SECONDS)
        yield port
    finally:
        process.kill()
        process.wait(SECONDS)


@contextmanager
def uploading(
    database_url: str, folder: Path, served: Mapping[str, str], shown: Mapping[str, str]
) -> Iterator[httpx.Client]:
    """Run both services, the data store over TLS, and lend a client of the document API."""
    up = "Application startup complete"
    with ExitStack() as stack:
        store = running(
            "data_store", up, DATABASE_URL=database_url, LOG=str(folder / "store.log"), **TOKEN, **served
        )
        port = stack.enter_context(store)
        api = running(
            *("document_api", up),
            DATA_STORE_URL=f"https://127.0.0.1:{port}",
            UPLOAD_DIR=str(folder / "uploads"),
            LOG=str(folder / "api.log"),
            **TOKEN,
            **shown,
        )
        url = f"http://127.0.0.1:{stack.enter_context(api)}"
        yield stack.enter_context(httpx.Client(base_url=url, timeout=SECONDS))


def server(pair: KeyPair, client_ca: Path) -> dict[str, str]:
    """Return the data store's settings for this certificate."""
    return {
        "TLS_CERTIFICATE_FILE": str(pair.certificate),
        "TLS_KEY_FILE": str(pair.key),
        "TLS_CLIENT_CA_FILE": str(client_ca),
    }


def client(ca: Path, pair: KeyPair | None) -> dict[str, str]:
    """Return the document API's settings for this certificate."""
    trusted = {"DATA_STORE_CA_FILE": str(ca)}
    if pair is None:
        return trusted
    return trusted | {
        "DATA_STORE_CERTIFICATE_FILE": str(pair.certificate),
        "DATA_STORE_KEY_FILE": str(pair.key),
    }


def put(api: httpx.Client) -> httpx.Response:
    """Upload a document."""
    return api.put("/clients/acme/upload-document", files={"file": ("a.txt", b"Hello there.", "text/plain")})


def test_services_that_know_each_other_work_over_tls(
    database_url: str, tmp_path: Path, authority: Authority
) -> None:
    """Both certificates are of the authority that both trust."""
    served = server(authority.issue("store", "127.0.0.1"), authority.file)
    shown = client(authority.file, authority.issue("api", "document-api"))
    with uploading(database_url, tmp_path, served, shown) as api:
        assert put(api).status_code == 200


@pytest.mark.parametrize("reason", ["none", "stranger's", "expired"])
def test_a_caller_without_a_good_certificate_is_not_let_in(
    reason: str, database_url: str, tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    """The right token alone is not enough."""
    pair = {
        "none": None,
        "stranger's": stranger.issue("stranger", "document-api"),
        "expired": authority.issue("late", "document-api", ended=True),
    }[reason]
    served = server(authority.issue("store", "127.0.0.1"), authority.file)
    with uploading(database_url, tmp_path, served, client(authority.file, pair)) as api:
        assert put(api).status_code >= 500


@pytest.mark.parametrize("reason", ["stranger's", "expired", "another host's"])
def test_a_data_store_without_a_good_certificate_is_told_nothing(
    reason: str, database_url: str, tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    """Somebody who only says to be the data store gets no document: it is as if it could not be reached."""
    pair = {
        "stranger's": stranger.issue("false", "127.0.0.1"),
        "expired": authority.issue("old", "127.0.0.1", ended=True),
        "another host's": authority.issue("other", "other.example"),
    }[reason]
    served = server(pair, authority.file)
    shown = client(authority.file, authority.issue("api", "document-api"))
    with uploading(database_url, tmp_path, served, shown) as api:
        assert_problem(put(api), 503)
        assert [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("module", "variable"),
    [
        ("document_api", "DATA_STORE_CA_FILE"),
        ("document_api", "JWT_KEY_FILE"),
        ("document_api", "TLS_CERTIFICATE_FILE"),
    ],
)
def test_a_file_of_no_use_ends_the_start_with_a_line_that_names_its_variable(
    module: str, variable: str, tmp_path: Path
) -> None:
    """Before anything is served."""
    file = tmp_path / "file"
    file.write_text("nonsense")
    tokens = {"JWT_ISSUER": "https://issuer.example", "JWT_AUDIENCE": "robin"} if "JWT" in variable else {}
    key = {"TLS_KEY_FILE": str(file)} if "TLS" in variable else {}
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=CHECKOUT,
        env={
            "PATH": os.environ["PATH"],
            "UPLOAD_DIR": str(tmp_path / "uploads"),
            variable: str(file),
            **tokens,
            **key,
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert variable in line

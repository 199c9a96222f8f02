"""Uploads that a virus scanner looks at. It is one of the tests' own that speaks clamd's protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from observability.signals import VIRUS_SCAN_DURATION
from tests.clamd import EICAR, FakeClamd, fake_clamd
from tests.integration.test_document_api_http import document_api_on, files
from tests.ports import free_port
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

UPLOAD: Final = "/clients/acme/upload-document"
TEXT: Final = b"The harbour of Bergen is old."


@pytest.fixture
def scanner() -> Iterator[FakeClamd]:
    """A scanner that listens on a port."""
    with fake_clamd() as server:
        yield server


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """The folder of the bytes."""
    return tmp_path / "uploads"


@pytest.fixture
def api(
    data_store: httpx.Client, uploads: Path, telemetry: TelemetrySpy, scanner: FakeClamd
) -> Iterator[httpx.Client]:
    """Client of a document API that asks the scanner."""
    with document_api_on(
        str(data_store.base_url), uploads, telemetry, clamd_address=scanner.address, clamd_timeout_seconds=2.0
    ) as client:
        yield client


def upload(api: httpx.Client, content: bytes = TEXT) -> httpx.Response:
    """Upload a document."""
    return api.put(UPLOAD, files={"file": ("a.txt", content, "text/plain")})


def results(telemetry: TelemetrySpy) -> list[Any]:
    """Return what the scanner's steps say."""
    eventually(lambda: telemetry.spans("upload_document"))
    return [(span.attributes or {})["scan.result"] for span in telemetry.spans("virus_scan")]


def test_a_clean_upload_is_stored(api: httpx.Client, telemetry: TelemetrySpy, scanner: FakeClamd) -> None:
    """The scanner has seen every byte of it."""
    content = TEXT * 5_000
    assert upload(api, content).status_code == 200
    assert scanner.scanned == [content]
    assert results(telemetry) == ["clean"]
    assert telemetry.series(VIRUS_SCAN_DURATION) == {("clean",): 1}


def test_an_infected_upload_is_refused_and_leaves_nothing(
    api: httpx.Client, telemetry: TelemetrySpy, uploads: Path
) -> None:
    """Neither bytes nor a record, not for a moment; the log names what was found."""
    assert_problem(upload(api, TEXT + EICAR), 422)
    assert files(uploads) == []
    assert telemetry.spans("file_save") == []
    assert api.get("/clients/acme/documents/1").status_code == 404
    assert results(telemetry) == ["infected"]
    assert "Infected upload refused: Eicar-Signature FOUND" in [
        log.log_record.body for log in telemetry.logs("WARN")
    ]


def test_an_upload_that_the_scanner_does_not_take_is_refused(
    api: httpx.Client, telemetry: TelemetrySpy, uploads: Path, scanner: FakeClamd
) -> None:
    """It says so while more is being sent, and hangs up."""
    scanner.max_bytes = 1000
    assert_problem(upload(api, TEXT * 6_000), 413)
    assert files(uploads) == []
    assert results(telemetry) == ["too_large"]


@pytest.mark.parametrize(
    "canned", [b"UNKNOWN COMMAND\0", b"stream: ERROR\0", b"half an answer", b"x" * 10_000]
)
def test_without_an_answer_of_the_scanner_nothing_is_kept(
    api: httpx.Client, telemetry: TelemetrySpy, uploads: Path, scanner: FakeClamd, canned: bytes
) -> None:
    """Nor with one that says neither; another try may find it well."""
    scanner.canned = canned
    assert_problem(upload(api), 503)
    assert files(uploads) == []
    assert results(telemetry) == ["no_answer"]
    scanner.canned = b""
    assert upload(api).status_code == 200


def test_a_scanner_that_is_away_lets_nothing_through_and_is_told_by_health(
    data_store: httpx.Client, uploads: Path, telemetry: TelemetrySpy
) -> None:
    """Fail closed; what is there can be read."""
    with document_api_on(
        str(data_store.base_url), uploads, telemetry, clamd_address=f"127.0.0.1:{free_port()}"
    ) as api:
        answer = upload(api)
        health = api.get("/health").json()
    assert_problem(answer, 503)
    assert answer.headers["retry-after"]
    assert files(uploads) == []
    assert health["components"]["virus_scanner"] == "degraded"


def test_a_scanner_may_listen_at_a_path(
    data_store: httpx.Client, uploads: Path, telemetry: TelemetrySpy, tmp_path: Path
) -> None:
    """As clamd does by default; health asks it as well."""
    with (
        fake_clamd(tmp_path / "clamd") as scanner,
        document_api_on(str(data_store.base_url), uploads, telemetry, clamd_address=scanner.address) as api,
    ):
        assert_problem(upload(api, EICAR), 422)
        assert upload(api).status_code == 200
        assert api.get("/health").json()["components"]["virus_scanner"] == "healthy"

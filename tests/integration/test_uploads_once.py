"""An upload makes one document, however often it is sent, and whatever dies on the way; with the real data store."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from document_api.documents.sameness import MAX_KEY_CHARS
from observability.signals import DOCUMENTS_UPLOADED, STORAGE_LEFTOVERS, Swept
from tests.integration.conftest import PostgreSQL
from tests.integration.test_document_api_failures import hangs, peer
from tests.integration.test_document_api_http import TEXT, document_api_on, files, upload
from tests.ports import free_port
from tests.records import DOCUMENT, assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually, until_up

CHECKOUT: Final = Path(__file__).parents[2]
KEY: Final = "8e03978e-40d5-43dd-bc93-6894a57f9324"


def keyed(key: str = KEY) -> dict[str, Any]:
    """Return what `upload` is told for a key."""
    return {"headers": {"Idempotency-Key": key}}


@pytest.fixture
def apis(data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy) -> Iterator[list[httpx.Client]]:
    """Clients of two document APIs with one storage and one data store."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(document_api_on(str(data_store.base_url), tmp_path, telemetry))
            for _ in range(2)
        ]


@pytest.mark.parametrize("again", [KEY, f'"{KEY}"'], ids=["plain", "quoted"])
def test_a_repeated_upload_is_answered_with_the_first_document(
    apis: list[httpx.Client], tmp_path: Path, telemetry: TelemetrySpy, again: str
) -> None:
    """The same body, a header that says so, and nothing stored or counted a second time."""
    first, second = upload(apis[0], **keyed()), upload(apis[1], **keyed(again))

    assert (first.status_code, second.status_code) == (200, 200)
    assert second.json() == first.json()
    assert ("idempotent-replayed" in first.headers, second.headers["idempotent-replayed"]) == (False, "true")
    (path,) = files(tmp_path)
    assert path.read_bytes() == TEXT
    assert telemetry.series(DOCUMENTS_UPLOADED) == {("acme", "text/plain"): 1}


def test_the_same_upload_at_the_same_time_makes_one_document(
    apis: list[httpx.Client], tmp_path: Path, data_store: httpx.Client
) -> None:
    """On two instances at once: all are answered with it, and its bytes are there."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: upload(apis[n % 2], **keyed()), range(16)))

    assert [answer.status_code for answer in answers] == [200] * 16
    (document,) = {answer.json()["document_id"] for answer in answers}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    (path,) = files(tmp_path)
    key = data_store.get(f"/clients/acme/documents/{document}").json()["storage_key"]
    assert path == tmp_path / "documents" / key


def test_another_document_under_the_same_key_is_refused(apis: list[httpx.Client], tmp_path: Path) -> None:
    """422, and the first one stays the only one."""
    assert upload(apis[0], **keyed()).status_code == 200
    problem = assert_problem(upload(apis[0], b"Something else.", **keyed()), 422)
    assert problem["detail"] == "This Idempotency-Key was used for another document."
    assert [path.read_bytes() for path in files(tmp_path)] == [TEXT]


@pytest.mark.parametrize("key", ["", "two words", "ä".encode(), "k" * (MAX_KEY_CHARS + 1)])
def test_a_key_that_is_none_is_refused_before_the_body_is_read(
    apis: list[httpx.Client], tmp_path: Path, key: str | bytes
) -> None:
    """400, and nothing is stored."""
    assert_problem(upload(apis[0], headers={"Idempotency-Key": key}), 400)
    assert files(tmp_path) == []


def test_two_keys_are_none(apis: list[httpx.Client]) -> None:
    """Nobody could say which of them counts."""
    headers = [("Idempotency-Key", KEY), ("Idempotency-Key", "another")]
    assert_problem(upload(apis[0], headers=headers), 400)


def test_what_the_load_balancer_tries_twice_is_stored_once(apis: list[httpx.Client], tmp_path: Path) -> None:
    """It names each request, and a client's key goes before that."""
    tried = {"headers": {"Robin-Request-Id": "3f2c"}}
    first, second = upload(apis[0], **tried), upload(apis[1], **tried)
    assert first.json()["document_id"] == second.json()["document_id"]
    third = upload(apis[0], b"Another.", headers={"Robin-Request-Id": "3f2c", "Idempotency-Key": KEY})
    assert third.json()["document_id"] != first.json()["document_id"]
    assert len(files(tmp_path)) == 2


def test_the_same_upload_without_a_key_makes_another_document(apis: list[httpx.Client]) -> None:
    """Whoever wants it once says so."""
    assert len({upload(apis[0]).json()["document_id"] for _ in range(2)}) == 2


def test_a_key_is_recorded_nowhere(
    apis: list[httpx.Client], telemetry: TelemetrySpy, postgresql: PostgreSQL, database: str
) -> None:
    """Clients may take what they like for one: only its digest is stored, and telemetry has neither."""
    assert upload(apis[0], **keyed("my-secret-key")).status_code == 200
    rows = postgresql.execute("SELECT document_metadata::text FROM document_metadata", database=database)
    assert len(rows) == 1
    assert "my-secret-key" not in str(rows) + telemetry.everything()


class TestSweep:
    """What killed processes have left is settled by whoever starts next."""

    @pytest.fixture
    def left(self, tmp_path: Path) -> Path:
        """The storage after a document API was killed while the data store had not answered yet."""
        with peer(hangs) as url:
            killed_while_it_uploads(url, tmp_path)
        assert (len(files(tmp_path / "documents")), len(files(tmp_path / "incoming"))) == (1, 1)
        return tmp_path

    def test_bytes_without_a_record_are_removed(
        self, left: Path, data_store: httpx.Client, telemetry: TelemetrySpy
    ) -> None:
        """Nobody was told that they are stored."""
        with document_api_on(str(data_store.base_url), left, telemetry, sweep_after_seconds=0):
            eventually(lambda: files(left) == [], "the orphan is removed")
        assert telemetry.series(STORAGE_LEFTOVERS) == {(Swept.ORPHAN,): 1}

    def test_bytes_of_a_record_are_kept(
        self, left: Path, data_store: httpx.Client, telemetry: TelemetrySpy
    ) -> None:
        """The data store had recorded it after all."""
        (path,) = files(left / "documents")
        key = str(path.relative_to(left / "documents"))
        stored = data_store.post("/clients/acme/documents", json={**DOCUMENT, "storage_key": key})
        assert stored.status_code == 201
        with document_api_on(str(data_store.base_url), left, telemetry, sweep_after_seconds=0):
            eventually(lambda: files(left) == [path], "the temporary name is removed")
        assert telemetry.series(STORAGE_LEFTOVERS) == {(Swept.STORED,): 1}

    def test_while_the_data_store_is_away_nothing_is_removed(
        self, left: Path, telemetry: TelemetrySpy
    ) -> None:
        """A warning, and the next sweep asks again."""
        before = files(left)
        impatient = {"data_store_timeout_seconds": 0.3, "data_store_deadline_seconds": 0.5}
        with socket.create_server(("127.0.0.1", 0)) as away:
            address = f"http://127.0.0.1:{away.getsockname()[1]}"
        with document_api_on(address, left, telemetry, sweep_after_seconds=0, sweep_seconds=0.1, **impatient):
            eventually(
                lambda: told(telemetry) > 1, "it is told, again and again, that nothing could be swept"
            )
        assert files(left) == before

    def test_an_upload_that_was_cut_short_is_removed(
        self, left: Path, data_store: httpx.Client, telemetry: TelemetrySpy
    ) -> None:
        """It has no document's name."""
        shutil.rmtree(left / "documents")
        with document_api_on(str(data_store.base_url), left, telemetry, sweep_after_seconds=0):
            eventually(lambda: files(left) == [], "what was cut short is removed")
        assert telemetry.series(STORAGE_LEFTOVERS) == {(Swept.UNFINISHED,): 1}


def killed_while_it_uploads(data_store_url: str, uploads: Path) -> None:
    """Run a document API as a process, and kill it as soon as an upload's bytes are saved."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PORT": str(port),
        "OTEL_SDK_DISABLED": "true",
        "DATA_STORE_URL": data_store_url,
        "UPLOAD_DIR": str(uploads),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "document_api"], cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        until_up(process, lambda: listens(port), seconds=30)
        killing = threading.Thread(target=kill_when_saved, args=(process, uploads))
        killing.start()
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
            pytest.raises(httpx.TransportError),
        ):
            upload(client)
        killing.join()
    finally:
        process.kill()
        process.wait()


def kill_when_saved(process: subprocess.Popen[bytes], uploads: Path) -> None:
    """Wait for the bytes, then end the process without a word."""
    eventually(lambda: files(uploads / "documents") != [], "the bytes are saved")
    process.send_signal(signal.SIGKILL)


def told(telemetry: TelemetrySpy) -> int:
    """Return how often it was said that nothing could be swept."""
    return sum("could not be swept" in message for message in telemetry.messages("WARN"))


def listens(port: int) -> bool:
    """Tell whether somebody takes connections."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0

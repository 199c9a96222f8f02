"""What clients are told, and what stays on disk, when something behind the document API fails."""

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx
import pytest
from opentelemetry.trace import StatusCode

from document_api.documents.storage import folder_of
from tests.integration.test_document_api_http import ROUTE, document_api_on, files, upload
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

GET: Final = "/clients/acme/documents/1"


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """The folder of the bytes."""
    for name in ("incoming", "documents"):
        (tmp_path / name).mkdir()
    return tmp_path


@contextmanager
def peer(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Stand in for the data store: take connections and treat each like this."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        behave(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def take(connection: socket.socket) -> None:
    """Read a whole request, or as much of it as comes before the connection is closed."""
    connection.settimeout(5)
    head = b""
    while b"\r\n\r\n" not in head:
        if not (data := connection.recv(65536)):
            return
        head += data
    head, _, body = head.partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    while len(body) < length:
        if not (data := connection.recv(65536)):
            return
        body += data


def answering(status: int, body: bytes = b"{}") -> Callable[[socket.socket], None]:
    """Return a peer that answers every request with this."""

    def behave(connection: socket.socket) -> None:
        take(connection)
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    return behave


def dies(connection: socket.socket) -> None:
    """Take the request, and close."""
    take(connection)


def resets(connection: socket.socket) -> None:
    """Take the request, and reset the connection."""
    take(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def hangs(connection: socket.socket) -> None:
    """Take the request, and never answer."""
    take(connection)
    with suppress(OSError):
        connection.recv(1)


def nobody() -> str:
    """Return an address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def alone(uploads: Path, telemetry: TelemetrySpy) -> Iterator[httpx.Client]:
    """Serve a document API that has no data store, and does not wait long for one."""
    with document_api_on(nobody(), uploads, telemetry, data_store_deadline_seconds=1) as api:
        yield api


def test_a_data_store_that_is_not_there_is_a_503_and_no_file_stays(
    uploads: Path, telemetry: TelemetrySpy
) -> None:
    """Nothing was recorded: the client may try again, and is told when."""
    with alone(uploads, telemetry) as api:
        answer = upload(api)

    assert_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert files(uploads) == []


@contextmanager
def takes_no_connection() -> Iterator[str]:
    """Return an address whose queue of connections is full, and which nobody empties."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with suppress(TimeoutError):
            while True:
                connection = waiting.enter_context(socket.socket())
                connection.settimeout(0.2)
                connection.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_data_store_that_takes_no_connection_in_time_is_a_503_and_no_file_stays(
    uploads: Path, telemetry: TelemetrySpy
) -> None:
    """Late as it is, nothing was sent."""
    with (
        takes_no_connection() as url,
        document_api_on(url, uploads, telemetry, data_store_timeout_seconds=0.3) as api,
    ):
        assert_problem(upload(api), 503)

    assert files(uploads) == []


def test_a_retrieval_without_a_data_store_is_a_503(uploads: Path, telemetry: TelemetrySpy) -> None:
    """As for an upload."""
    with alone(uploads, telemetry) as api:
        assert_problem(api.get(GET), 503)


@pytest.mark.parametrize(
    ("behave", "status"),
    [
        (dies, 504),
        (resets, 504),
        (hangs, 504),
        (answering(504), 504),
        (answering(502), 504),
        (answering(500), 502),
        (answering(201, b"not JSON"), 502),
        (answering(201, b"{}"), 502),
    ],
    ids=["dies", "resets", "hangs", "504", "502", "500", "garbage", "incomplete"],
)
def test_where_the_record_may_exist_the_bytes_are_kept(
    uploads: Path, telemetry: TelemetrySpy, behave: Callable[[socket.socket], None], status: int
) -> None:
    """Bytes without a row are harmless; a row without bytes is a broken promise."""
    with peer(behave) as url, document_api_on(url, uploads, telemetry, data_store_timeout_seconds=0.5) as api:
        assert_problem(upload(api), status)

    (path,) = files(uploads / "documents")
    assert path.parent == uploads / "documents" / folder_of("acme")
    (pending,) = files(uploads / "incoming")
    assert pending.samefile(path), "the sweep would not find what to ask about"


def test_an_upload_that_is_cut_off_while_its_record_is_on_the_way_keeps_its_bytes(
    uploads: Path, telemetry: TelemetrySpy
) -> None:
    """REQUEST_DEADLINE_SECONDS is over before the data store's time is: 504, for the row may be there."""
    with (
        peer(hangs) as url,
        document_api_on(url, uploads, telemetry, request_deadline_seconds=0.5) as api,
    ):
        problem = assert_problem(upload(api), 504)

    assert problem["detail"].startswith("The document was not recorded in time")
    assert len(files(uploads / "documents")) == 1
    assert (telemetry.span("upload_document").attributes or {})["outcome"] == "failed"


def test_an_upload_that_is_cut_off_before_leaves_nothing(uploads: Path, telemetry: TelemetrySpy) -> None:
    """A virus scanner takes all the time there is: 503, for nothing was recorded."""
    with (
        peer(hangs) as scanner,
        document_api_on(
            nobody(),
            uploads,
            telemetry,
            request_deadline_seconds=0.5,
            clamd_address=scanner.removeprefix("http://"),
            clamd_timeout_seconds=60,
        ) as api,
    ):
        answer = upload(api)

    assert "in time" in assert_problem(answer, 503)["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    assert files(uploads) == []


@pytest.mark.parametrize(("status", "told"), [(422, 502), (409, 502), (413, 502), (503, 503), (507, 507)])
def test_where_the_data_store_refuses_no_file_stays(
    uploads: Path, telemetry: TelemetrySpy, status: int, told: int
) -> None:
    """It says that it recorded nothing."""
    with peer(answering(status)) as url, document_api_on(url, uploads, telemetry) as api:
        assert_problem(upload(api), told)

    assert files(uploads) == []


def test_a_failure_of_the_data_store_is_one_error_line_and_marks_the_spans(
    uploads: Path, telemetry: TelemetrySpy
) -> None:
    """The exception is on the request's span, once; no stack trace leaves the service."""
    with alone(uploads, telemetry) as api:
        answer = upload(api)
        span = eventually(lambda: telemetry.spans(f"PUT {ROUTE}"))[0]

        assert "Traceback" not in answer.text
        assert span.status.status_code is StatusCode.ERROR
        assert [event.name for found in telemetry.spans() for event in found.events] == ["exception"]
        assert telemetry.messages("ERROR") == ["The data store cannot be reached; try again."]
        assert (telemetry.span("upload_document").attributes or {})["outcome"] == "failed"
        assert (telemetry.span("file_save").status.status_code) is StatusCode.UNSET


def test_health_is_unhealthy_without_the_data_store(uploads: Path, telemetry: TelemetrySpy) -> None:
    """503, and the component is named."""
    with alone(uploads, telemetry) as api:
        answer = api.get("/health")

    assert answer.status_code == 503
    assert answer.json()["components"] == {"file_system": "healthy", "data_store": "unhealthy"}


def test_health_answers_in_time_when_the_data_store_hangs(uploads: Path, telemetry: TelemetrySpy) -> None:
    """Each check has its deadline."""
    with peer(hangs) as url, document_api_on(url, uploads, telemetry, health_deadline_seconds=0.1) as api:
        answer = api.get("/health", timeout=5)

    assert answer.json()["components"]["data_store"] == "unhealthy"


def test_a_folder_that_vanished_is_a_503(uploads: Path, telemetry: TelemetrySpy) -> None:
    """An unmounted volume: a clear problem, no path, no stack trace; health says so too."""
    with alone(uploads, telemetry) as api:
        shutil.rmtree(uploads)
        answer = upload(api)
        health = api.get("/health").json()

    problem = assert_problem(answer, 503)
    assert problem["detail"] == "The document cannot be stored at the moment; try again."
    assert str(uploads) not in answer.text
    assert health["components"]["file_system"] == "unhealthy"


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of 64 KiB, where that is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        for name in ("incoming", "documents"):
            (folder / name).mkdir()
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_a_507_and_nothing_stays(tmp_path: Path, telemetry: TelemetrySpy) -> None:
    """Half a document does not take the last room."""
    with tiny_disk(tmp_path) as disk, alone(disk, telemetry) as api:
        problem = assert_problem(upload(api, b"x" * 150_000), 507)
        left = files(disk)

    assert problem["title"] == "Insufficient Storage"
    assert left == []


async def test_many_uploads_at_once_keep_their_identities(uploads: Path, telemetry: TelemetrySpy) -> None:
    """Thirty at a time: every answer has the ID that was sent with it."""
    ids = [f"0f8fad5b-d9cb-469f-a165-7086772895{number:02x}" for number in range(30)]
    with alone(uploads, telemetry) as api:
        async with httpx.AsyncClient(base_url=api.base_url, timeout=30) as client:
            answers = await asyncio.gather(
                *(
                    client.put(
                        "/clients/acme/upload-document",
                        files={"file": ("a.txt", b"x" * 100_000)},
                        headers={"X-Correlation-ID": each},
                    )
                    for each in ids
                )
            )

    assert [answer.json()["correlation_id"] for answer in answers] == ids
    assert files(uploads) == []


def test_an_upload_does_not_fail_for_its_summary(
    data_store: httpx.Client, uploads: Path, telemetry: TelemetrySpy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A summarizer that throws costs the summary, not the document, and the reason is said."""

    def broken(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("no sentences today")

    monkeypatch.setattr("lede.summarize", broken)
    with document_api_on(str(data_store.base_url), uploads, telemetry) as api:
        answer = upload(api)

    assert answer.status_code == 200
    metadata = answer.json()["metadata"]
    assert (metadata["summary"], metadata["summary_source"], metadata["summary_reason"]) == (
        None,
        "none",
        "summarizer_failed",
    )
    assert telemetry.messages("ERROR") == ["The summarizer failed"]


def test_uvicorns_own_command_finds_its_folders(tmp_path: Path, telemetry: TelemetrySpy) -> None:
    """The application makes them itself, readable by nobody else."""
    with alone(tmp_path / "new", telemetry) as api:
        health = api.get("/health").json()

    assert health["components"]["file_system"] == "healthy"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {0o700}

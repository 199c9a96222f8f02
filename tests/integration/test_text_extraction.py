"""Documents that are more than text: read in processes, which may die and take nothing with them."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest

from document_api.settings import DocumentApiSettings
from document_api.text import MAX_CHARS, ReadText
from document_api.text import reader as reader_module
from document_api.text.processes import _MOST_DOCUMENTS, Workers
from document_api.text.reader import TextReader
from observability.context import RequestContext, enter_request
from observability.signals import TEXT_EXTRACTION_DURATION
from tests.files import WORDS, docx_of, memory_bomb, pdf, time_bomb, tree_bomb, zip_bomb
from tests.integration.test_document_api_http import document_api_on, files
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

UPLOAD: Final = "/clients/acme/upload-document"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PDF: Final = "application/pdf"
BEGINNING: Final = b"%PDF-1.7\n"


def processes() -> list[psutil.Process]:
    """Return the processes that read documents for this one."""
    found = []
    for child in psutil.Process().children():
        try:
            if "document_api.text.worker" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture
def api(data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy) -> Iterator[httpx.Client]:
    """Client of a document API that has little time for a document."""
    limits = {"text_seconds": 2.0, "text_memory_bytes": 192 * 1024 * 1024}
    with document_api_on(
        str(data_store.base_url), tmp_path, telemetry, max_upload_bytes=2**20, **limits
    ) as client:
        yield client


def metadata(api: httpx.Client, content: bytes, media_type: str, name: str = "a") -> dict[str, Any]:
    """Upload a document, and return what is kept of it."""
    answer = api.put(UPLOAD, files={"file": (name, content, media_type)})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["metadata"]
    return found


def test_a_pdf_is_summarised_whatever_its_client_calls_it(api: httpx.Client, telemetry: TelemetrySpy) -> None:
    """By its content; the step is in the trace and in the metrics."""
    found = metadata(api, pdf(WORDS), "text/plain", "a.txt")

    assert (found["file_type"], found["summary"], found["summary_source"]) == (PDF, WORDS, "extractive")
    eventually(lambda: telemetry.spans("file_processing"))
    step = telemetry.attributes("text_extraction")
    assert {key: step[key] for key in ("file_type", "text.outcome")} == {
        "file_type": PDF,
        "text.outcome": "extracted",
    }
    assert step["text.chars"] >= len(WORDS)
    assert telemetry.attributes("file_processing")["file_type"] == PDF
    assert telemetry.series(TEXT_EXTRACTION_DURATION) == {(PDF, "extracted"): 1}


def test_text_is_read_without_a_process(api: httpx.Client, telemetry: TelemetrySpy) -> None:
    """And without a step of its own."""
    assert metadata(api, WORDS.encode(), "text/markdown", "a.md")["summary"] == WORDS
    eventually(lambda: telemetry.spans("file_processing"))
    assert telemetry.spans("text_extraction") == []
    assert processes() == []


def test_json_that_is_none_is_text(api: httpx.Client) -> None:
    """As which it can be read."""
    found = metadata(api, b'{"a": 1}\n{"b": 2}\n', "application/octet-stream", "a.json")
    assert (found["file_type"], found["summary_reason"]) == ("text/plain", None)


HARMFUL: Final[dict[str, tuple[Callable[[], bytes], str, str]]] = {
    "PDF that unpacks to 100 MiB": (memory_bomb, PDF, "too_complex"),
    "PDF that takes half a minute": (time_bomb, PDF, "extraction_timeout"),
    "DOCX that unpacks to 130 MiB": (zip_bomb, DOCX, "too_complex"),
    "DOCX that is a large tree": (tree_bomb, DOCX, "too_complex"),
    "JSON nested 200,000 deep": (lambda: b"[" * 200_000 + b"]" * 200_000, "application/json", "too_complex"),
}


def test_a_document_made_to_harm_its_reader_is_kept_and_says_so(api: httpx.Client, tmp_path: Path) -> None:
    """Each takes its process no more than it is granted; the next document is read as if nothing had been."""
    for number, (name, (made, media_type, reason)) in enumerate(HARMFUL.items(), 1):
        found = metadata(api, made(), media_type)
        assert (found["file_type"], found["summary_reason"]) == (media_type, reason), name
        assert metadata(api, docx_of(WORDS), DOCX)["summary"] == WORDS, name
        assert len(files(tmp_path)) > number  # the document that is read again and again is kept once


def test_an_upload_is_not_late_for_its_text(
    data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
) -> None:
    """Of its time as much is kept as all else may take; here that is a second less than there is."""
    with document_api_on(
        *(str(data_store.base_url), tmp_path, telemetry),
        text_seconds=60,
        request_deadline_seconds=16,
        data_store_deadline_seconds=10,
    ) as api:
        assert metadata(api, time_bomb(), PDF)["summary_reason"] == "extraction_timeout"


def test_the_processes_end_with_the_service(
    data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
) -> None:
    """None is left behind."""
    with document_api_on(str(data_store.base_url), tmp_path, telemetry) as api:
        metadata(api, pdf(WORDS), PDF)
        assert processes()
    assert processes() == []


@asynccontextmanager
async def reader_with(telemetry: TelemetrySpy, **settings: Any) -> AsyncIterator[TextReader]:
    """Lend a reader with one process."""
    configured = DocumentApiSettings(**{"text_processes": 1, **settings})
    async with TextReader.open(telemetry.telemetry, configured) as reader:
        yield reader


async def read(reader: TextReader, path: Path) -> ReadText:
    """Return what is read of a file."""
    until = asyncio.get_running_loop().time() + 60
    return await reader.read(BEGINNING, path, claimed=PDF, filename="a.pdf", until=until)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good PDF."""
    file = tmp_path / "a.pdf"
    file.write_bytes(pdf(WORDS))
    return file


async def test_a_process_that_reads_knows_no_secret(telemetry: TelemetrySpy, path: Path) -> None:
    """Nothing of the service's environment, whose tokens and passwords are there."""
    async with reader_with(telemetry) as reader:
        await read(reader, path)
        (process,) = processes()
        assert process.environ().keys() == {"PYTHONPATH", "PYTHONUTF8"}


async def test_the_longest_answer_comes_through(telemetry: TelemetrySpy, tmp_path: Path) -> None:
    """As much text as is kept, of the characters that take most on the way."""
    text = "🙂" * (MAX_CHARS - 1) + "a"
    file = tmp_path / "a.json"
    file.write_text(json.dumps([text]))
    async with reader_with(telemetry) as reader:
        until = asyncio.get_running_loop().time() + 60
        found = await reader.read(b"[", file, claimed="application/json", filename="a.json", until=until)
    assert found == ReadText(text, None, "application/json")


async def test_a_process_is_asked_again_and_again(telemetry: TelemetrySpy, path: Path) -> None:
    """Starting one takes longer than most documents; after some of them another takes its place."""
    async with reader_with(telemetry) as reader:
        seen = []
        for _ in range(_MOST_DOCUMENTS + 1):
            await read(reader, path)
            seen.append(processes()[0].pid)
    assert len(set(seen[:_MOST_DOCUMENTS])) == 1
    assert seen[-1] != seen[0]


async def test_a_process_that_was_ended_meanwhile_is_replaced(telemetry: TelemetrySpy, path: Path) -> None:
    """Nobody who uploads need know."""
    async with reader_with(telemetry) as reader:
        await read(reader, path)
        (process,) = processes()
        process.kill()
        await asyncio.to_thread(eventually, lambda: not reader._workers._idle[0].is_fit)
        assert (await read(reader, path)).reason is None


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_process_that_dies_amid_a_document_says_so(
    telemetry: TelemetrySpy, path: Path, sent: signal.Signals
) -> None:
    """Of that document; the next one finds another."""
    async with reader_with(telemetry) as reader:
        await read(reader, path)
        (process,) = processes()
        process.suspend()
        reading = asyncio.create_task(read(reader, path))
        await asyncio.sleep(0)
        os.kill(process.pid, sent)
        with suppress(psutil.NoSuchProcess):  # killed while it is stopped, it is gone already
            process.resume()
        assert (await reading).reason == "extraction_failed"
        assert (await read(reader, path)).reason is None
    assert [log.log_record.body for log in telemetry.logs("ERROR")] == [
        "The process that reads a document failed"
    ]


async def test_a_process_that_hangs_is_ended(telemetry: TelemetrySpy, path: Path) -> None:
    """At the time limit; whoever waits for it so long is told that he was not served."""
    async with reader_with(telemetry, text_seconds=2.0) as reader:
        await read(reader, path)
        (process,) = processes()
        process.suspend()
        assert (await read(reader, path)).reason == "extraction_timeout"
        assert not process.is_running()
        assert (await read(reader, path)).reason is None


async def test_who_waits_in_vain_is_told(
    telemetry: TelemetrySpy, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than that all uploads wait."""
    monkeypatch.setattr(reader_module, "LONGEST_WAIT_SECONDS", 0.05)
    async with reader_with(telemetry) as reader:
        await read(reader, path)
        (process,) = processes()
        process.suspend()
        first = asyncio.create_task(read(reader, path))
        await asyncio.sleep(0)
        assert (await read(reader, path)).reason == "extraction_busy"
        process.resume()
        assert (await first).reason is None


async def test_a_client_does_not_keep_others_from_being_read(telemetry: TelemetrySpy, path: Path) -> None:
    """However many documents it sends that take as long as they may: the last process is not for it."""
    async with reader_with(telemetry, text_processes=2) as reader:
        await read(reader, path)
        (process,) = processes()
        process.suspend()
        enter_request(RequestContext("flood", client_id="flood"))
        flood = [asyncio.create_task(read(reader, path)) for _ in range(3)]
        await asyncio.sleep(0)
        enter_request(RequestContext("other", client_id="other"))
        assert (await read(reader, path)).reason is None
        assert not any(task.done() for task in flood)
        process.resume()
        assert [(await task).reason for task in flood] == [None] * 3


async def test_giving_up_ends_the_process(telemetry: TelemetrySpy, path: Path) -> None:
    """A client who has gone away is not worked for."""
    async with reader_with(telemetry) as reader:
        await read(reader, path)
        (process,) = processes()
        process.suspend()
        reading = asyncio.create_task(read(reader, path))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert not process.is_running()


async def test_a_process_whose_service_was_killed_ends_by_itself() -> None:
    """With its input; nothing is left of a service that was killed."""
    workers = Workers(64 * 1024 * 1024)
    async with workers.worker() as worker:
        assert worker._process.stdin is not None
        worker._process.stdin.close()
        async with asyncio.timeout(10):
            assert await worker._process.wait() == 0
    await workers.aclose()

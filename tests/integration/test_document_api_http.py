"""The document API over a real socket, with the real data store and the real PostgreSQL behind it."""

import hashlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.trace import SpanKind, StatusCode

from document_api.app import create_app
from document_api.documents.storage import folder_of
from document_api.health import OPEN_WARNING
from document_api.settings import DocumentApiSettings
from observability.signals import (
    DOCUMENT_SIZE,
    DOCUMENT_STORAGE,
    DOCUMENTS_UPLOADED,
    EVENT_LOOP_LAG,
    HTTP_ERRORS,
    LAST_BACKUP,
    SUMMARIES,
)
from tests.integration.conftest import PostgreSQL
from tests.live_server import served
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

UPLOAD: Final = "/clients/acme/upload-document"
ROUTE: Final = "/clients/{client_id}/upload-document"
KEPT: Final = "0f8fad5b-d9cb-469f-a165-70867728950e"
TEXT: Final = b"The harbour of Bergen is old. Seagulls are loud."
LIMIT: Final = 200_000


@contextmanager
def document_api_on(
    data_store_url: str, uploads: Path, spy: TelemetrySpy, **more: Any
) -> Iterator[httpx.Client]:
    """Serve a document API, and lend a client of it."""
    settings = DocumentApiSettings(
        data_store_url=data_store_url,  # type: ignore[arg-type]
        upload_dir=uploads,
        **{"health_deadline_seconds": 5.0, "max_upload_bytes": LIMIT, **more},
    )
    with served(create_app(settings, spy.telemetry)) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """The folder of the bytes."""
    for name in ("incoming", "documents"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def api(data_store: httpx.Client, uploads: Path, telemetry: TelemetrySpy) -> Iterator[httpx.Client]:
    """Client of a document API with everything behind it; both services record into one memory."""
    with document_api_on(str(data_store.base_url), uploads, telemetry) as client:
        yield client


def files(root: Path) -> list[Path]:
    """Return every file below a folder."""
    return [path for path in root.rglob("*") if path.is_file()]


def upload(api: httpx.Client, content: bytes = TEXT, name: str = "a.txt", **more: Any) -> httpx.Response:
    """Upload a document."""
    return api.put(UPLOAD, files={"file": (name, content, "text/plain")}, **more)


def test_an_upload_is_answered_with_exactly_the_promised_keys(api: httpx.Client) -> None:
    """The user's answer, with summary and digest added."""
    answer = upload(api, name="test_file.txt")

    assert answer.status_code == 200
    body = answer.json()
    number = body["document_id"]
    timestamp = body["metadata"].pop("upload_timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", timestamp)
    assert body == {
        "message": "Document uploaded successfully",
        "client_id": "acme",
        "document_id": number,
        "metadata": {
            "id": number,
            "client_id": "acme",
            "filename": "test_file.txt",
            "file_size": len(TEXT),
            "file_type": "text/plain",
            "sha256": hashlib.sha256(TEXT).hexdigest(),
            "summary": TEXT.decode(),
            "summary_source": "extractive",
            "summary_reason": None,
            "version": 1,
            "tags": {},
            "deleted_at": None,
            "summary_status": "complete",
        },
    }


def test_the_bytes_are_kept_as_they_came(api: httpx.Client, uploads: Path) -> None:
    """One file, below its client, with the very bytes."""
    content = bytes(range(256)) * 700
    assert upload(api, content).status_code == 200

    (path,) = files(uploads)
    assert path.read_bytes() == content
    assert path.parent == uploads / "documents" / folder_of("acme")


def test_a_document_is_found_again(api: httpx.Client) -> None:
    """The metadata of the upload's answer, with the summary."""
    uploaded = upload(api, name="über.txt").json()

    answer = api.get(f"/clients/acme/documents/{uploaded['document_id']}")

    assert answer.status_code == 200
    assert answer.json() == uploaded["metadata"]
    assert "storage_key" not in answer.text


def test_another_clients_document_is_not_found_like_none(api: httpx.Client) -> None:
    """Nobody learns which documents others have."""
    number = upload(api).json()["document_id"]

    theirs = assert_problem(api.get(f"/clients/other/documents/{number}"), 404)
    none = assert_problem(api.get(f"/clients/other/documents/{number + 1}"), 404)

    assert {**theirs, "correlation_id": ""} == {**none, "correlation_id": ""}


@pytest.mark.parametrize("number", ["0", "-1", "abc", str(2**63), "1e3"])
def test_an_impossible_document_id_is_a_422(api: httpx.Client, number: str) -> None:
    """A positive 64-bit integer."""
    assert_problem(api.get(f"/clients/acme/documents/{number}"), 422)


def test_text_that_cannot_be_read_has_no_summary_and_says_why(api: httpx.Client) -> None:
    """An upload never fails for its summary."""
    metadata = upload(api, b"\x89PNG\r\n\x1a\n\x00", "a.png").json()["metadata"]

    assert (metadata["summary"], metadata["summary_source"]) == (None, "none")
    assert metadata["summary_reason"] == "not_text"


REFUSED: Final[dict[str, tuple[dict[str, Any], int]]] = {
    "no body": ({}, 415),
    "JSON": ({"json": {"file": "x"}}, 415),
    "another field": ({"files": {"document": ("a.txt", b"x")}}, 422),
    "empty file": ({"files": {"file": ("a.txt", b"")}}, 422),
    "two files": ({"files": [("file", ("a.txt", b"x")), ("file", ("b.txt", b"y"))]}, 422),
    "no name": ({"files": {"file": (None, b"x")}}, 422),
    "one byte too many": ({"files": {"file": ("a.txt", b"x" * (LIMIT + 1))}}, 413),
    "far too many": ({"files": {"file": ("a.txt", b"x" * LIMIT * 3)}}, 413),
    "malformed": (
        {"content": b"--b\r\nnonsense", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        400,
    ),
    "cut short": (
        {
            "content": b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
            "headers": {"Content-Type": "multipart/form-data; boundary=b"},
        },
        400,
    ),
}


@pytest.mark.parametrize(("body", "status"), REFUSED.values(), ids=list(REFUSED))
def test_a_wrong_upload_is_refused_and_leaves_nothing(
    api: httpx.Client,
    uploads: Path,
    postgresql: PostgreSQL,
    database: str,
    *,
    body: dict[str, Any],
    status: int,
) -> None:
    """A problem with the ID; no file on disk, no row in the database."""
    assert_problem(api.put(UPLOAD, **body), status)

    assert files(uploads) == []
    assert postgresql.count(database, "document_metadata") == 0


def test_a_chunked_body_is_held_to_the_limit_as_well(api: httpx.Client, uploads: Path) -> None:
    """Without a Content-Length the bytes are counted as they come."""

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        for _ in range(30):
            yield b"x" * 10_000

    answer = api.put(UPLOAD, content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})

    assert_problem(answer, 413)
    assert files(uploads) == []


def test_a_file_of_exactly_the_limit_is_stored(api: httpx.Client) -> None:
    """The limit is for the file, not for the form around it."""
    assert upload(api, b"x" * LIMIT).json()["metadata"]["file_size"] == LIMIT


@pytest.mark.parametrize("path", ["/clients/.hidden/upload-document", "/clients/a%2Fb/upload-document"])
def test_a_client_id_is_never_a_path(api: httpx.Client, uploads: Path, path: str) -> None:
    """Refused before anything is written."""
    assert api.put(path, files={"file": ("a.txt", TEXT)}).status_code in {404, 422}
    assert files(uploads) == []


def test_a_name_with_a_path_stays_inside_the_folder(api: httpx.Client, uploads: Path) -> None:
    """The bytes have a name of the service's own."""
    assert upload(api, name="../../../evil.sh").json()["metadata"]["filename"] == "evil.sh"
    assert [path.parent for path in files(uploads)] == [uploads / "documents" / folder_of("acme")]


def test_a_wrong_method_is_a_405(api: httpx.Client) -> None:
    """And the allowed one is named."""
    assert "PUT" in assert_problem(api.post(UPLOAD), 405)["detail"]


def test_a_client_that_hangs_up_leaves_no_file_and_is_no_error(
    api: httpx.Client, uploads: Path, telemetry: TelemetrySpy
) -> None:
    """Half an upload is removed, and counted as the client's doing."""
    address = urlsplit(str(api.base_url))
    with socket.create_connection((address.hostname, address.port)) as connection:  # type: ignore[arg-type]
        connection.sendall(
            f"PUT {UPLOAD} HTTP/1.1\r\nHost: x\r\nContent-Length: 150000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
            + b"x" * 100_000
        )

    span = eventually(lambda: telemetry.spans(f"PUT {ROUTE}"))[0]
    assert (span.attributes or {})["http.response.status_code"] == 499
    assert telemetry.series(HTTP_ERRORS) == {("PUT", ROUTE, "499", "client_disconnected"): 1}
    assert {span.status.status_code for span in telemetry.spans()} == {StatusCode.UNSET}
    assert (telemetry.span("upload_document").attributes or {})["outcome"] == "cancelled"
    assert telemetry.messages("ERROR") == []
    assert files(uploads) == []


TREE: Final = {
    f"PUT {ROUTE}": {
        "upload_document": {
            "file_processing": {"file_read": {}, "file_save": {}},
            "llm_summarization": {},
            "store_metadata": {
                "POST": {
                    "POST /clients/{client_id}/documents": {
                        "database_connection": {},
                        "sql_execution": {},
                        "transaction_commit": {},
                    }
                }
            },
        }
    }
}


def test_an_upload_is_one_trace_across_both_services(api: httpx.Client, telemetry: TelemetrySpy) -> None:
    """The contract's tree, every span with the correlation ID and the tenant."""
    answer = upload(api, headers={"X-Correlation-ID": KEPT})
    eventually(lambda: telemetry.spans(f"PUT {ROUTE}"))

    assert telemetry.tree() == TREE
    assert answer.headers["traceresponse"][3:35] == f"{telemetry.spans()[0].context.trace_id:032x}"
    assert len({span.context.trace_id for span in telemetry.spans()}) == 1
    for span in telemetry.spans():
        attributes = span.attributes or {}
        assert (attributes["correlation_id"], attributes["client_id"]) == (KEPT, "acme"), span.name
        assert span.status.status_code is StatusCode.UNSET


def test_the_steps_of_an_upload_say_what_they_did(api: httpx.Client, telemetry: TelemetrySpy) -> None:
    """The attributes that the contract gives each span."""
    number = upload(api).json()["document_id"]
    eventually(lambda: telemetry.spans(f"PUT {ROUTE}"))

    def said(name: str) -> dict[str, Any]:
        common = {"correlation_id", "client_id"}
        return {
            key: value for key, value in (telemetry.span(name).attributes or {}).items() if key not in common
        }

    size = len(TEXT)
    assert said("upload_document") == {"document.id": number, "outcome": "success"}
    assert said("file_processing") == {
        "file_size": size,
        "file_type": "text/plain",
        "file.sha256": hashlib.sha256(TEXT).hexdigest()[:12],
        "summary.input_chars": size,
    }
    assert said("file_read") == {"content_processing.bytes": size, "content_processing.chunks": 1}
    assert said("file_save") == {"storage.bytes": size, "storage.backend": "file_system"}
    summary = said("llm_summarization")
    assert 0 < summary.pop("processing_time") < 10
    assert summary == {"summary.source": "extractive"}
    assert said("store_metadata") == {"database_operation": "INSERT"}
    call = telemetry.span("POST")
    assert call.kind is SpanKind.CLIENT
    assert (call.attributes or {})["http.response.status_code"] == 201


def test_only_the_beginning_of_a_long_document_is_summarised(
    data_store: httpx.Client, uploads: Path, telemetry: TelemetrySpy
) -> None:
    """Memory is bounded by the setting, not by the document, however the network cuts it."""
    with document_api_on(str(data_store.base_url), uploads, telemetry, summary_input_bytes=1024) as api:
        answer = upload(api, b"word " * 30_000)

    assert answer.json()["metadata"]["summary_source"] == "extractive"
    eventually(lambda: telemetry.spans("file_processing"))
    assert (telemetry.span("file_processing").attributes or {})["summary.input_chars"] == 1024


def test_a_retrieval_is_one_trace_across_both_services(api: httpx.Client, telemetry: TelemetrySpy) -> None:
    """SERVER, retrieve_document, CLIENT, SERVER, connection and statement."""
    assert api.get("/clients/acme/documents/1").status_code == 404
    name = "GET /clients/{client_id}/documents/{doc_id}"
    eventually(lambda: len(telemetry.spans(name)) == 2)

    below = {name: {"database_connection": {}, "sql_execution": {}}}
    assert telemetry.tree() == {name: {"retrieve_document": {"GET": below}}}
    assert {span.status.status_code for span in telemetry.spans()} == {StatusCode.UNSET}
    assert (telemetry.span("retrieve_document").attributes or {})["outcome"] == "rejected"


def test_an_upload_is_counted_and_told(api: httpx.Client, telemetry: TelemetrySpy) -> None:
    """Documents, sizes, summaries, and the business event in the log with the request's ID."""
    upload(api, headers={"X-Correlation-ID": KEPT})

    assert telemetry.series(DOCUMENTS_UPLOADED) == {("acme", "text/plain"): 1}
    assert telemetry.series(DOCUMENT_SIZE) == {("text/plain",): 1}
    assert telemetry.series(SUMMARIES) == {("extractive", "none"): 1}
    (event,) = [log for log in telemetry.logs("INFO") if log.log_record.body == "Document uploaded"]
    assert (event.log_record.attributes or {})["correlation_id"] == KEPT


def test_every_log_line_of_an_upload_has_its_id(api: httpx.Client, telemetry: TelemetrySpy) -> None:
    """One line from each service at the end, and the event between."""
    upload(api, headers={"X-Correlation-ID": KEPT})

    def lines() -> list[LogRecord]:
        records = [log.log_record for log in telemetry.logs("INFO")]
        return [record for record in records if (record.attributes or {})["logger"] != "uvicorn.error"]

    eventually(lambda: len(lines()) == 3)

    assert {(line.attributes or {})["correlation_id"] for line in lines()} == {KEPT}
    assert len({line.trace_id for line in lines()}) == 1


def test_a_refusal_marks_no_span_as_an_error(api: httpx.Client, telemetry: TelemetrySpy) -> None:
    """A 413 is no failure of the server, and says so on its way."""
    upload(api, b"x" * (LIMIT + 1))
    eventually(lambda: telemetry.spans(f"PUT {ROUTE}"))

    assert {span.status.status_code for span in telemetry.spans()} == {StatusCode.UNSET}
    assert (telemetry.span("upload_document").attributes or {})["outcome"] == "rejected"
    assert telemetry.series(HTTP_ERRORS) == {("PUT", ROUTE, "413", "payload_too_large"): 1}


def test_health_asks_disk_and_data_store(api: httpx.Client, telemetry: TelemetrySpy, uploads: Path) -> None:
    """Exactly the promised keys; no span in either service, no file left."""
    answer = api.get("/health")

    body = answer.json()
    assert body.pop("timestamp").endswith("Z")
    assert (answer.status_code, body) == (
        200,
        {
            "status": "healthy",
            "service": "document-api",
            "components": {"file_system": "healthy", "data_store": "healthy"},
            "version": "1.0.0",
            "warnings": [OPEN_WARNING],
        },
    )
    assert telemetry.spans() == []
    assert files(uploads) == []


def test_where_there_is_no_backup_that_is_told(api: httpx.Client, telemetry: TelemetrySpy) -> None:
    """As a number, so that it can be too old."""
    assert api.get("/health").status_code == 200
    assert telemetry.series(LAST_BACKUP) == {(): 0}


def test_the_space_of_the_uploads_folder_is_measured(
    api: httpx.Client, telemetry: TelemetrySpy, uploads: Path
) -> None:
    """Now, and not any more when it has vanished, which keeps no other metric from being collected."""
    assert api.get("/health").status_code == 200
    assert telemetry.series(DOCUMENT_STORAGE).keys() == {("used",), ("free",)}

    uploads.rename(uploads.with_name("gone"))

    assert telemetry.series(DOCUMENT_STORAGE) == {}
    assert EVENT_LOOP_LAG.name in telemetry.collected()

"""A system that asks who everybody is, looked at from outside: what a request leaves behind, and what it may take."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from document_api.health import OPEN_WARNING
from observability.signals import HTTP_REQUESTS, TENANT_LIMIT_EXCEEDED, TENANT_REQUESTS
from tests.integration.conftest import PostgreSQL
from tests.integration.tenancy import FOREIGN, OWN, TEXT, System, running_system
from tests.integration.test_document_api_http import document_api_on, files
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.tokens import token
from tests.waiting import eventually

UPLOADED: Final = {
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
ASKED: Final = {"POST": {"POST /principals/by-key": {"database_connection": {}, "sql_execution": {}}}}


@pytest.fixture
def system(
    postgresql: PostgreSQL, database: str, tmp_path: Path, telemetry: TelemetrySpy
) -> Iterator[System]:
    """A running system; both services record into one memory."""
    with running_system(postgresql, database, tmp_path, telemetry, tenant_metrics_limit=1) as system:
        yield system


def said(telemetry: TelemetrySpy, message: str) -> list[Mapping[str, Any]]:
    """Return the attributes of the log records with this message."""
    return [
        dict(record.log_record.attributes or {})
        for record in telemetry.logs()
        if record.log_record.body == message
    ]


def test_a_request_is_asked_for_its_sender_first(system: System) -> None:
    """One step in its trace, with the question to the data store below it; the next request has its answer still."""
    assert system.upload(system.key("writer")).status_code == 200

    eventually(lambda: len(system.telemetry.tree()) == 1, "its own span ends, after the answer")
    (root,) = system.telemetry.tree().values()
    assert list(root) == ["authenticate", "upload_document"]
    assert root == {"authenticate": ASKED, **UPLOADED}
    asked = system.telemetry.attributes("authenticate")
    assert (asked["auth.method"], asked["user.roles"], asked["outcome"]) == (
        "api_key",
        ("writer",),
        "success",
    )
    assert asked["correlation_id"]


def test_a_refusal_is_told_on_the_span_and_in_a_line_and_is_no_error(system: System) -> None:
    """Of a good credential that wants what is not its own; an unknown one is only counted."""
    system.upload(system.key("reader"))
    system.api.get(f"/clients/{FOREIGN}/documents/1", headers=system.key("writer"))
    system.api.get(f"/clients/{OWN}/documents/1")

    lines = said(system.telemetry, "Access denied")
    assert [line["context_data.reason"] for line in lines] == ["role", "client"]
    assert {line["client_id"] for line in lines} == {OWN}
    assert all(str(line["context_data.actor"]).startswith("user:") for line in lines)
    spans = [span for span in system.telemetry.spans() if "auth.denied" in (span.attributes or {})]
    assert [dict(span.attributes or {})["auth.denied"] for span in spans] == ["role", "client"]
    assert all(span.status.is_unset for span in system.telemetry.spans())
    assert system.telemetry.logs("ERROR") == []


def test_what_was_done_is_in_the_audit_log_and_in_log_records(system: System) -> None:
    """Who, what, to which document, when, and the correlation ID that leads to everything else; a refusal did nothing."""
    uploaded = system.upload(system.key("writer"))
    read = system.api.get(
        f"/clients/{OWN}/documents/1", headers={"Authorization": f"Bearer {token('sub|reader')}"}
    )
    system.api.get(f"/clients/{OWN}/documents/1", headers=system.key("stranger"))
    ids = [answer.headers["x-correlation-id"] for answer in (uploaded, read)]

    rows = system.sql(
        "SELECT client_id, actor, action, document_id, correlation_id::text, at > now() - interval '1 minute'"
        " FROM audit_log ORDER BY id"
    )
    writer = f"user:2/key:{system.keys['writer'].prefix}"
    assert rows == [
        (OWN, writer, "document.create", 1, ids[0], True),
        (OWN, "user:1/bearer", "document.read", 1, ids[1], True),
    ]
    lines = [*said(system.telemetry, "Document uploaded"), *said(system.telemetry, "Document read")]
    assert [
        (
            line["client_id"],
            line["context_data.actor"],
            line["context_data.action"],
            line["context_data.document_id"],
        )
        for line in lines
    ] == [row[:4] for row in rows]
    assert [line["correlation_id"] for line in lines] == ids


def test_whoever_takes_the_bytes_of_a_version_has_read_the_document(system: System) -> None:
    """Of an earlier one as of the newest."""
    system.upload(system.key("writer"))
    system.upload(system.key("writer"), path=f"/clients/{OWN}/documents/1/content")
    for query in ("", "?version=1", "?version=2"):
        path = f"/clients/{OWN}/documents/1/content{query}"
        assert system.api.get(path, headers=system.key("reader")).content == TEXT
    reads = "SELECT document_id, count(*) FROM audit_log WHERE action = 'document.read' GROUP BY document_id"
    assert system.sql(reads) == [(1, 3)]
    assert len(said(system.telemetry, "Document downloaded")) == 3


def test_a_revoked_key_is_refused_when_its_command_has_returned(system: System, owner_url: str) -> None:
    """Whatever was believed of it meanwhile."""
    assert system.upload(system.key("writer")).status_code == 200
    subprocess.run(
        [sys.executable, "-m", "data_store.admin", "revoke-key", system.keys["writer"].prefix],
        env={"DATABASE_URL": owner_url, "PATH": ""},
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
    )
    assert_problem(system.upload(system.key("writer")), 401)


def test_clients_are_counted_under_their_names_up_to_a_limit_and_the_sum_is_right(system: System) -> None:
    """TENANT_METRICS_LIMIT=1: the first has its name, all others are one; nobody is counted twice or not at all."""
    for name, client in (("writer", OWN), ("stranger", FOREIGN), ("reader", OWN)):
        system.upload(system.key(name), client)
    system.api.get("/health")

    by_client = system.telemetry.series(TENANT_REQUESTS)
    assert by_client == {(OWN, "2xx"): 1, ("other", "2xx"): 1, (OWN, "4xx"): 1}
    of_clients = {
        labels: count
        for labels, count in system.telemetry.series(HTTP_REQUESTS).items()
        if labels[1].endswith("/upload-document")
    }
    assert sum(by_client.values()) == sum(of_clients.values())


@pytest.mark.parametrize(
    ("limit", "status", "numbers"),
    [
        ("max_documents = 1", 409, {"limit": 1, "used": 1, "requested": 1}),
        (
            f"max_stored_bytes = {len(TEXT) + 10}",
            413,
            {"limit": len(TEXT) + 10, "used": len(TEXT), "requested": len(TEXT)},
        ),
    ],
    ids=["documents", "bytes"],
)
def test_a_client_that_may_store_no_more_is_told_the_numbers(
    system: System, limit: str, status: int, numbers: Mapping[str, int]
) -> None:
    """Nothing of the document stays; another client is not concerned."""
    system.sql(f"UPDATE clients SET {limit} WHERE id = '{OWN}'")  # noqa: S608
    assert system.upload(system.key("writer")).status_code == 200
    before = system.snapshot()

    answer = system.upload(system.key("writer"))

    assert_problem(answer, status)
    assert {name: answer.json()[name] for name in numbers} == numbers
    assert all(str(number) in answer.json()["detail"] for number in numbers.values())
    assert system.snapshot() == before
    assert system.upload(system.key("stranger"), FOREIGN).status_code == 200
    kind = "documents" if status == 409 else "bytes"
    assert system.telemetry.series(TENANT_LIMIT_EXCEEDED) == {(OWN, kind): 1}


def test_no_key_and_no_token_is_in_anything_that_is_recorded(system: System) -> None:
    """Neither good ones nor bad ones, whole or in part."""
    text = token("sub|writer")
    wrong = f"robin_{'0' * 12}_{'5e' * 32}"
    system.upload(system.key("writer"))
    system.upload({"Authorization": f"Bearer {text}"})
    system.upload({"Authorization": f"Bearer {text[:-4]}AAAA"})
    system.upload({"X-API-Key": wrong})
    system.upload({"X-API-Key": wrong[:-1]})

    everything = system.telemetry.everything()
    for secret in (system.keys["writer"].secret, system.keys["writer"].digest, "5e" * 10, *text.split(".")):
        assert secret not in everything


def test_where_nobody_is_asked_that_is_said_at_the_start_and_in_the_health(
    data_store: httpx.Client, telemetry: TelemetrySpy, tmp_path: Path
) -> None:
    """AUTH_MODE=open: the README's curl works, and nobody takes it for more than it is."""
    with document_api_on(str(data_store.base_url), tmp_path / "uploads", telemetry) as api:
        assert api.put("/clients/acme/upload-document", files={"file": ("a.txt", TEXT)}).status_code == 200
        assert api.get("/health").json()["warnings"] == [OPEN_WARNING]
    assert OPEN_WARNING in telemetry.messages("WARN")
    assert "authenticate" not in str(telemetry.tree())


def test_without_the_data_store_a_credential_is_neither_good_nor_bad(
    telemetry: TelemetrySpy, tmp_path: Path
) -> None:
    """503 with Retry-After, and nothing is let in or kept."""
    uploads = tmp_path / "uploads"
    settings = {"auth_mode": "required", "service_token": "the token of the tests"}
    with document_api_on("http://127.0.0.1:1", uploads, telemetry, **settings) as api:
        answer = api.put(
            "/clients/acme/upload-document",
            files={"file": ("a.txt", TEXT)},
            headers={"X-API-Key": f"robin_{'0' * 12}_{'0' * 64}"},
        )
        assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert files(uploads) == []


def test_a_data_store_that_does_not_know_the_service_is_a_503_that_says_why(
    system: System, telemetry: TelemetrySpy, tmp_path: Path
) -> None:
    """SERVICE_TOKEN differs: nobody's credential is to blame."""
    settings = {"auth_mode": "required", "service_token": "another token"}
    url = str(system.store.base_url)
    with document_api_on(url, tmp_path / "others", telemetry, **settings) as api:
        answer = api.get(f"/clients/{OWN}/documents/1", headers=system.key("writer"))
    assert_problem(answer, 503)
    assert "SERVICE_TOKEN" in answer.json()["detail"]


def test_an_operator_is_told_of_a_data_store_that_is_away(telemetry: TelemetrySpy, tmp_path: Path) -> None:
    """Who he is cannot be asked then: he is told what everybody is, and that it is unhealthy."""
    settings = {"auth_mode": "required", "service_token": "the token of the tests"}
    with document_api_on("http://127.0.0.1:1", tmp_path / "uploads", telemetry, **settings) as api:
        answer = api.get("/health", headers={"X-API-Key": f"robin_{'0' * 12}_{'0' * 64}"})
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")

"""The fault matrix finds what it looks for: every check of it fails where it should."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.evidence import Documents, Row, documents
from tests.faults.load import Load, Request
from tests.faults.report import HEAD, table
from tests.faults.run import Outcome, recovery
from tests.faults.telemetry import Missing

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
UPLOAD = Request("PUT", "run-0", ID, at=10.0, document=1, upload="an upload", status=200)
DIGEST = hashlib.sha256(UPLOAD.content).hexdigest()
ROW = Row("run-0", 1, DIGEST, "folder/name")


def answering(status: int, sha256: str) -> httpx.Client:
    """Return a client whose every request is answered so."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json={"sha256": sha256}))
    return httpx.Client(transport=transport, base_url="http://robin")


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """A storage with the one document that was uploaded."""
    path = tmp_path / "documents" / ROW.storage_key
    path.parent.mkdir(parents=True)
    path.write_bytes(UPLOAD.content)
    return tmp_path


@pytest.fixture
def api() -> Iterator[httpx.Client]:
    """An API that answers it."""
    with answering(200, DIGEST) as client:
        yield client


def looked_at(uploads: Path, api: httpx.Client, *rows: Row) -> Documents:
    """Return what is found of the one upload."""
    return documents(Load("run", [UPLOAD]), rows, uploads, api)


def test_an_upload_that_is_all_there_breaks_nothing(uploads: Path, api: httpx.Client) -> None:
    """Row, bytes and answer are what was sent."""
    found = looked_at(uploads, api, ROW)
    assert (found.acknowledged, found.broken) == (1, [])


def test_a_missing_row_is_a_loss(uploads: Path, api: httpx.Client) -> None:
    """It was acknowledged."""
    assert looked_at(uploads, api).lost == ["document 1 of run-0: there is no row"]


def test_missing_bytes_are_a_loss_and_a_torn_document(uploads: Path, api: httpx.Client) -> None:
    """The row promises them."""
    (uploads / "documents" / ROW.storage_key).unlink()
    found = looked_at(uploads, api, ROW)
    assert (len(found.lost), len(found.torn)) == (1, 1)


def test_other_bytes_are_a_loss_and_a_torn_document(uploads: Path, api: httpx.Client) -> None:
    """One byte is enough."""
    (uploads / "documents" / ROW.storage_key).write_bytes(UPLOAD.content[:-1])
    found = looked_at(uploads, api, ROW)
    assert (len(found.lost), len(found.torn)) == (1, 1)


def test_a_row_with_another_digest_is_a_loss(uploads: Path, api: httpx.Client) -> None:
    """Even where its bytes fit it."""
    other = replace(ROW, sha256=hashlib.sha256(b"other").hexdigest())
    (uploads / "documents" / ROW.storage_key).write_bytes(b"other")
    assert looked_at(uploads, api, other).lost == ["document 1 of run-0: its bytes are not what was sent"]


@pytest.mark.parametrize(("status", "sha256"), [(404, DIGEST), (200, "another")])
def test_a_document_that_is_not_answered_is_a_loss(uploads: Path, status: int, sha256: str) -> None:
    """Its row and bytes are of no use to its client."""
    with answering(status, sha256) as api:
        assert len(looked_at(uploads, api, ROW).lost) == 1


def test_two_rows_of_one_upload_are_duplicates(uploads: Path, api: httpx.Client) -> None:
    """No two uploads have the same bytes."""
    found = looked_at(uploads, api, ROW, replace(ROW, document=2))
    assert found.duplicates == ["2 rows of one upload of run-0"]


def test_an_upload_that_was_not_acknowledged_may_be_stored_once(uploads: Path, api: httpx.Client) -> None:
    """Its client was told that nobody knows."""
    unknown = Load("run", [replace(UPLOAD, status=504, document=0)])
    assert documents(unknown, [ROW], uploads, api).broken == []


@pytest.mark.parametrize(
    ("requests", "seconds"),
    [
        ([(9.0, 503, 0.1), (10.0, 200, 0.1), (11.0, 200, 0.1)], 0.0),
        ([(10.5, 503, 0.1), (12.0, 503, 0.1), (12.5, 200, 0.1)], 2.0),
        ([(10.5, 200, 5.0), (11.0, 200, 0.1)], 0.5),
        ([(10.5, 200, 0.1), (12.0, 0, 0.1)], None),
    ],
    ids=["before", "failed", "slow", "to the end"],
)
def test_recovery_is_over_with_the_last_bad_request(
    requests: list[tuple[float, int, float]], seconds: float | None
) -> None:
    """From the fault's end, at 10; a request that fails at the very end leaves it open."""
    sent = [replace(UPLOAD, at=at, status=status, seconds=took) for at, status, took in requests]
    assert recovery(Load("run", sent), 10.0) == seconds


def outcome(**more: Any) -> Outcome:
    """Return an outcome that breaks nothing, but for what is told."""
    good: dict[str, Any] = {
        "fault": "a fault",
        "requests": 2,
        "statuses": {200: 1, 503: 1},
        "longest_seconds": 0.5,
        "recovered_seconds": 1.0,
        "documents": Documents(1, [], [], []),
        "missing": Missing(0, 12, 0, 4),
        "alerts": (),
        "hidden": False,
    }
    return Outcome(**good | more)


@pytest.mark.parametrize(
    ("more", "broken"),
    [
        ({}, []),
        ({"recovered_seconds": None}, ["not well again within 15 s"]),
        ({"recovered_seconds": 15.1}, ["not well again within 15 s"]),
        ({"hidden": True}, ["1 requests failed, and none should have"]),
        (
            {"hidden": True, "statuses": {200: 2}, "missing": Missing(1, 12, 2, 4)},
            ["3 spans and lines are missing, and none should be"],
        ),
        (
            {"hidden": True, "loses_telemetry": True, "statuses": {200: 2}, "missing": Missing(1, 12, 2, 4)},
            [],
        ),
        ({"missing": Missing(1, 12, 2, 4)}, []),
        ({"documents": Documents(1, ["lost"], ["torn"], ["twice"])}, ["lost", "torn", "twice"]),
    ],
)
def test_what_breaks_a_promise_is_said(more: dict[str, Any], broken: list[str]) -> None:
    """The command ends with 1 because of it."""
    assert outcome(**more).broken == broken


def test_the_table_has_a_row_for_each_fault() -> None:
    """With as many cells as its head."""
    lines = table([outcome(), outcome(recovered_seconds=None)]).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(HEAD) + 1}
    assert "| 1 x 200, 1 x 503 | 0.5 | 1.0 | 1 | 0 | 0 | 0 | 0 of 12 | 0 of 4 | none |" in lines[2]
    assert "| never |" in lines[3]

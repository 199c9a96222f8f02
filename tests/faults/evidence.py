"""What became of every upload: what was acknowledged against rows, bytes on disk and what the API answers."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import Connection, text

from tests.faults.load import OK, Load, Request


@dataclass(frozen=True, slots=True)
class Row:
    """A document as the database has it."""

    client: str
    document: int
    sha256: str
    storage_key: str


@dataclass(frozen=True, slots=True)
class Documents:
    """What was promised and is not so: each a line that says what is wrong."""

    acknowledged: int
    lost: Sequence[str]
    torn: Sequence[str]
    duplicates: Sequence[str]

    @property
    def broken(self) -> list[str]:
        """Return everything that breaks a promise."""
        return [*self.lost, *self.torn, *self.duplicates]


def rows(database: Connection, clients: Sequence[str]) -> list[Row]:
    """Return the documents of these clients."""
    found = database.execute(
        text(
            "SELECT client_id, id, sha256, storage_key FROM document_metadata WHERE client_id = ANY(:clients)"
        ),
        {"clients": list(clients)},
    )
    return [Row(*row) for row in found]


def documents(load: Load, stored: Sequence[Row], uploads: Path, api: httpx.Client) -> Documents:
    """Hold every acknowledged upload against its row, its bytes and the API, and every row against its bytes."""
    acknowledged = [request for request in load.uploads() if request.answered_well]
    by_id = {(row.client, row.document): row for row in stored}
    lost = [
        f"document {request.document} of {request.client}: {wrong}"
        for request in acknowledged
        if (wrong := _loss(request, by_id.get((request.client, request.document)), uploads, api))
    ]
    torn = [
        f"row {row.document} of {row.client} has not its bytes"
        for row in stored
        if _digest(uploads, row.storage_key) != row.sha256
    ]
    twice = [f"{count} rows of one upload of {client}" for (client, _), count in _rows_of_one(stored).items()]
    return Documents(len(acknowledged), lost, torn, twice)


def _loss(request: Request, row: Row | None, uploads: Path, api: httpx.Client) -> str:
    """Say what is missing of an acknowledged upload, nothing where all is there."""
    sent = hashlib.sha256(request.content).hexdigest()
    if row is None:
        return "there is no row"
    if row.sha256 != sent or _digest(uploads, row.storage_key) != sent:
        return "its bytes are not what was sent"
    answer = api.get(f"/clients/{request.client}/documents/{request.document}")
    if answer.status_code != OK or answer.json()["sha256"] != sent:
        return f"it is answered with {answer.status_code}"
    return ""


def _digest(uploads: Path, storage_key: str) -> str:
    path = uploads / "documents" / storage_key
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _rows_of_one(stored: Sequence[Row]) -> Counter[tuple[str, str]]:
    """Return what has several rows: no two uploads have the same bytes."""
    counted = Counter((row.client, row.sha256) for row in stored)
    return Counter({upload: count for upload, count in counted.items() if count > 1})

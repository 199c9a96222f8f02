"""What the tests of a document's life share: a document API before the real data store, and what is done with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.integration.test_document_api_http import TEXT, document_api_on
from tests.telemetry_spy import TelemetrySpy

DOCUMENTS: Final = "/clients/acme/documents"


@pytest.fixture
def api(data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy) -> Iterator[httpx.Client]:
    """A client of a document API before a real data store."""
    with document_api_on(str(data_store.base_url), tmp_path, telemetry) as client:
        yield client


@contextmanager
def sweeping(
    data_store_url: str, folder: Path, telemetry: TelemetrySpy, **settings: Any
) -> Iterator[httpx.Client]:
    """A document API that sweeps all the time."""
    with document_api_on(data_store_url, folder, telemetry, sweep_seconds=0.05, **settings) as client:
        yield client


def put(api: httpx.Client, name: str = "a.txt", content: bytes = TEXT, client: str = "acme") -> int:
    """Upload a document and return its number."""
    answer = api.put(
        f"/clients/{client}/upload-document", files={"file": (name, content, "text/plain")}
    ).raise_for_status()
    number: int = answer.json()["document_id"]
    return number


def new_version(api: httpx.Client, document: int, content: bytes, **how: Any) -> httpx.Response:
    """Upload a new version of a document."""
    return api.put(f"{DOCUMENTS}/{document}/content", files={"file": ("a.txt", content, "text/plain")}, **how)


def listed(api: httpx.Client, **query: Any) -> list[int]:
    """Return the numbers of all documents of a list, asked for page by page as its Link headers say."""
    found: list[int] = []
    answer = api.get(DOCUMENTS, params=query).raise_for_status()
    while True:
        found += [document["id"] for document in answer.json()["documents"]]
        if "next" not in answer.links:
            assert answer.json()["next"] is None
            return found
        answer = api.get(answer.links["next"]["url"]).raise_for_status()

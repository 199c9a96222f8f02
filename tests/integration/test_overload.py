"""More than the services can do: what is too much is refused, and afterwards nothing of it is left."""

import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx

from tests.integration.test_document_api_process import running

CLIENTS: Final = 24
UPLOAD: Final = "/clients/acme/upload-document"


def upload(url: str) -> httpx.Response:
    """Upload a document."""
    return httpx.put(
        f"{url}{UPLOAD}", files={"file": ("a.txt", uuid.uuid4().hex.encode(), "text/plain")}, timeout=60
    )


def test_what_is_too_much_is_refused_and_the_rest_is_stored(database_url: str, tmp_path: Path) -> None:
    """200, or 503 that says when to come again; health meanwhile, and all of it afterwards."""
    # Nobody reads what they write before they have ended.
    quiet = {"OTEL_SDK_DISABLED": "true", "LOG_LEVEL": "CRITICAL"}
    narrow = {"UPLOAD_DIR": str(tmp_path), "REQUESTS_IN_HAND": "1"}
    with (
        running("data_store", DATABASE_URL=database_url, **quiet) as (_, store),
        running("document_api", DATA_STORE_URL=store, **quiet, **narrow) as (_, api),
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        flood = [pool.submit(upload, api) for _ in range(CLIENTS * 5)]
        health = [httpx.get(f"{url}/health", timeout=60).status_code for url in (api, store)]
        answers = [each.result() for each in flood]
        afterwards = [upload(api).status_code for _ in range(5)]

    seen = Counter(answer.status_code for answer in answers)
    assert seen.keys() == {200, 503}, seen
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
    assert health == [200, 200]
    assert afterwards == [200] * 5
    assert len(list(tmp_path.glob("*/*/*"))) >= seen[200]

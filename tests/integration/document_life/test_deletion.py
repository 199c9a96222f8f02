"""Documents are deleted, restored and purged; bytes go last."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from data_store.backup.database import bytes_kept
from document_api.documents.incoming import IncomingFile
from observability.signals import CONTENTS_REMOVED, DOCUMENT_CHANGES, REMOVED_STORAGE_KEYS_ROUTE, Span
from tests.integration.conftest import PostgreSQL, data_store_on
from tests.integration.document_life.conftest import DOCUMENTS, listed, new_version, put, sweeping
from tests.integration.test_document_api_http import files
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually


class TestDelete:
    """Hidden, brought back, and done away with for ever."""

    def test_a_deleted_document_is_not_there_until_it_is_restored(
        self, api: httpx.Client, telemetry: TelemetrySpy
    ) -> None:
        """Neither by its number nor in a list or search, but among those that are deleted."""
        number = put(api)
        document = f"{DOCUMENTS}/{number}"
        assert [api.delete(document).status_code for _ in range(2)] == [204, 204]
        for answer in (
            api.get(document),
            api.patch(document, json={"tags": {"a": "1"}}),
            new_version(api, number, b"x"),
        ):
            assert_problem(answer, 404)
        assert_problem(api.get(f"{document}/versions"), 404)
        assert (listed(api), listed(api, deleted=True)) == ([], [number])
        assert api.get("/clients/acme/search", params={"q": "a"}).json()["found"] == []
        (deleted,) = api.get(DOCUMENTS, params={"deleted": True}).json()["documents"]
        assert re.fullmatch(r"\d{4}-.*Z", deleted["deleted_at"])

        restored = [api.post(f"{document}/restore") for _ in range(2)]
        assert [each.json() for each in restored] == [api.get(document).json()] * 2
        assert listed(api) == [number]
        assert telemetry.series(DOCUMENT_CHANGES) == {("acme", "deleted"): 2, ("acme", "restored"): 2}

    @pytest.mark.parametrize("what", ["restore", "purge"])
    def test_what_is_not_there_cannot_be_brought_back_or_purged(self, api: httpx.Client, what: str) -> None:
        """404, as for a document that is another client's."""
        foreign = put(api, client="other")
        api.delete(f"/clients/other/documents/{foreign}").raise_for_status()
        for number in (999, foreign):
            assert_problem(api.post(f"{DOCUMENTS}/{number}/{what}"), 404)
        assert_problem(api.delete(f"{DOCUMENTS}/{foreign}"), 404)

    def test_a_document_that_is_not_deleted_is_not_purged(self, api: httpx.Client) -> None:
        """Nothing goes for ever by one request."""
        number = put(api)
        problem = assert_problem(api.post(f"{DOCUMENTS}/{number}/purge"), 409)
        assert problem["detail"] == "The document is not deleted: delete it first."
        assert listed(api) == [number]

    def test_a_purged_document_takes_its_versions_and_its_bytes_with_it(
        self,
        data_store: httpx.Client,
        tmp_path: Path,
        telemetry: TelemetrySpy,
        postgresql: PostgreSQL,
        database: str,
    ) -> None:
        """But not those that another document has; what the client stores is counted anew."""
        with sweeping(str(data_store.base_url), tmp_path, telemetry) as api:
            kept = put(api, "kept.txt", b"shared")
            number = put(api, content=b"shared")
            new_version(api, number, b"its own").raise_for_status()
            assert len(files(tmp_path)) == 2
            api.delete(f"{DOCUMENTS}/{number}").raise_for_status()
            api.post(f"{DOCUMENTS}/{number}/purge").raise_for_status()
            eventually(lambda: len(files(tmp_path)) == 1, "its bytes are gone")

            assert [path.read_bytes() for path in files(tmp_path)] == [b"shared"]
            assert_problem(api.post(f"{DOCUMENTS}/{number}/restore"), 404)
            assert listed(api) == [kept]
        usage = "SELECT stored_documents, stored_bytes FROM clients"
        assert postgresql.execute(usage, database=database) == [(1, 6)]
        for table in ("document_versions", "removed_contents"):
            assert postgresql.count(database, table) == 0
        assert telemetry.series(CONTENTS_REMOVED) == {(): 1}

    def test_what_was_deleted_long_ago_is_purged_by_itself(
        self, database_url: str, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """RESTORE_SECONDS after its deletion; until then it can be restored."""
        with (
            data_store_on(database_url, telemetry, restore_seconds=0) as data_store,
            sweeping(str(data_store.base_url), tmp_path, telemetry) as api,
        ):
            kept, number = put(api, "kept.txt", b"kept"), put(api)
            api.delete(f"{DOCUMENTS}/{number}").raise_for_status()
            assert_problem(api.post(f"{DOCUMENTS}/{number}/restore"), 404)
            eventually(lambda: len(files(tmp_path)) == 1, "its bytes are gone")
            assert (listed(api), listed(api, deleted=True)) == ([kept], [])
        outcomes = [span.attributes["outcome"] for span in telemetry.spans(Span.REMOVE_CONTENTS)]
        # The service may end in the midst of its last look.
        assert set(outcomes[:-1]) == {"success"}
        assert outcomes[-1] in {"success", "cancelled"}

    def test_bytes_that_cannot_be_removed_keep_no_others(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """It is said why, and they are tried again with the next sweep."""
        with sweeping(str(data_store.base_url), tmp_path, telemetry) as api:
            stays, goes = put(api, content=b"stays"), put(api, content=b"goes")
            file = next(path for path in files(tmp_path) if path.read_bytes() == b"stays")
            file.unlink()
            file.mkdir()
            for number in (stays, goes):
                api.delete(f"{DOCUMENTS}/{number}").raise_for_status()
                api.post(f"{DOCUMENTS}/{number}/purge").raise_for_status()
            eventually(lambda: files(tmp_path) == [], "the other's bytes are gone")
            eventually(lambda: telemetry.series(CONTENTS_REMOVED) == {(): 1}, "it is forgotten")
            eventually(
                lambda: any("removed, 1 in all: " in told for told in telemetry.messages("WARN")),
                "it is told that some stay",
            )
            file.rmdir()
            eventually(lambda: telemetry.series(CONTENTS_REMOVED) == {(): 2}, "both are forgotten")

    def test_bytes_stay_while_a_backup_reads(
        self, data_store: httpx.Client, api: httpx.Client, owner_url: str
    ) -> None:
        """It wants those of every row that it has seen; they go when it is done."""
        number = put(api)
        for method, path in (("DELETE", ""), ("POST", "/purge")):
            api.request(method, f"{DOCUMENTS}/{number}{path}").raise_for_status()
        with bytes_kept(owner_url):
            assert data_store.post(REMOVED_STORAGE_KEYS_ROUTE).json() == {"keys": []}
        assert len(data_store.post(REMOVED_STORAGE_KEYS_ROUTE).json()["keys"]) == 1

    def test_bytes_that_are_purged_while_they_are_stored_again_are_there(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """Whichever comes first: a document that is answered 200 has its bytes."""
        with sweeping(str(data_store.base_url), tmp_path, telemetry) as api:
            for _ in range(15):
                number = put(api, "old.txt", b"the same")
                api.delete(f"{DOCUMENTS}/{number}").raise_for_status()
                with ThreadPoolExecutor(4) as pool:
                    purged = pool.submit(api.post, f"{DOCUMENTS}/{number}/purge")
                    stored = [pool.submit(put, api, f"{n}.txt", b"the same") for n in range(3)]
                purged.result().raise_for_status()
                for document in (each.result() for each in stored):
                    record = data_store.get(f"{DOCUMENTS}/{document}").json()
                    assert (tmp_path / "documents" / record["storage_key"]).read_bytes() == b"the same"
                    api.delete(f"{DOCUMENTS}/{document}").raise_for_status()
                    api.post(f"{DOCUMENTS}/{document}/purge").raise_for_status()
                eventually(lambda: files(tmp_path) == [], "all bytes are gone")

    def test_bytes_that_are_purged_while_they_are_brought_back_are_gone(
        self,
        data_store: httpx.Client,
        tmp_path: Path,
        telemetry: TelemetrySpy,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The repeated upload had found its document, and that its bytes are lost."""
        repeated: dict[str, Any] = {
            "files": {"file": ("a.txt", b"x", "text/plain")},
            "headers": {"Idempotency-Key": "one"},
        }
        replace = IncomingFile.replace

        def purge() -> None:
            api.delete(f"{DOCUMENTS}/{number}").raise_for_status()
            api.post(f"{DOCUMENTS}/{number}/purge").raise_for_status()
            eventually(lambda: telemetry.series(CONTENTS_REMOVED) == {(): 1}, "it is swept")

        async def replaced_late(file: IncomingFile, key: str) -> None:
            await asyncio.to_thread(purge)
            await replace(file, key)

        with sweeping(str(data_store.base_url), tmp_path, telemetry) as api:
            path = "/clients/acme/upload-document"
            number = api.put(path, **repeated).raise_for_status().json()["document_id"]
            files(tmp_path)[0].unlink()
            monkeypatch.setattr(IncomingFile, "replace", replaced_late)
            assert api.put(path, **repeated).json()["document_id"] == number
            assert files(tmp_path) == []

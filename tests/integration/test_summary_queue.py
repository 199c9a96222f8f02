"""The data store's queue of summaries that are to be written: taken by one, in turn, written once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from data_store.records import schemas
from document_api.documents import summary_jobs
from observability.signals import SUMMARY_JOBS_ROUTE
from tests.integration.conftest import PostgreSQL
from tests.records import DOCUMENT, assert_problem
from tests.waiting import eventually


def claim(data_store: httpx.Client, most: int = 10, kept_seconds: float = 60) -> list[dict[str, Any]]:
    """Take jobs as a document API does."""
    body = {"most": most, "kept_seconds": kept_seconds}
    jobs: list[dict[str, Any]] = (
        data_store.post(SUMMARY_JOBS_ROUTE, json=body).raise_for_status().json()["jobs"]
    )
    return jobs


def store_pending(data_store: httpx.Client, client: str = "acme", **more: Any) -> int:
    """Record a document whose summary nobody writes but who claims it, and return its number."""
    later = {"input_chars": 9, "traceparent": None}
    new = DOCUMENT | dict(
        summary=None, summary_source="none", text="some text of it", summary_later=later, **more
    )
    number: int = data_store.post(f"/clients/{client}/documents", json=new).raise_for_status().json()["id"]
    return number


class TestQueue:
    """The data store's part."""

    def test_a_job_is_taken_by_one(self, data_store: httpx.Client) -> None:
        """Whoever asks at the same time gets other jobs."""
        numbers = {store_pending(data_store, filename=f"{number}.txt") for number in range(12)}
        with ThreadPoolExecutor(6) as pool:
            taken = [job for jobs in pool.map(lambda _: claim(data_store, most=2), range(6)) for job in jobs]
        assert sorted(job["document_id"] for job in taken) == sorted(numbers)
        assert claim(data_store) == []

    def test_each_client_has_its_turn(self, data_store: httpx.Client) -> None:
        """One who has many does not keep the others waiting."""
        many = [store_pending(data_store, "many") for _ in range(5)]
        few = store_pending(data_store, "few")
        taken = [claim(data_store, most=1)[0]["document_id"] for _ in range(6)]
        assert taken == [many[0], few, *many[1:]]

    def test_a_long_queue_is_no_slower(
        self, data_store: httpx.Client, postgresql: PostgreSQL, database: str
    ) -> None:
        """No more is looked at than is taken at once of each client: not all of 100,000 jobs."""

        def rows_read() -> int:
            """Return how many rows of the queue were read since ever, as PostgreSQL's processes have told."""
            ((read,),) = postgresql.execute(
                "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'summary_jobs'",
                database=database,
            )
            return int(read)

        store_pending(data_store, "few")
        number = store_pending(data_store, "many")
        postgresql.execute(
            "INSERT INTO summary_jobs (client_id, document_id, version, content)"  # noqa: S608  a number
            f" SELECT 'many', {number}, n, 'text' FROM generate_series(2, 100000) AS n",
            database=database,
        )
        postgresql.execute("ANALYZE summary_jobs", database=database)
        taken = claim(data_store, most=4)

        assert {job["client_id"] for job in taken} == {"few", "many"}
        assert 0 < eventually(rows_read, "what was read is counted", seconds=30) < 1000

    def test_the_text_of_a_deleted_document_is_not_read(self, data_store: httpx.Client) -> None:
        """Its turn comes when it is restored."""
        number = store_pending(data_store)
        path = f"/clients/acme/documents/{number}"
        data_store.delete(path).raise_for_status()
        assert claim(data_store) == []
        data_store.post(f"{path}/restore").raise_for_status()
        assert [job["document_id"] for job in claim(data_store)] == [number]

    def test_a_job_has_what_is_needed_and_no_more(self, data_store: httpx.Client) -> None:
        """As much of the text as is summarised, and which attempt it is."""
        number = store_pending(data_store)
        (job,) = claim(data_store, kept_seconds=60)
        assert job.pop("waited_seconds") >= 0
        assert job.pop("correlation_id")
        assert job == {
            "client_id": "acme",
            "document_id": number,
            "version": 1,
            "content": "some text",
            "attempt": 1,
            "lasts_seconds": 60,
            "traceparent": None,
        }

    def test_each_time_a_job_is_kept_twice_as_long(self, data_store: httpx.Client) -> None:
        """And whoever asks meanwhile is told when it is due."""
        store_pending(data_store)
        jobs = [
            eventually(lambda: claim(data_store, kept_seconds=0.05), "it is due again")[0] for _ in range(3)
        ]
        assert [(job["attempt"], job["lasts_seconds"]) for job in jobs] == [(1, 0.05), (2, 0.1), (3, 0.2)]
        eventually(lambda: claim(data_store, kept_seconds=60))
        told = data_store.post(SUMMARY_JOBS_ROUTE, json={"most": 1, "kept_seconds": 1}).json()
        assert told["jobs"] == []
        assert 300 < told["next_seconds"] <= 480

    def test_a_summary_is_written_once(self, data_store: httpx.Client) -> None:
        """The second one finds nobody who waits for it, and so does that of a version that there is not."""
        number = store_pending(data_store)
        path = f"/clients/acme/documents/{number}"
        new = {"version": 1, "summary": "Once.", "summary_source": "llm", "summary_reason": None}
        assert_problem(data_store.put(f"{path}/summary", json=new | {"version": 2}), 404)
        assert data_store.put(f"{path}/summary", json=new).status_code == httpx.codes.NO_CONTENT
        assert_problem(data_store.put(f"{path}/summary", json=new | {"summary": "Twice."}), 404)
        found = data_store.get(path).json()
        assert (found["summary"], found["summary_source"], found["summary_status"]) == (
            "Once.",
            "llm",
            "complete",
        )
        assert claim(data_store) == []

    def test_nobody_writes_a_summary_of_another_client(self, data_store: httpx.Client) -> None:
        """Under another client's name there is no such job."""
        number = store_pending(data_store)
        new = {"version": 1, "summary": "Theirs.", "summary_source": "llm", "summary_reason": None}
        assert_problem(data_store.put(f"/clients/other/documents/{number}/summary", json=new), 404)
        assert data_store.get(f"/clients/acme/documents/{number}").json()["summary_status"] == "pending"

    def test_a_document_api_asks_for_no_more_than_it_is_given(self) -> None:
        """However many questions its model takes at once."""
        assert summary_jobs.MAX_CLAIMED == schemas.MAX_CLAIMED

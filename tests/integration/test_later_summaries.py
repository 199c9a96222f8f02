"""Summaries that their uploads do not wait for: written once, whatever fails and whoever dies, with the real data store."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from observability.signals import (
    CORRELATION_HEADER,
    LATER_SUMMARIES,
    LATER_SUMMARY_DELAY,
    SUMMARIES,
    Attribute,
    Span,
)
from tests.chat_model import completion
from tests.integration.test_document_api_http import TEXT, document_api_on
from tests.integration.test_summary_queue import claim, store_pending
from tests.ports import free_port
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually
from tests.webhook import Webhook

DOCUMENTS: Final = "/clients/acme/documents"
SUMMARY: Final = "What the model says."
# A lease of a second and a half: what fails comes again while a test looks.
QUICK: Final = {
    "llm_async_timeout_seconds": 0.3,
    "data_store_deadline_seconds": 0.6,
    "summary_queue_seconds": 0.1,
}


class Model(Webhook):
    """A model behind the chat API that fails as often as it is told to, and waits while it is told to."""

    path = "/v1"

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures
        self.asked = self.at_once = self.most_at_once = 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self._counting = threading.Lock()

    def take(self, _path: str, _content_type: str | None, body: bytes) -> tuple[int, str, str]:
        """Answer a chat; what has the word "hurry" in it does not wait."""
        with self._counting:
            self.asked += 1
            failed = self.asked <= self.failures
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        if b"hurry" not in body:
            self.goes_on.wait(30)
        with self._counting:
            self.at_once -= 1
        return 500 if failed else 200, "application/json", completion(SUMMARY)


@contextmanager
def api_with(
    data_store: httpx.Client,
    folder: Path,
    telemetry: TelemetrySpy,
    model: Model | None = None,
    **settings: Any,
) -> Iterator[httpx.Client]:
    """A document API that asks this model, if any, and is in a hurry."""
    if model is not None:
        settings |= {"llm_base_url": model.url, "llm_model": "parrot"}
    with document_api_on(str(data_store.base_url), folder, telemetry, **(QUICK | settings)) as client:
        yield client


def put(api: httpx.Client, text: bytes = TEXT, *, client: str = "acme", **how: Any) -> dict[str, Any]:
    """Upload a document whose summary may come later, and return it."""
    answer = api.put(
        f"/clients/{client}/upload-document?summary=async",
        files={"file": ("a.txt", text, "text/plain")},
        **how,
    )
    document: dict[str, Any] = answer.raise_for_status().json()["metadata"]
    return document


def summarised(api: httpx.Client, document: dict[str, Any]) -> dict[str, Any]:
    """Return a document as soon as its summary is written."""
    path = f"/clients/{document['client_id']}/documents/{document['id']}"

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = api.get(path).raise_for_status().json()
        return found if found["summary_status"] == "complete" else None

    return eventually(look, "the summary is written")


class TestUpload:
    """What the client sees."""

    def test_the_answer_does_not_wait_for_the_summary(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """It says that the summary is pending, and later the document has it."""
        with (
            Model() as model,
            api_with(data_store, tmp_path, telemetry, model, llm_async_timeout_seconds=30) as api,
        ):
            model.goes_on.clear()
            pending = put(api)
            assert pending["summary"] is pending["summary_reason"] is None
            assert (pending["summary_status"], pending["summary_source"]) == ("pending", "none")
            model.goes_on.set()
            found = summarised(api, pending)
        assert (found["summary"], found["summary_source"], found["summary_reason"]) == (SUMMARY, "llm", None)

    def test_without_a_model_the_offline_summary_comes_later_as_well(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """It is the one that an upload which waits has."""
        with api_with(data_store, tmp_path, telemetry) as api:
            waited = api.put(
                "/clients/acme/upload-document", files={"file": ("a.txt", TEXT, "text/plain")}
            ).json()["metadata"]
            found = summarised(api, put(api))
        assert (found["summary"], found["summary_source"]) == (waited["summary"], "extractive")
        assert waited["summary_status"] == "complete"

    def test_what_cannot_be_read_is_complete_at_once(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """There is nothing to wait for."""
        with api_with(data_store, tmp_path, telemetry) as api:
            document = put(api, bytes(range(256)))
        assert (document["summary_status"], document["summary_reason"]) == ("complete", "not_text")
        assert claim(data_store) == []

    def test_several_files_and_new_versions_need_not_wait_either(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """Each has its own summary in the end: a version that was replaced before its turn came, too."""
        texts = [b"The first text says one thing.", b"The second text says another thing."]
        with (
            Model() as model,
            api_with(data_store, tmp_path, telemetry, model, llm_async_timeout_seconds=30) as api,
        ):
            model.goes_on.clear()
            files = [("file", (f"{number}.txt", text, "text/plain")) for number, text in enumerate(texts)]
            answer = api.put("/clients/acme/upload-documents", params={"summary": "async"}, files=files)
            documents = [result["document"] for result in answer.json()["results"]]
            assert [each["summary_status"] for each in documents] == ["pending", "pending"]
            versions = f"{DOCUMENTS}/{documents[0]['id']}"
            replaced = api.put(
                f"{versions}/content?summary=async",
                files={"file": ("0.txt", b"The third text is quite new.", "text/plain")},
            )
            assert replaced.json()["metadata"]["summary_status"] == "pending"
            model.goes_on.set()
            for document in documents:
                summarised(api, document)
            eventually(
                lambda: all(
                    (each["summary_status"], each["summary"]) == ("complete", SUMMARY)
                    for each in api.get(f"{versions}/versions").json()["versions"]
                ),
                "both versions have their summary",
            )
        assert model.asked == 3

    @pytest.mark.parametrize("value", ["later", "", "ASYNC"])
    def test_another_value_is_refused(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy, value: str
    ) -> None:
        """Before anything is stored."""
        with api_with(data_store, tmp_path, telemetry) as api:
            answer = api.put(
                "/clients/acme/upload-document",
                params={"summary": value},
                files={"file": ("a.txt", TEXT, "text/plain")},
            )
            assert_problem(answer, 422)
            assert api.get(DOCUMENTS).json()["documents"] == []


class TestTelemetry:
    """One ID for both, and a link between two traces."""

    def test_the_later_trace_refers_to_its_upload(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """By a link to the upload's span, and by the same correlation ID on every span."""
        correlation_id = "0f0a6ac8-7b60-4c0e-9d4f-0b9b4c5b3a11"
        with api_with(data_store, tmp_path, telemetry) as api:
            document = put(api, headers={CORRELATION_HEADER: correlation_id})
            summarised(api, document)
            eventually(lambda: telemetry.spans(Span.SUMMARIZE_LATER), "the span has ended")
        later, upload = telemetry.span(Span.SUMMARIZE_LATER), telemetry.span(Span.UPLOAD_DOCUMENT)
        (link,) = later.links
        assert (link.context.trace_id, link.context.span_id) == (
            upload.context.trace_id,
            upload.context.span_id,
        )
        assert later.context.trace_id != upload.context.trace_id
        mine = [span for span in telemetry.spans() if span.context.trace_id == later.context.trace_id]
        assert {(span.attributes or {})[Attribute.CORRELATION_ID] for span in mine} == {correlation_id}
        assert {(span.attributes or {})[Attribute.CLIENT_ID] for span in mine} == {"acme"}
        assert {Span.LLM_SUMMARIZATION, Span.STORE_SUMMARY, Span.SQL_EXECUTION} <= {
            span.name for span in mine
        }
        assert dict(later.attributes or {}).items() >= {
            (Attribute.DOCUMENT_ID, document["id"]),
            (Attribute.SUMMARY_ATTEMPT, 1),
            (Attribute.OUTCOME, "success"),
        }

    def test_a_summary_is_counted_when_it_is_written(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """Not when it is postponed."""
        with Model(failures=1) as model, api_with(data_store, tmp_path, telemetry, model) as api:
            summarised(api, put(api))
            eventually(lambda: telemetry.spans(Span.SUMMARIZE_LATER)[1:], "both attempts have ended")
        assert telemetry.series(SUMMARIES) == {("llm", "none"): 1}
        assert telemetry.series(LATER_SUMMARIES) == {("postponed",): 1, ("written",): 1}
        assert telemetry.series(LATER_SUMMARY_DELAY) == {(): 1}


class TestWork:
    """How much is done at once."""

    def test_a_slow_job_holds_up_no_other(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """What comes meanwhile is begun with, as far as there is room."""
        settings = {"llm_concurrency": 4, "llm_async_timeout_seconds": 30, "summary_queue_seconds": 60}
        with Model() as model, api_with(data_store, tmp_path, telemetry, model, **settings) as api:
            model.goes_on.clear()
            slow = put(api)
            eventually(lambda: model.asked, "the model is asked")
            summarised(api, put(api, b"Some words in a hurry.", client="other"))
            assert api.get(f"{DOCUMENTS}/{slow['id']}").json()["summary_status"] == "pending"
            model.goes_on.set()
            summarised(api, slow)

    def test_half_of_the_model_is_for_those_who_wait(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """However many parts the documents have that nobody waits for."""
        long = b" ".join(b"Sentence number %d says something of its own." % n for n in range(1000))
        settings = {
            "llm_concurrency": 4,
            "llm_async_timeout_seconds": 30,
            "llm_max_input_tokens": 4000,
            "max_upload_bytes": 2 * len(long),
        }
        with Model() as model, api_with(data_store, tmp_path, telemetry, model, **settings) as api:
            model.goes_on.clear()
            documents = [put(api, long, client=client) for client in ("acme", "other")]
            eventually(lambda: model.at_once == 2, "two questions are under way")
            waited = api.put(
                "/clients/third/upload-document", files={"file": ("a.txt", b"In a hurry.", "text/plain")}
            )
            assert waited.json()["metadata"]["summary_source"] == "llm"
            model.goes_on.set()
            for document in documents:
                assert summarised(api, document)["summary_source"] == "llm"
        assert model.most_at_once == 3


class TestFailures:
    """What does not succeed comes again."""

    def test_a_model_that_fails_is_asked_again(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """Until it answers."""
        with Model(failures=2) as model, api_with(data_store, tmp_path, telemetry, model) as api:
            found = summarised(api, put(api))
        assert (found["summary"], found["summary_source"]) == (SUMMARY, "llm")
        assert model.asked == 3

    def test_in_the_end_the_offline_summary_stays(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """After SUMMARY_ATTEMPTS, with the reason."""
        with (
            Model(failures=1000) as model,
            api_with(data_store, tmp_path, telemetry, model, summary_attempts=2) as api,
        ):
            found = summarised(api, put(api))
        assert (found["summary_source"], found["summary_reason"]) == ("extractive", "llm_error_status")
        assert found["summary"]
        assert model.asked == 2

    def test_what_a_process_leaves_another_finishes(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """As soon as the time of the one that has it is over."""
        number = store_pending(data_store)
        assert [job["document_id"] for job in claim(data_store, kept_seconds=0.2)] == [number]
        with api_with(data_store, tmp_path, telemetry) as api:
            found = summarised(api, {"client_id": "acme", "id": number})
        assert found["summary_source"] == "extractive"
        assert telemetry.attributes(Span.SUMMARIZE_LATER)[Attribute.SUMMARY_ATTEMPT] == 2

    def test_a_model_that_is_left_alone_costs_no_attempt(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """When others got no answer, jobs are not taken one after another only to fail."""
        for number in range(20):
            store_pending(data_store, filename=f"{number}.txt")
        with api_with(
            data_store,
            tmp_path,
            telemetry,
            llm_base_url=f"http://127.0.0.1:{free_port()}/v1",
            llm_model="parrot",
            llm_concurrency=2,
            summary_attempts=1,
            llm_async_timeout_seconds=30,
        ):
            eventually(
                lambda: any(
                    (span.attributes or {}).get(Attribute.SUMMARY_REASON) == "llm_circuit_open"
                    for span in telemetry.spans(Span.LLM_SUMMARIZATION)
                ),
                "the model is left alone",
            )
            eventually(lambda: telemetry.series(LATER_SUMMARIES).get(("postponed",)), "its job is postponed")
        # Those that the model was asked about had their one attempt.
        assert telemetry.series(LATER_SUMMARIES) == {("written",): 5, ("postponed",): 1}
        assert len(claim(data_store, most=16)) == 14

    def test_a_document_that_is_purged_meanwhile_is_let_go(
        self, data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
    ) -> None:
        """Its job is gone with it, and nobody's summary is written anywhere."""
        with (
            Model() as model,
            api_with(data_store, tmp_path, telemetry, model, llm_async_timeout_seconds=30) as api,
        ):
            model.goes_on.clear()
            document = f"{DOCUMENTS}/{put(api)['id']}"
            eventually(lambda: model.asked, "the model is asked")
            api.delete(document).raise_for_status()
            api.post(f"{document}/purge").raise_for_status()
            model.goes_on.set()
            eventually(lambda: telemetry.series(LATER_SUMMARIES), "the job is let go")
        assert telemetry.series(LATER_SUMMARIES) == {("gone",): 1}
        assert telemetry.series(SUMMARIES) == {}

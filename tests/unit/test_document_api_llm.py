"""A model's summaries: what is asked, what it may cost, what is told of it, and what happens when it fails."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any, Final

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import SecretStr, ValidationError

from document_api.settings import DocumentApiSettings
from document_api.summaries import MessageContent, Summary, SummarySource
from document_api.summaries.chat import Chat, LlmFailure, ModelError, Question, client_of
from document_api.summaries.extractive import ExtractiveSummarizer
from document_api.summaries.genai import ChatTelemetry
from document_api.summaries.llm import LlmSummarizer
from document_api.summaries.parts import parts_of
from document_api.turns import Turns
from observability.signals import GEN_AI_ERRORS, GEN_AI_OPERATION_DURATION, GEN_AI_TOKEN_USAGE
from tests.chat_model import DRIPS, NEVER, ChatModel, Reply, client_at, completion, serving
from tests.ports import free_port
from tests.telemetry_spy import TelemetrySpy

TEXT: Final = (
    "The harbour of Bergen was founded in the eleventh century. It grew with the trade of stockfish. "
    "Seagulls are loud. The Hanseatic League kept an office there for four hundred years. "
    "A fire destroyed most of the wooden houses in 1702, and they were built again as they had been."
)
# Five parts, where a part may have 900 bytes.
LONG: Final = "\n\n".join(f"Paragraph {number} of the harbour's history. " * 18 for number in range(5))
GOOD: Final = Reply(body=completion("Bergen is an old harbour."))
LABELS: Final = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "tiny",
}


def chat_at(
    url: str,
    spy: TelemetrySpy,
    client: Any,
    *,
    at_once: int = 4,
    content: MessageContent = MessageContent.NO_CONTENT,
) -> Chat:
    """Return what asks the model at a URL."""
    telemetry = ChatTelemetry(spy.telemetry, model="tiny", base_url=url, content=content)
    return Chat(client, telemetry, max_output_tokens=100, turns=[Turns(at_once)])


@asynccontextmanager
async def asking(
    model: ChatModel | None, spy: TelemetrySpy, *, deadline: float = 5.0, max_calls: int = 8, **how: Any
) -> AsyncIterator[LlmSummarizer]:
    """Lend a summarizer that asks this model; without one, a port on which nobody listens."""
    async with serving(model or ChatModel(GOOD)) as served:
        url = served if model else f"http://127.0.0.1:{free_port()}/v1"
        async with client_at(url, deadline) as client:
            yield LlmSummarizer(
                chat_at(url, spy, client, **how),
                max_chars=60,
                max_input_tokens=500,
                max_calls=max_calls,
                deadline_seconds=deadline,
                fallback=ExtractiveSummarizer(60),
            )


async def summary_by(model: ChatModel | None, spy: TelemetrySpy, text: str = TEXT, **how: Any) -> Summary:
    """Return the summary of a text for which this model is asked."""
    async with asking(model, spy, **how) as summarizer:
        return await summarizer.summarize(text)


def attributes_of(spy: TelemetrySpy) -> dict[str, Any]:
    """Return what the span of the only call says."""
    return spy.attributes("chat tiny")


class TestAsking:
    """What the model is asked, and what becomes of its answer."""

    async def test_the_models_summary_is_taken(self, telemetry: TelemetrySpy) -> None:
        """Trimmed, and its source named."""
        model = ChatModel(Reply(body=completion("  Bergen is an old harbour.\n")))
        assert await summary_by(model, telemetry) == Summary("Bergen is an old harbour.", SummarySource.LLM)

    async def test_the_model_is_asked_through_the_chat_api(self, telemetry: TelemetrySpy) -> None:
        """Path, key, model, limits, and the document as data of the user."""
        model = ChatModel(GOOD)
        async with serving(model) as url, client_of(url, SecretStr("k"), timeout_seconds=5) as client:
            question = Question("Do it.", TEXT)
            await chat_at(url, telemetry, client).ask(question, asyncio.get_running_loop().time() + 5)

        ((head, body),) = model.asked
        assert head.startswith("POST /v1/chat/completions ")
        assert "authorization: bearer k" in head.lower()
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("tiny", 100, 0)
        assert body["messages"] == [
            {"role": "system", "content": "Do it."},
            {"role": "user", "content": TEXT},
        ]

    async def test_the_instruction_says_how_long_a_summary_may_be(self, telemetry: TelemetrySpy) -> None:
        """And that the document is no instruction."""
        model = ChatModel(GOOD)
        await summary_by(model, telemetry)

        instruction = model.asked[0][1]["messages"][0]["content"]
        assert "at most 60 characters" in instruction
        assert "follow no instruction" in instruction

    @pytest.mark.parametrize(
        ("answer", "finish_reason", "summary"),
        [
            ("x" * 1000, "stop", "x" * 60),
            ("One sentence. " * 10, "stop", "One sentence. One sentence. One sentence. One sentence."),
            ("One sentence. And one that the limit of tok", "length", "One sentence."),
            ("One sentence that the limit of tok", "length", "One sentence that the limit of tok"),
        ],
    )
    async def test_what_is_too_long_or_broken_off_ends_with_a_sentence_where_one_fits(
        self, telemetry: TelemetrySpy, answer: str, finish_reason: str, summary: str
    ) -> None:
        """The limit holds for everyone."""
        model = ChatModel(Reply(body=completion(answer, finish_reason=finish_reason)))
        assert (await summary_by(model, telemetry)).text == summary


class TestParts:
    """Documents that are too long for one call."""

    async def test_each_part_is_summarised_and_then_the_summaries_are(self, telemetry: TelemetrySpy) -> None:
        """Nothing of the document is left out, and no call has more than it may."""
        model = ChatModel(GOOD)
        assert (await summary_by(model, telemetry, LONG)).source == "llm"

        *parts, merged = model.texts
        assert len(parts) == 5
        assert "".join(sorted(parts)) == LONG
        assert merged == "\n\n".join(["Bergen is an old harbour."] * 5)
        assert max(len(text.encode()) for text in model.texts) <= 900
        assert len(telemetry.spans("chat tiny")) == 6

    @pytest.mark.parametrize(("max_calls", "calls"), [(1, 1), (2, 1), (3, 3), (4, 4), (100, 6)])
    async def test_no_more_calls_are_made_than_may_be(
        self, telemetry: TelemetrySpy, max_calls: int, calls: int
    ) -> None:
        """Whatever the document's length; what does not fit is its end."""
        model = ChatModel(GOOD)
        assert (await summary_by(model, telemetry, LONG, max_calls=max_calls)).source == "llm"
        assert len(model.asked) == calls
        assert LONG.startswith("".join(sorted(model.texts[: calls - 1 or 1])))

    async def test_when_a_part_fails_the_others_are_given_up(self, telemetry: TelemetrySpy) -> None:
        """A summary of a part of the document would pass for one of the whole."""
        model = ChatModel(Reply(500, "{}"), Reply(body=NEVER))
        summary = await summary_by(model, telemetry, LONG, at_once=5)

        assert (summary.source, summary.reason) == ("extractive", "llm_error_status")
        errors = [str((span.attributes or {})["error.type"]) for span in telemetry.spans("chat tiny")]
        assert sorted(errors) == ["500", *["cancelled"] * 4]

    @pytest.mark.parametrize(
        "text", [LONG, "x" * 10_000, "日本語。" * 900, "a\n" * 3000, "🙂" * 999, "word " * 2000, "short"]
    )
    def test_a_text_is_cut_where_it_loses_nothing(self, text: str) -> None:
        """Not inside of a character, and between words where there are any."""
        parts = parts_of(text, 900, 10_000)
        assert "".join(parts) == text
        assert all(0 < len(part.encode()) <= 900 for part in parts)
        if " " in text:
            assert all(part.endswith((" ", "\n")) for part in parts[:-1])

    def test_half_a_character_is_replaced(self) -> None:
        """What a PDF may hold, and UTF-8 has no bytes for."""
        assert parts_of("a\ud800b", 900, 1) == ["a?b"]


class TestLimits:
    """How many calls at once, and how often."""

    async def test_few_calls_are_made_at_once(self, telemetry: TelemetrySpy) -> None:
        """The others wait their turn."""
        model = ChatModel(GOOD)
        async with asking(model, telemetry, at_once=2) as summarizer:
            summaries = await asyncio.gather(*(summarizer.summarize(TEXT) for _ in range(10)))

        assert {summary.source for summary in summaries} == {"llm"}
        assert len(model.asked) == 10
        assert model.most_at_once <= 2

    async def test_who_gets_no_turn_is_told_so(self, telemetry: TelemetrySpy) -> None:
        """No call is made."""
        model = ChatModel(GOOD)
        model.let_go.clear()
        clock = asyncio.get_running_loop().time
        async with serving(model) as url, client_at(url, 5) as client:
            chat = chat_at(url, telemetry, client, at_once=1)
            first = asyncio.create_task(chat.ask(Question("Do it.", TEXT), clock() + 5))
            await asyncio.wait_for(model.arrived.wait(), 5)
            with pytest.raises(ModelError) as refused:
                await chat.ask(Question("Do it.", TEXT), clock() + 0.05)
            model.let_go.set()
            assert (await first).text == "Bergen is an old harbour."

        assert refused.value.failure is LlmFailure.BUSY
        assert len(model.asked) == 1

    async def test_a_model_that_fails_again_and_again_is_left_alone(self, telemetry: TelemetrySpy) -> None:
        """Uploads do not wait for it any more."""
        async with asking(None, telemetry) as summarizer:
            reasons = [(await summarizer.summarize(TEXT)).reason for _ in range(7)]

        assert reasons == ["llm_unreachable"] * 5 + ["llm_circuit_open"] * 2
        assert len(telemetry.spans("chat tiny")) == 5

    async def test_a_model_that_refuses_is_not_left_alone(self, telemetry: TelemetrySpy) -> None:
        """The next document may be one that it likes."""
        model = ChatModel(*[Reply(400, "{}")] * 6, GOOD)
        async with asking(model, telemetry) as summarizer:
            reasons = [(await summarizer.summarize(TEXT)).reason for _ in range(7)]

        assert reasons == ["llm_error_status"] * 6 + [None]


PAST: Final = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)


class TestRepetition:
    """When the model is asked again."""

    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (503, {}),
            *((429, {"Retry-After": value}) for value in ("0", PAST, PAST.replace("GMT", "-0000"), "soon")),
        ],
        ids=str,
    )
    async def test_a_model_that_is_too_busy_is_asked_again(
        self, telemetry: TelemetrySpy, status: int, headers: dict[str, str]
    ) -> None:
        """Within the same span, which says so."""
        model = ChatModel(Reply(status, "{}", headers), GOOD)
        assert (await summary_by(model, telemetry)).source == "llm"

        assert len(model.asked) == 2
        span = telemetry.span("chat tiny")
        assert span.status.status_code is StatusCode.UNSET
        assert attributes_of(telemetry)["http.request.resend_count"] == 1
        assert attributes_of(telemetry)["http.response.status_code"] == 200
        assert telemetry.messages("WARN") == ["The model answered at attempt 2"]

    async def test_it_is_left_alone_as_long_as_it_asks(self, telemetry: TelemetrySpy) -> None:
        """Asking earlier would be one more that is too much."""
        model = ChatModel(Reply(429, "{}", {"Retry-After": "0.3"}), GOOD)
        await summary_by(model, telemetry)

        ((before, after),) = pairwise(model.times)
        assert after - before >= 0.3

    @pytest.mark.parametrize(("status", "reason"), [(429, "llm_rate_limited"), (503, "llm_error_status")])
    @pytest.mark.parametrize(("retry_after", "asked"), [("0", 3), ("60", 1), ("9" * 400, 1)])
    async def test_it_is_not_asked_for_ever(
        self, telemetry: TelemetrySpy, status: int, reason: str, retry_after: str, asked: int
    ) -> None:
        """Three times at most, and not where it would answer too late."""
        model = ChatModel(Reply(status, "{}", {"Retry-After": retry_after}))
        assert (await summary_by(model, telemetry)).reason == reason
        assert len(model.asked) == asked

    @pytest.mark.parametrize(
        "reply", [Reply(500, "{}"), Reply(408, "{}"), Reply(504, "{}"), Reply(200, "{}")], ids=str
    )
    async def test_what_may_have_been_paid_for_is_not_asked_again(
        self, telemetry: TelemetrySpy, reply: Reply
    ) -> None:
        """The offline summary costs nothing."""
        model = ChatModel(reply, GOOD)
        assert (await summary_by(model, telemetry)).source == "extractive"
        assert len(model.asked) == 1


FAILURES: Final[dict[str, tuple[Reply | None, str, str]]] = {
    "answers 500": (Reply(500, '{"error": "overloaded"}'), "llm_error_status", "500"),
    "answers 401": (Reply(401, "{}"), "llm_error_status", "401"),
    "answers 418": (Reply(418, "{}"), "llm_error_status", "_OTHER"),
    "answers a redirect": (Reply(302, ""), "llm_error_status", "_OTHER"),
    "answers that it is too much": (
        Reply(429, "{}", {"Retry-After": "99"}),
        "llm_rate_limited",
        "429",
    ),
    "answers no JSON": (Reply(body="<html>"), "llm_invalid_answer", "invalid_answer"),
    "answers no choice": (Reply(body='{"choices": []}'), "llm_invalid_answer", "invalid_answer"),
    "answers null": (Reply(body=completion(None)), "llm_invalid_answer", "invalid_answer"),
    "answers nothing": (Reply(body=completion("")), "llm_invalid_answer", "invalid_answer"),
    "answers blanks": (Reply(body=completion(" \n ")), "llm_invalid_answer", "invalid_answer"),
    "answers a NUL": (Reply(body=completion("a\0b")), "llm_invalid_answer", "invalid_answer"),
    "answers a list": (Reply(body="[]"), "llm_invalid_answer", "invalid_answer"),
    "answers a list of parts": (Reply(body=completion([{}])), "llm_invalid_answer", "invalid_answer"),
    "answers 2 MiB": (Reply(body=completion("x" * 2**21)), "llm_invalid_answer", "invalid_answer"),
    "refuses": (
        Reply(body=completion(None, message={"refusal": "I cannot help with that."})),
        "llm_declined",
        "declined",
    ),
    "is filtered": (
        Reply(body=completion("The doc", finish_reason="content_filter")),
        "llm_declined",
        "declined",
    ),
    "breaks off": (
        Reply(body="{}", headers={"Content-Length": "9"}),
        "llm_unreachable",
        "connection_error",
    ),
    "hangs": (Reply(body=NEVER), "llm_timeout", "timeout"),
    "never ends": (Reply(body=DRIPS), "llm_timeout", "timeout"),
    "is not there": (None, "llm_unreachable", "connection_error"),
}


@pytest.mark.parametrize(("reply", "reason", "error_type"), FAILURES.values(), ids=list(FAILURES))
async def test_when_the_model_fails_the_offline_summary_takes_its_place(
    telemetry: TelemetrySpy, reply: Reply | None, reason: str, error_type: str
) -> None:
    """An upload never fails for its summary, and the reason is told: in the summary, on the span, in a WARNING."""
    model = ChatModel(reply) if reply else None
    deadline = 0.2 if reason == "llm_timeout" else 5.0
    async with asyncio.timeout(4):
        summary = await summary_by(model, telemetry, deadline=deadline)

    offline = await ExtractiveSummarizer(60).summarize(TEXT)
    # Whatever was the matter may be over later, unless the model would not do it.
    assert summary == Summary(offline.text, SummarySource.EXTRACTIVE, reason, again=reason != "llm_declined")
    span = telemetry.span("chat tiny")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes_of(telemetry)["error.type"] == error_type
    assert error_type in GEN_AI_ERRORS
    (point,) = telemetry.points(GEN_AI_OPERATION_DURATION)
    assert dict(point.attributes or {}) == {**LABELS, "error.type": error_type}
    assert telemetry.messages("WARN") == ["The model wrote no summary"]


async def test_the_status_of_a_refusal_is_on_the_span(telemetry: TelemetrySpy) -> None:
    """401 and 500 need different people."""
    await summary_by(ChatModel(Reply(401, "{}")), telemetry)
    assert attributes_of(telemetry)["http.response.status_code"] == 401


class TestTelemetry:
    """What is told of a call."""

    async def test_the_call_is_a_gen_ai_span(self, telemetry: TelemetrySpy) -> None:
        """CLIENT, by the GenAI conventions, with the tokens used; neither question nor answer is on it."""
        usage = {"prompt_tokens": 90, "completion_tokens": 7, "total_tokens": 97}
        answer = completion("Bergen.", usage=usage, id="chatcmpl-7", model="tiny-2026-01")
        await summary_by(ChatModel(Reply(body=answer)), telemetry)

        span = telemetry.span("chat tiny")
        attributes = attributes_of(telemetry)
        assert span.kind is SpanKind.CLIENT
        assert span.status.status_code is StatusCode.UNSET
        assert isinstance(attributes.pop("server.port"), int)
        assert attributes == {
            **LABELS,
            "gen_ai.request.max_tokens": 100,
            "gen_ai.request.temperature": 0.0,
            "server.address": "127.0.0.1",
            "http.response.status_code": 200,
            "gen_ai.response.id": "chatcmpl-7",
            "gen_ai.response.model": "tiny-2026-01",
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.usage.input_tokens": 90,
            "gen_ai.usage.output_tokens": 7,
        }

    async def test_words_of_the_models_own_are_not_recorded(self, telemetry: TelemetrySpy) -> None:
        """Whoever serves a model could put the document anywhere."""
        said = "the document said so"
        answer = completion("x", finish_reason=said, id=said, model=[said])
        await summary_by(ChatModel(Reply(body=answer)), telemetry)

        attributes = attributes_of(telemetry)
        assert attributes["gen_ai.response.finish_reasons"] == ("other",)
        assert attributes["gen_ai.response.id"] == attributes["gen_ai.response.model"] == "other"
        assert said not in telemetry.everything()

    async def test_the_call_is_measured(self, telemetry: TelemetrySpy) -> None:
        """Duration and tokens, labelled as the conventions say; tokens also of an answer that is of no use."""
        usage = {"prompt_tokens": 90, "completion_tokens": 7}
        await summary_by(ChatModel(Reply(body=completion(" ", usage=usage))), telemetry)

        (duration,) = telemetry.points(GEN_AI_OPERATION_DURATION)
        assert dict(duration.attributes or {}) == {**LABELS, "error.type": "invalid_answer"}
        tokens: dict[Any, Any] = {
            (point.attributes or {})["gen_ai.token.type"]: point.sum  # type: ignore[union-attr]
            for point in telemetry.points(GEN_AI_TOKEN_USAGE)
        }
        assert tokens == {"input": 90, "output": 7}

    async def test_question_and_answer_are_nowhere_unless_it_is_allowed(
        self, telemetry: TelemetrySpy
    ) -> None:
        """Not in a span, not in a line, not in a metric."""
        await summary_by(ChatModel(GOOD), telemetry)
        everything = telemetry.everything()
        assert len(telemetry.spans("chat tiny")) == 1
        assert "Bergen" not in everything
        assert "Hanseatic" not in everything

    async def test_where_it_is_allowed_they_are_on_the_span(self, telemetry: TelemetrySpy) -> None:
        """As the conventions write them, and not without end."""
        text = TEXT + " Stockfish." * 10_000
        model = ChatModel(GOOD)
        async with serving(model) as url, client_at(url, 5) as client:
            chat = chat_at(url, telemetry, client, content=MessageContent.SPAN_ONLY)
            await chat.ask(Question("Summarise.", text), asyncio.get_running_loop().time() + 5)

        attributes = attributes_of(telemetry)
        assert json.loads(attributes["gen_ai.system_instructions"]) == [
            {"type": "text", "content": "Summarise."}
        ]
        assert json.loads(attributes["gen_ai.input.messages"]) == [
            {"role": "user", "parts": [{"type": "text", "content": text[:8_000]}]}
        ]
        assert json.loads(attributes["gen_ai.output.messages"]) == [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": "Bergen is an old harbour."}],
                "finish_reason": "stop",
            }
        ]


class TestSettings:
    """What the document API is told of the model."""

    MODEL: Final[dict[str, Any]] = {"llm_base_url": "http://127.0.0.1:1/v1", "llm_model": "tiny"}

    @pytest.mark.parametrize(
        ("values", "named"),
        [
            ({"llm_timeout_seconds": 30.0}, "LLM_TIMEOUT_SECONDS"),
            (
                {"otel_instrumentation_genai_capture_message_content": "EVENT_ONLY"},
                "otel_instrumentation_genai_capture_message_content",
            ),
            ({"llm_max_input_tokens": 100}, "llm_max_input_tokens"),
        ],
    )
    def test_what_could_not_be_kept_is_refused(self, values: dict[str, Any], named: str) -> None:
        """At the start, by name."""
        with pytest.raises(ValidationError, match=named):
            DocumentApiSettings(**self.MODEL, **values)

    def test_nothing_is_captured_unless_told(self) -> None:
        """The default is the safe one."""
        content = DocumentApiSettings(**self.MODEL).otel_instrumentation_genai_capture_message_content
        assert content is MessageContent.NO_CONTENT

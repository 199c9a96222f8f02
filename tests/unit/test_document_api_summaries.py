"""Summaries: offline ones for every text, and a model's with the offline one behind it."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, Final

import httpx
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from document_api.summaries import OfflineSummary, Summary, extractive
from document_api.summaries.extractive import ExtractiveSummarizer, offline_summarizer
from document_api.summaries.llm import LlmSummarizer
from observability.context import RequestContext, enter_request
from observability.signals import GEN_AI_OPERATION_DURATION, GEN_AI_TOKEN_USAGE
from tests.telemetry_spy import TelemetrySpy

TEXT = (
    "The harbour of Bergen was founded in the eleventh century. It grew with the trade of stockfish. "
    "Seagulls are loud. The Hanseatic League kept an office there for four hundred years. "
    "A fire destroyed most of the wooden houses in 1702, and they were built again as they had been."
)
LONG = " ".join(f"Sentence number {n} tells about topic {n % 7} of the harbour." for n in range(2000))


async def offline(text: str, max_chars: int = 200, kind: OfflineSummary = OfflineSummary.SENTENCES) -> str:
    """Return the offline summary of a text."""
    summary = await offline_summarizer(kind, max_chars).summarize(text)
    assert summary.source == "extractive"
    assert summary.reason is None
    assert summary.text is not None
    return summary.text


TEXTS = {
    "short": "One line.",
    "prose": TEXT,
    "long": LONG,
    "one endless sentence": "word " * 20_000,
    "one endless word": "x" * 100_000,
    "CJK": "今天天气很好。我们去港口看船。" * 500,
    "thousands of lines": "line of a log without any full stop\n" * 5000,
    "CSV": "a,b,c\n" * 5000,
    "Markdown": "# Title\n\n- one\n- two\n\n```\ncode\n```\n" * 200,
    "right to left": "שלום עולם. מה שלומך היום? " * 100,
    "emoji": "🙂 a. " * 3000,
    "full stops": "." * 10_000 + "a",
    "control characters": "\x1b[31mred\x1b[0m. \x0c page." * 50,
}


@pytest.mark.parametrize("kind", OfflineSummary)
@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
async def test_every_text_has_a_summary_within_the_limit(text: str, kind: OfflineSummary) -> None:
    """Not empty, not too long, in one line, and the same each time."""
    summary = await offline(text, kind=kind)

    assert 0 < len(summary) <= 200
    assert "\n" not in summary
    assert summary == await offline(text, kind=kind)


@pytest.mark.parametrize("kind", OfflineSummary)
async def test_a_short_text_is_its_own_summary(kind: OfflineSummary) -> None:
    """There is nothing to leave out."""
    assert await offline("One line.", kind=kind) == "One line."


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        (TEXT, "The harbour of Bergen was founded in the eleventh century."),
        ("  Why?\n\tBecause! " + "x" * 90, "Why? Because!"),
        ("word " * 50, ("word " * 18).rstrip()),
        ("\n" * 5000 + "late", "late"),
        ("x" * 89 + ". More.", "x" * 89 + "."),
    ],
)
async def test_the_beginning_ends_with_a_sentence_where_one_fits(text: str, summary: str) -> None:
    """Else it is cut at the limit."""
    assert await offline(text, 90, OfflineSummary.BEGINNING) == summary


async def test_a_summary_is_made_of_the_texts_own_sentences() -> None:
    """Extractive: nothing is invented."""
    summary = await offline(TEXT)
    assert len(summary) < len(TEXT)
    for sentence in summary.removesuffix(".").split(". "):
        assert sentence in TEXT


def test_without_a_model_the_service_does_without_httpx() -> None:
    """It would take memory as long as the service runs."""
    program = "import sys, document_api.app; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


async def _request_of(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(next(line for line in head.lower().split("\r\n") if line.startswith("content-length"))[15:])
    body: dict[str, Any] = json.loads(await reader.readexactly(length))
    return head, body


DRIPS: Final = "a byte now and then"


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
    with suppress(ConnectionError):
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)


class Model:
    """A server that speaks the chat API over a real socket, and remembers what it was asked."""

    def __init__(self, status: int, body: str | None) -> None:
        self.status, self.body = status, body
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; without a body never."""
        try:
            self.asked.append(await _request_of(reader))
            if self.body is None:
                await reader.read()  # until the client gives up
                return
            if self.body == DRIPS:
                await _drip(writer)
                return
            data = self.body.encode()
            writer.write(
                f"HTTP/1.1 {self.status} X\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode()
                + data
            )
            await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def asking(
    model: Model | None, spy: TelemetrySpy, deadline: float = 5.0
) -> AsyncIterator[LlmSummarizer]:
    """Lend a summarizer that asks this model; without one, a port on which nobody listens."""
    server = await asyncio.start_server((model or Model(500, "")).serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if model is None:
        server.close()
        await server.wait_closed()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}/v1", headers={"Authorization": "Bearer k"}, timeout=deadline
    ) as client:
        yield LlmSummarizer(
            client,
            model="tiny",
            max_chars=60,
            deadline_seconds=deadline,
            fallback=ExtractiveSummarizer(60),
            telemetry=spy.telemetry,
        )
    server.close()


def completion(content: Any, **more: Any) -> str:
    """Return a chat completion."""
    message = {"role": "assistant", "content": content}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more})


LABELS = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "tiny",
}


async def test_the_models_summary_is_taken(telemetry: TelemetrySpy) -> None:
    """Trimmed, and its source named."""
    async with asking(Model(200, completion("  Bergen is an old harbour.\n")), telemetry) as summarizer:
        assert await summarizer.summarize(TEXT) == Summary("Bergen is an old harbour.", "llm")  # type: ignore[arg-type]


async def test_the_model_is_asked_through_the_chat_api(telemetry: TelemetrySpy) -> None:
    """Path, key, model, and the document as data of the user."""
    model = Model(200, completion("x"))
    async with asking(model, telemetry) as summarizer:
        await summarizer.summarize(TEXT)

    ((head, body),) = model.asked
    assert head.startswith("POST /v1/chat/completions ")
    assert "authorization: bearer k" in head.lower()
    assert body["model"] == "tiny"
    assert body["messages"][-1] == {"role": "user", "content": TEXT}
    assert "60" in body["messages"][0]["content"]


async def test_a_model_that_talks_too_much_is_cut(telemetry: TelemetrySpy) -> None:
    """The limit holds for everyone."""
    async with asking(Model(200, completion("x" * 1000)), telemetry) as summarizer:
        assert (await summarizer.summarize(TEXT)).text == "x" * 60


async def test_the_call_is_a_gen_ai_span(telemetry: TelemetrySpy) -> None:
    """CLIENT, by the GenAI conventions, with the tokens used; neither prompt nor answer is on it."""
    usage = {"prompt_tokens": 90, "completion_tokens": 7, "total_tokens": 97}
    async with asking(Model(200, completion("Bergen.", usage=usage)), telemetry) as summarizer:
        await summarizer.summarize(TEXT)

    span = telemetry.span("chat tiny")
    attributes = dict(span.attributes or {})
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert attributes == {
        **LABELS,
        "server.address": "127.0.0.1",
        "http.response.status_code": 200,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 90,
        "gen_ai.usage.output_tokens": 7,
    }


async def test_a_reason_of_the_models_own_is_not_recorded(telemetry: TelemetrySpy) -> None:
    """Whoever serves a model could put the document there."""
    answer = completion("x").replace('"stop"', '"the document said so"')
    async with asking(Model(200, answer), telemetry) as summarizer:
        await summarizer.summarize(TEXT)

    assert telemetry.attributes("chat tiny")["gen_ai.response.finish_reasons"] == ("other",)


async def test_the_call_is_measured(telemetry: TelemetrySpy) -> None:
    """Duration and tokens, labelled as the conventions say."""
    usage = {"prompt_tokens": 90, "completion_tokens": 7}
    async with asking(Model(200, completion("Bergen.", usage=usage)), telemetry) as summarizer:
        await summarizer.summarize(TEXT)

    (duration,) = telemetry.points(GEN_AI_OPERATION_DURATION)
    assert dict(duration.attributes or {}) == LABELS
    tokens: dict[Any, Any] = {
        (point.attributes or {})["gen_ai.token.type"]: point.sum  # type: ignore[union-attr]
        for point in telemetry.points(GEN_AI_TOKEN_USAGE)
    }
    assert tokens == {"input": 90, "output": 7}


FAILURES: dict[str, tuple[Model | None, str]] = {
    "answers 500": (Model(500, '{"error": "overloaded"}'), "llm_error_status"),
    "answers 401": (Model(401, "{}"), "llm_error_status"),
    "answers a redirect": (Model(302, ""), "llm_error_status"),
    "answers no JSON": (Model(200, "<html>"), "llm_invalid_answer"),
    "answers no choice": (Model(200, '{"choices": []}'), "llm_invalid_answer"),
    "answers null": (Model(200, completion(None)), "llm_invalid_answer"),
    "answers nothing": (Model(200, completion("")), "llm_invalid_answer"),
    "answers blanks": (Model(200, completion(" \n ")), "llm_invalid_answer"),
    "answers a NUL": (Model(200, completion("a\0b")), "llm_invalid_answer"),
    "answers a list": (Model(200, "[]"), "llm_invalid_answer"),
    "hangs": (Model(200, None), "llm_timeout"),
    "never ends": (Model(200, DRIPS), "llm_timeout"),
    "is not there": (None, "llm_unreachable"),
}


@pytest.mark.parametrize(("model", "reason"), FAILURES.values(), ids=list(FAILURES))
async def test_when_the_model_fails_the_offline_summary_takes_its_place(
    telemetry: TelemetrySpy, model: Model | None, reason: str
) -> None:
    """An upload never fails for its summary, and the reason is told: in the summary, on the span, in a WARNING."""
    async with asking(model, telemetry, deadline=0.2 if reason == "llm_timeout" else 5.0) as summarizer:
        begun = time.perf_counter()
        summary = await summarizer.summarize(TEXT)
        assert time.perf_counter() - begun < 3

    assert summary.text == await offline(TEXT, 60)
    assert (summary.source, summary.reason) == ("extractive", reason)
    span = telemetry.span("chat tiny")
    assert span.status.status_code is StatusCode.ERROR
    error_type = (span.attributes or {})["error.type"]
    (point,) = telemetry.points(GEN_AI_OPERATION_DURATION)
    assert dict(point.attributes or {}) == {**LABELS, "error.type": error_type}
    assert telemetry.messages("WARN") == ["The model wrote no summary"]


async def test_the_status_of_a_refusal_is_on_the_span(telemetry: TelemetrySpy) -> None:
    """401 and 500 need different people."""
    async with asking(Model(401, "{}"), telemetry) as summarizer:
        await summarizer.summarize(TEXT)

    assert (telemetry.span("chat tiny").attributes or {})["http.response.status_code"] == 401


@pytest.mark.parametrize("line", ["a\n", "A. ", "- a\n"])
async def test_no_more_sentences_are_ranked_than_a_text_of_this_length_has(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranking takes its time by the sentence: a text of nothing else would take a hundred times as long."""
    ranked: list[str] = []
    original = extractive.lede.summarize

    def summarize(text: str, **options: Any) -> Any:
        ranked.append(text)
        return original(text, **options)

    monkeypatch.setattr(extractive.lede, "summarize", summarize)
    await offline(line * (65536 // len(line)))
    (text,) = ranked
    assert text == line * 1000


async def test_clients_have_turns_at_the_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever uploads one document does not wait behind all those of who uploads many."""
    order: list[str] = []
    threads = threading.Event()

    def summarize(text: str, **_options: Any) -> Any:
        threads.wait(10)
        order.append(text[:5])
        return SimpleNamespace(summary="A summary.")

    monkeypatch.setattr(extractive.lede, "summarize", summarize)
    summarizer = ExtractiveSummarizer(200)

    async def summary_for(client_id: str) -> None:
        enter_request(RequestContext("0f8fad5b-d9cb-469f-a165-70867728950e", client_id))
        await summarizer.summarize(f"{client_id:5}" + "x" * 2000)

    asked = [asyncio.create_task(summary_for("many")) for _ in range(20)]
    await asyncio.sleep(0)
    asked.append(asyncio.create_task(summary_for("few")))
    await asyncio.sleep(0)
    threads.set()
    await asyncio.gather(*asked)
    assert order.index("few  ") <= 4

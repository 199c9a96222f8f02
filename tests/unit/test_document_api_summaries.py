"""Offline summaries, which there are for every text."""

import asyncio
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from document_api.summaries import OfflineSummary, extractive
from document_api.summaries.extractive import ExtractiveSummarizer, offline_summarizer
from observability.context import RequestContext, enter_request

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

"""The offline summarizers: both take sentences of the text itself."""

import re
from itertools import islice
from typing import Final

import lede
from anyio.to_thread import run_sync

from document_api.summaries import OfflineSummary, Summarizer, Summary, SummarySource
from document_api.turns import Turns
from observability import current_client

# Below this length even the worst text ends within the 5 ms for which Python lets a thread keep the interpreter: a
# thread would hold up the event loop just the same, and cost the way there and back on top.
_INLINE_CHARS: Final = 1024
# Ranking is Python's own work: more threads would only take turns, and keep those of the uploads busy.
_THREADS: Final = 2
# Ranking takes its time by the sentence: a thousand are a text of some 100 KiB, or of 2 KiB of single letters.
_MOST_SENTENCES: Final = 1000
_SENTENCE_END: Final = re.compile(r"[.!?]\s|\n")
_SENTENCE_ENDS: Final = (". ", "! ", "? ")
# Blanks become one, so that so many times the characters of a summary surely fill it in any ordinary text.
_SPARE: Final = 4


def offline_summarizer(kind: OfflineSummary, max_chars: int) -> Summarizer:
    """Return the summarizer of this kind."""
    if kind is OfflineSummary.BEGINNING:
        return BeginningSummarizer(max_chars)
    return ExtractiveSummarizer(max_chars)


class ExtractiveSummarizer:
    """Picks whole sentences by their weight, in the order of the text, up to `max_chars`."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._turns = Turns(_THREADS, bounded=False)

    async def summarize(self, text: str) -> Summary:
        """Return the text's most telling sentences; a short text is its own summary."""
        if len(text) <= _INLINE_CHARS:
            return self._extract(text)
        # Whoever uploads much waits for his own.
        async with self._turns.turn(current_client() or ""):
            return await run_sync(self._extract, _beginning(text))

    def _extract(self, text: str) -> Summary:
        summary = lede.summarize(text, max_length=self._max_chars).summary
        # One endless sentence has no sentence that fits: its beginning is the best there is.
        words = (summary or text).split()  # without the line breaks and indents of the source
        return Summary(" ".join(words)[: self._max_chars].rstrip(), SummarySource.EXTRACTIVE)


def _beginning(text: str) -> str:
    """Return as much of a text as is ranked."""
    ends = islice(_SENTENCE_END.finditer(text), _MOST_SENTENCES - 1, None)
    last = next(ends, None)
    return text[: last.end()] if last else text


class BeginningSummarizer:
    """Takes the beginning of the text, up to the last sentence that ends within `max_chars`."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars

    async def summarize(self, text: str) -> Summary:
        """Return the text's first sentences; a short text is its own summary."""
        beginning = " ".join(text.lstrip()[: self._max_chars * _SPARE].split())
        if len(beginning) > self._max_chars:
            beginning = whole_sentences(beginning, self._max_chars)
        return Summary(beginning, SummarySource.EXTRACTIVE)


def whole_sentences(text: str, max_chars: int) -> str:
    """Return the beginning of a text up to the last sentence that ends within `max_chars`; without one up to there."""
    end = max(text.rfind(mark, 0, max_chars + 1) for mark in _SENTENCE_ENDS)
    return text[: end + 1] if end > 0 else text[:max_chars].rstrip()

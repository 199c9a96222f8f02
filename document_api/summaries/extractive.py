"""The offline summarizer: the text's own most telling sentences."""

from typing import Final

import lede
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from document_api.summaries import Summary, SummarySource

# Below this length even the worst text takes about as long as the way to a thread and back.
_INLINE_CHARS: Final = 512
# Ranking is Python's own work: more threads would only take turns, and keep those of the uploads busy.
_THREADS: Final = 2


class ExtractiveSummarizer:
    """Picks whole sentences by their weight, in the order of the text, up to `max_chars`."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._threads = CapacityLimiter(_THREADS)

    async def summarize(self, text: str) -> Summary:
        """Return the text's most telling sentences; a short text is its own summary."""
        if len(text) <= _INLINE_CHARS:
            return self._extract(text)
        return await run_sync(self._extract, text, limiter=self._threads)

    def _extract(self, text: str) -> Summary:
        summary = lede.summarize(text, max_length=self._max_chars).summary
        # One endless sentence has no sentence that fits: its beginning is the best there is.
        words = (summary or text).split()  # without the line breaks and indents of the source
        return Summary(" ".join(words)[: self._max_chars].rstrip(), SummarySource.EXTRACTIVE)

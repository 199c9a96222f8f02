"""The step that summarises a document's text, at its upload or later."""

import logging
from typing import Final

from opentelemetry import trace

from document_api.summaries import Summarizer, Summary, SummarySource
from observability import Telemetry
from observability.signals import Attribute, Span

logger = logging.getLogger(__name__)

SUMMARIZER_FAILED: Final = "summarizer_failed"


class SummaryWriter:
    """Writes summaries of the beginning of texts, and never fails: nobody loses a document for its summary."""

    def __init__(self, summarizer: Summarizer, telemetry: Telemetry, *, input_bytes: int) -> None:
        self._summarizer = summarizer
        self._telemetry = telemetry
        self._input_bytes = input_bytes

    def read_of(self, text: str) -> str:
        """Return as much of a text as is read for its summary."""
        if text.isascii():
            return text[: self._input_bytes]
        return text.encode()[: self._input_bytes].decode("utf-8", "ignore")

    async def write(self, text: str, unreadable: str | None = None) -> Summary:
        """Summarise a text; one that could not be read gets no summary, and says why."""
        with self._telemetry.step(Span.LLM_SUMMARIZATION) as step:
            if unreadable is not None:
                summary = Summary(None, SummarySource.NONE, unreadable)
            else:
                summary = await self._written(self.read_of(text))
            step.set(Attribute.PROCESSING_TIME, step.elapsed())
            step.set(Attribute.SUMMARY_SOURCE, summary.source)
            step.set(Attribute.SUMMARY_REASON, summary.reason)
        return summary

    def count(self, summary: Summary) -> None:
        """Count a summary that becomes a document's."""
        self._telemetry.metrics.summaries(1, source=summary.source, reason=summary.reason or "none")

    async def _written(self, text: str) -> Summary:
        try:
            return await self._summarizer.summarize(text)
        except Exception as error:
            trace.get_current_span().record_exception(error)
            logger.exception("The summarizer failed")
            return Summary(None, SummarySource.NONE, SUMMARIZER_FAILED, again=True)

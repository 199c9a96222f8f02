"""Summaries of documents: one interface, an offline summarizer and one that asks a model."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class SummarySource(StrEnum):
    """Who wrote a summary."""

    EXTRACTIVE = "extractive"
    LLM = "llm"
    NONE = "none"


class SummaryStatus(StrEnum):
    """Whether a document's summary is still to be written."""

    COMPLETE = "complete"
    PENDING = "pending"


class OfflineSummary(StrEnum):
    """How a summary is made without a model."""

    SENTENCES = "sentences"
    BEGINNING = "beginning"


class MessageContent(StrEnum):
    """Where question and answer of a model are recorded; the conventions' other values need events, which are not made here."""

    NO_CONTENT = "NO_CONTENT"
    SPAN_ONLY = "SPAN_ONLY"


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary, or why there is none; `reason` also says why a model's place was taken.

    `again`: it may write one later. Not `asked`: it was left alone, since others got no answer.
    """

    text: str | None
    source: SummarySource
    reason: str | None = None
    again: bool = False
    asked: bool = True


class Summarizer(Protocol):
    """Writes summaries; never fails for a text, whatever it holds."""

    async def summarize(self, text: str) -> Summary:
        """Return a summary of a text that is not empty."""
        ...

"""Tells what documents are, and what they say: text at once, all else in a process with limits of time and memory."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

from opentelemetry import trace

from document_api.labels import media_type_label
from document_api.settings import DocumentApiSettings
from document_api.text import MAX_CHARS, ReadText, Unreadable, has_words
from document_api.text.decoding import decoded
from document_api.text.media_types import PLAIN, Form, Kind, kind_of
from document_api.text.processes import Workers
from document_api.turns import LineFullError, NoTurnError, Turns
from observability import Telemetry, current_client
from observability.admission import set_aside
from observability.signals import TEXT_EXTRACTED, Attribute, Span

logger = logging.getLogger(__name__)

# Of a document, from its start, as much as surely holds the text that is kept.
BEGINNING_BYTES: Final = 4 * MAX_CHARS


class TextReader:
    """Reads documents; never fails for one, whatever it holds."""

    def __init__(self, workers: Workers, telemetry: Telemetry, settings: DocumentApiSettings) -> None:
        self._workers = workers
        self._telemetry = telemetry
        self._seconds = settings.text_seconds
        self._turns = Turns(settings.text_processes)

    @classmethod
    @asynccontextmanager
    async def open(cls, telemetry: Telemetry, settings: DocumentApiSettings) -> AsyncIterator[Self]:
        """Lend a reader, whose processes end with the block."""
        workers = Workers(settings.text_seconds, settings.text_memory_bytes)
        try:
            yield cls(workers, telemetry, settings)
        finally:
            await workers.aclose()

    async def read(
        self, beginning: bytes | bytearray, path: Path, *, claimed: str, filename: str
    ) -> ReadText:
        """Return what a file is, and its text; `beginning` is as much of it as BEGINNING_BYTES."""
        content = decoded(beginning)
        kind = kind_of(beginning, is_text=content is not None, claimed=claimed, filename=filename)
        if kind.form is Form.NONE:
            return ReadText("", Unreadable.NOT_TEXT, kind.media_type)
        if kind.form is Form.TEXT:
            return _plain(content or "", kind.media_type)
        text = await self._extract(path, kind)
        if kind.form is Form.JSON and text.reason is Unreadable.MALFORMED:
            return _plain(content or "", PLAIN)  # text it is, whatever it was said to be
        return text

    async def _extract(self, path: Path, kind: Kind) -> ReadText:
        with self._telemetry.step(Span.TEXT_EXTRACTION) as step:
            text = await self._asked(path, kind)
            labels = {
                "file_type": media_type_label(text.media_type),
                "outcome": text.reason or TEXT_EXTRACTED,
            }
            step.set(Attribute.FILE_TYPE, labels["file_type"])
            step.set(Attribute.TEXT_OUTCOME, labels["outcome"])
            step.set(Attribute.TEXT_CHARS, len(text.content))
            self._telemetry.metrics.text_extraction_duration(step.elapsed(), **labels)
        return text

    async def _asked(self, path: Path, kind: Kind) -> ReadText:
        """Ask a process; where none can answer, say why."""
        try:
            async with self._turns.turn(current_client() or ""):
                return await self._answer(path, kind)
        except (LineFullError, NoTurnError):
            reason = Unreadable.EXTRACTION_BUSY
        except TimeoutError:
            reason = Unreadable.EXTRACTION_TIMEOUT
        except Exception as error:
            trace.get_current_span().record_exception(error)
            logger.exception("The process that reads a document failed")
            reason = Unreadable.EXTRACTION_FAILED
        return ReadText("", reason, kind.media_type)

    async def _answer(self, path: Path, kind: Kind) -> ReadText:
        question = {"path": str(path), "form": kind.form.name, "media_type": kind.media_type}
        with set_aside():
            async with asyncio.timeout(self._seconds), self._workers.worker() as worker:
                answer = await worker.ask(question)
                reason = answer["reason"] and Unreadable(answer["reason"])
                if reason is Unreadable.TOO_COMPLEX:
                    worker.retire()  # the next document is to find as much memory as this one
        return ReadText(answer["content"], reason, answer["media_type"])


def _plain(content: str, media_type: str) -> ReadText:
    content = content[:MAX_CHARS]
    if has_words(content):
        return ReadText(content, None, media_type)
    return ReadText("", Unreadable.NO_WORDS, media_type)

"""Tells what documents are, and what they say: text at once, all else in a process with limits of time and memory."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Self
from weakref import WeakValueDictionary

from opentelemetry import trace

from document_api.labels import media_type_label
from document_api.settings import DocumentApiSettings
from document_api.text import MAX_CHARS, ReadText, Unreadable, has_words
from document_api.text.decoding import decoded
from document_api.text.media_types import PLAIN, Form, Kind, kind_of
from document_api.text.processes import Workers
from document_api.turns import LONGEST_WAIT_SECONDS, LineFullError, NoTurnError, Turns
from observability import Telemetry, current_client
from observability.admission import set_aside
from observability.signals import TEXT_EXTRACTED, Attribute, Span

logger = logging.getLogger(__name__)

# Of a document, from its start, as much as surely holds the text that is kept.
BEGINNING_BYTES: Final = 4 * MAX_CHARS
# Of the time that there is: what a process has read by then it gives, and is not ended.
_SHARE_OF_SECONDS: Final = 0.8


class TextReader:
    """Reads documents; never fails for one, whatever it holds."""

    def __init__(self, workers: Workers, telemetry: Telemetry, settings: DocumentApiSettings) -> None:
        self._workers = workers
        self._telemetry = telemetry
        self._seconds = settings.text_seconds
        self._turns = Turns(settings.text_processes)
        # One process is left for others, whatever a client sends.
        self._most_of_a_client = max(1, settings.text_processes - 1)
        # Of those who have one or wait for one.
        self._of_clients: WeakValueDictionary[str, Turns] = WeakValueDictionary()

    @classmethod
    @asynccontextmanager
    async def open(cls, telemetry: Telemetry, settings: DocumentApiSettings) -> AsyncIterator[Self]:
        """Lend a reader, whose processes end with the block."""
        workers = Workers(settings.text_memory_bytes)
        try:
            yield cls(workers, telemetry, settings)
        finally:
            await workers.aclose()

    async def read(
        self, beginning: bytes | bytearray, path: Path, *, claimed: str, filename: str, until: float
    ) -> ReadText:
        """Return what a file is, and its text as far as it can be read until then, in the event loop's time.

        `beginning` is as much of it as BEGINNING_BYTES.
        """
        content = decoded(beginning)
        kind = kind_of(beginning, is_text=content is not None, claimed=claimed, filename=filename)
        if kind.form is Form.NONE:
            return ReadText("", Unreadable.NOT_TEXT, kind.media_type)
        if kind.form is Form.TEXT:
            return _plain(content or "", kind.media_type)
        text = await self._extract(path, kind, until)
        if kind.form is Form.JSON and text.reason is Unreadable.MALFORMED:
            return _plain(content or "", PLAIN)  # text it is, whatever it was said to be
        return text

    async def _extract(self, path: Path, kind: Kind, until: float) -> ReadText:
        with self._telemetry.step(Span.TEXT_EXTRACTION) as step:
            text = await self._asked(path, kind, until)
            labels = {
                "file_type": media_type_label(text.media_type),
                "outcome": text.reason or TEXT_EXTRACTED,
            }
            step.set(Attribute.FILE_TYPE, labels["file_type"])
            step.set(Attribute.TEXT_OUTCOME, labels["outcome"])
            step.set(Attribute.TEXT_CHARS, len(text.content))
            self._telemetry.metrics.text_extraction_duration(step.elapsed(), **labels)
        return text

    async def _asked(self, path: Path, kind: Kind, until: float) -> ReadText:
        """Ask a process; where none can answer, say why."""
        try:
            async with self._turn(current_client() or "", until):
                return await self._answer(path, kind, until)
        except (LineFullError, NoTurnError):
            reason = Unreadable.EXTRACTION_BUSY
        except TimeoutError:
            reason = Unreadable.EXTRACTION_TIMEOUT
        except Exception as error:
            trace.get_current_span().record_exception(error)
            logger.exception("The process that reads a document failed")
            reason = Unreadable.EXTRACTION_FAILED
        return ReadText("", reason, kind.media_type)

    @asynccontextmanager
    async def _turn(self, client: str, until: float) -> AsyncIterator[None]:
        """Have a process to oneself; raises NoTurnError when none is free in time, LineFullError when too many wait."""
        own = self._of_clients.setdefault(client, Turns(self._most_of_a_client))
        async with AsyncExitStack() as turns:
            try:
                async with asyncio.timeout(min(LONGEST_WAIT_SECONDS, _left(until))):
                    await turns.enter_async_context(own.turn(client))
                    await turns.enter_async_context(self._turns.turn(client))
            except TimeoutError as error:
                raise NoTurnError from error
            yield

    async def _answer(self, path: Path, kind: Kind, until: float) -> ReadText:
        seconds = min(self._seconds, _left(until))
        question: dict[str, str | float] = {
            "path": str(path),
            "form": kind.form.name,
            "media_type": kind.media_type,
            "seconds": seconds * _SHARE_OF_SECONDS,
        }
        with set_aside():
            async with asyncio.timeout(seconds), self._workers.worker() as worker:
                answer = await worker.ask(question)
                reason = answer["reason"] and Unreadable(answer["reason"])
                if reason is Unreadable.TOO_COMPLEX:
                    worker.retire()  # the next document is to find as much memory as this one
        return ReadText(answer["content"], reason, answer["media_type"])


def _left(until: float) -> float:
    return max(0.0, until - asyncio.get_running_loop().time())


def _plain(content: str, media_type: str) -> ReadText:
    content = content[:MAX_CHARS]
    if has_words(content):
        return ReadText(content, None, media_type)
    return ReadText("", Unreadable.NO_WORDS, media_type)

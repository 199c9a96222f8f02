"""Asks a virus scanner about uploads, in clamd's protocol (clamd(8), INSTREAM).

Own code: of the clients that there are one is abandoned, and all of them block.
"""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Final

from anyio import AsyncFile, open_file
from opentelemetry import trace

from observability import Problem, Telemetry, Unavailable
from observability.admission import set_aside
from observability.signals import Attribute, HealthStatus, ScanResult, Span

logger = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 256 * 1024
_LENGTH_BYTES: Final = 4
_END: Final = bytes(_LENGTH_BYTES)
_LONGEST_ANSWER: Final = 4096


class Infected(Problem):
    """The upload holds what the scanner knows as a virus."""

    status = 422


class TooLargeToScan(Problem):
    """The upload is larger than what the scanner takes."""

    status = 413


class NotScanned(Exception):  # noqa: N818  an answer, not a mistake of this code
    """The scanner gave no answer that could be understood."""


class Scanner:
    """Asks one clamd. Nothing is let through that it did not call clean."""

    def __init__(self, address: str, telemetry: Telemetry, *, seconds: float) -> None:
        self._address = address
        self._telemetry = telemetry
        self._seconds = seconds

    async def scan(self, path: Path) -> None:
        """Have a file looked at; raises Infected (422), TooLargeToScan (413), or Unavailable (503) without an answer."""
        with self._telemetry.step(Span.VIRUS_SCAN) as step:
            result = await self._result(path)
            step.set(Attribute.SCAN_RESULT, result)
            self._telemetry.metrics.virus_scan_duration(step.elapsed(), result=result)
            _refuse_unless_clean(result)

    async def check(self) -> HealthStatus:
        """Ask whether the scanner is there: without it documents are read, and none is taken."""
        try:
            reader, writer = await self._connection()
            writer.write(b"zPING\0")
            answered = await reader.readuntil(b"\0")
            writer.close()
        except (OSError, EOFError):
            return HealthStatus.DEGRADED
        return HealthStatus.HEALTHY if answered == b"PONG\0" else HealthStatus.DEGRADED

    async def _result(self, path: Path) -> ScanResult:
        try:
            with set_aside():
                async with asyncio.timeout(self._seconds):
                    answer = await self._asked(path)
            return _meaning(answer)
        except (
            OSError,
            EOFError,
            asyncio.LimitOverrunError,
            NotScanned,
        ) as error:  # TimeoutError is an OSError
            trace.get_current_span().record_exception(error)
            logger.exception("The virus scanner gave no answer")
            return ScanResult.NO_ANSWER

    async def _asked(self, path: Path) -> bytes:
        reader, writer = await self._connection()
        # Listened to all the while: a scanner that has had enough says so, and hangs up.
        answer = asyncio.ensure_future(reader.readuntil(b"\0"))
        try:
            async with await open_file(path, "rb") as file:
                await _send(file, writer, answer)
            return await answer
        finally:
            answer.cancel()
            writer.close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._address.startswith("/"):
            return await asyncio.open_unix_connection(self._address, limit=_LONGEST_ANSWER)
        host, _, port = self._address.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port), limit=_LONGEST_ANSWER)


def scanner_at(address: str | None, telemetry: Telemetry, *, seconds: float) -> Scanner | None:
    """Return what asks the scanner at this address, None where there is none."""
    return None if address is None else Scanner(address, telemetry, seconds=seconds)


async def _send(file: AsyncFile[bytes], writer: asyncio.StreamWriter, answer: asyncio.Future[bytes]) -> None:
    """Send a file in chunks, each after its length, until there is an answer."""
    with suppress(ConnectionError):  # what was said before is there to be read
        writer.write(b"zINSTREAM\0")
        while not answer.done() and (chunk := await file.read(_CHUNK_BYTES)):
            writer.write(len(chunk).to_bytes(_LENGTH_BYTES, "big"))
            writer.write(chunk)
            await writer.drain()
        writer.write(_END)
        await writer.drain()


def _meaning(answer: bytes) -> ScanResult:
    """Return what an answer says; raises NotScanned for an error of the scanner."""
    said = answer.rstrip(b"\0").decode("utf-8", "replace")
    if said.endswith(" OK"):
        return ScanResult.CLEAN
    if said.endswith(" FOUND"):
        logger.warning("Infected upload refused: %s", said.removeprefix("stream: "))
        return ScanResult.INFECTED
    if "size limit exceeded" in said:
        return ScanResult.TOO_LARGE
    raise NotScanned(said)


def _refuse_unless_clean(result: ScanResult) -> None:
    if result is ScanResult.INFECTED:
        raise Infected("The virus scanner calls the file infected; nothing of it was kept.")
    if result is ScanResult.TOO_LARGE:
        raise TooLargeToScan(
            "The file is larger than what the virus scanner takes (StreamMaxLength of clamd)."
        )
    if result is ScanResult.NO_ANSWER:
        raise Unavailable(
            "The virus scanner gave no answer, and nothing is kept that it has not seen; try again."
        )

"""Processes that read documents, so that none harms the service: each is ended at its time limit and replaced.

Own code: the standard library's and anyio's load the service's main module into each process, and hand it its secrets
(docs/adr/0025).
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self

# A line holds a text of MAX_CHARS, each written in 12 bytes at most (\ud83d\ude42).
_LONGEST_LINE: Final = 2 * 1024 * 1024
# Whatever a library keeps of its documents does not add up.
_MOST_DOCUMENTS: Final = 100


class WorkerEndedError(Exception):
    """The process has ended while it was asked."""


class Worker:
    """One process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._left = _MOST_DOCUMENTS

    @classmethod
    async def start(cls, memory_bytes: int) -> Self:
        """Start a process that knows no secret of this one."""
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "document_api.text.worker", str(memory_bytes)),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                limit=_LONGEST_LINE,
                env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "1"},
                start_new_session=True,  # what ends this process is not to end it amid a document
            )
        )

    @property
    def is_fit(self) -> bool:
        """Whether it may be asked once more."""
        return self._process.returncode is None and self._left > 0

    def retire(self) -> None:
        """Let it not be asked any more."""
        self._left = 0

    async def ask(self, question: Mapping[str, str | float]) -> Any:
        """Return the answer to a question; raises WorkerEndedError."""
        self._left -= 1
        assert self._process.stdin is not None  # noqa: S101  both are pipes
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(f"{json.dumps(question)}\n".encode())
            await self._process.stdin.drain()
            answer = await self._process.stdout.readline()
        except OSError as error:
            raise WorkerEndedError from error
        if not answer:
            raise WorkerEndedError
        return json.loads(answer)

    async def end(self) -> None:
        """End it, whatever it does."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Workers:
    """Lends processes, and keeps those that come back; there are never more than are lent at once."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._idle: list[Worker] = []

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """Lend a process for the block; an exception in there ends it."""
        worker = await self._fit()
        try:
            yield worker
        except BaseException:
            await worker.end()
            raise
        self._idle.append(worker)

    async def aclose(self) -> None:
        """End those that are idle."""
        while self._idle:
            await self._idle.pop().end()

    async def _fit(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_fit:
                return worker
            await worker.end()
        return await Worker.start(self._memory_bytes)

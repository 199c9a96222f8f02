"""A document on its way: a file under a temporary name, which a process holds a lock on as long as it is at it."""

import asyncio
import errno
import fcntl
import hashlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from document_api.documents.shelf import Shelf, waiting_for
from observability import Problem, Unavailable

logger = logging.getLogger(__name__)

# Bytes gathered before a thread writes them: one hop for small documents, bounded memory for large ones.
_BUFFER_BYTES: Final = 1024 * 1024
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
# In a temporary name, where the final one has a slash.
TEMPORARY_SEPARATOR: Final = "."
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageFull(Problem):
    """The file system has no room for the document."""

    status = 507


class IncomingFile:
    """A document on its way to its shelf. Leaving the block without `keep()` removes its bytes.

    Within the block they can be read at `path`, once it is `finish()`ed or saved. What is kept and not `confirm()`ed
    keeps its temporary name, too, for the sweep to look after.

    Raises StorageFull (507) or Unavailable (503) when the file system does not take them.
    """

    def __init__(
        self, incoming: Path, shelf: Shelf, key: str, *, threads: ThreadPoolExecutor, synced: bool
    ) -> None:
        self.key = key
        self.size = 0
        self.path = incoming / key.replace("/", TEMPORARY_SEPARATOR)
        self._shelf = shelf
        self._begun = False
        self._descriptor: int | None = None
        self._threads = threads
        self._synced = synced
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._saved = False
        self._in_doubt = False
        self._kept = False
        self._confirmed = False
        self._work: asyncio.Future[None] | None = None
        self._turn = threading.Lock()
        self._left = False

    @property
    def kept(self) -> bool:
        """Tell whether the saved file outlives the block."""
        return self._kept

    @property
    def sha256(self) -> str:
        """Return the digest of what was saved, hexadecimal."""
        return self._digest.hexdigest()

    async def write(self, data: bytes) -> None:
        """Take the next bytes; a thread writes and digests what is gathered while more of them arrive."""
        self.size += len(data)
        self._buffer += data
        if len(self._buffer) >= _BUFFER_BYTES:
            await self._worked()
            self._begin(partial(self._append, self._buffer))
            self._buffer = bytearray()

    async def finish(self) -> None:
        """Write what is gathered: all that came can be read."""
        await self._worked()
        self._begin(partial(self._append, self._buffer))
        self._buffer = bytearray()
        await self._worked()

    async def save(self) -> None:
        """Make the bytes durable under their final name."""
        await self._worked()
        self._begin(self._save)
        await self._worked()

    async def replace(self, key: str) -> None:
        """Make the saved bytes durable in the place of what is under another name."""
        await self._worked()
        self._begin(partial(self._replace, key))
        await self._worked()

    def keep(self) -> None:
        """Let the saved file outlive the block."""
        self._kept = True

    def confirm(self) -> None:
        """Note that its record is stored."""
        self._confirmed = True

    def drop(self) -> None:
        """Take `keep()` back."""
        self._kept = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._shelf.remote:  # it may be at it longer than an upload may take
                await self._idle()
        finally:
            # Not awaited: removing must also happen while the task is being cancelled.
            if self._waits_for_network():
                self._threads.submit(copy_context().run, self._leave)  # what it logs is of this request
            else:
                self._leave()

    def _waits_for_network(self) -> bool:
        """Tell whether leaving has to ask a remote shelf, or to wait for a thread that does."""
        at_work = self._work is not None and not self._work.done()
        return self._shelf.remote and (at_work or (self._saved and not self._kept))

    def _leave(self) -> None:
        """Remove what is not kept; what cannot be removed is the sweep's."""
        # A task that is cancelled twice can leave a thread behind that still writes: its turn is waited for.
        with self._turn:
            self._left = True
            try:
                self._remove_unkept()
            except OSError as error:
                logger.warning("A document that was not stored could not be removed: %s", error)
            finally:
                self._close()

    def _begin(self, work: Callable[[], None]) -> None:
        """Let a thread do a piece of work on the file."""
        self._work = asyncio.get_running_loop().run_in_executor(self._threads, self._in_turn, work)
        self._work.add_done_callback(_heard)

    async def _worked(self) -> None:
        """Wait for the thread's work; raises what went wrong with it."""
        with waiting_for(self._shelf):
            await self._idle()
        if self._work is not None:
            self._work.result()

    async def _idle(self) -> None:
        """Wait until no thread works; being cancelled does not end the work."""
        if self._work is not None and not self._work.done():
            await asyncio.wait((self._work,))

    def _in_turn(self, work: Callable[[], None]) -> None:
        """Do a piece of work on the file, unless the block was left before it could begin."""
        with self._turn:
            if self._left:
                return
            try:
                work()
            except OSError as error:
                raise problem_of(error) from error

    def _append(self, data: bytearray) -> None:
        descriptor = self._open()
        self._digest.update(data)
        with memoryview(data) as view:
            written = 0
            while written < len(view):  # a write may take less than it is given
                written += os.write(descriptor, view[written:])

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, _NEW_FILE, mode=0o600)
            self._begun = True
            fcntl.flock(
                self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # until it is closed, or the process ends
        return self._descriptor

    def _save(self) -> None:
        self._append(self._buffer)
        if self._synced:
            os.fsync(self._open())
        self._saved = True  # it may be, also where `put` fails
        # A store may still be at what was given up: where `put` fails, the bytes are the sweep's.
        self._in_doubt = self._shelf.remote
        self._shelf.put(self.key, self.path)
        self._in_doubt = False

    def _replace(self, key: str) -> None:
        self._shelf.replace(key, self.path, saved_as=self.key)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _remove_unkept(self) -> None:
        if self._confirmed:
            with suppress(OSError):  # the document is safe; the name that is too many is the sweep's
                self._remove_temporary()
        elif not self._kept and not self._in_doubt:
            if self._saved:
                self._shelf.remove(self.key)
            self._remove_temporary()

    def _remove_temporary(self) -> None:
        if self._begun:
            self.path.unlink(missing_ok=True)


def _heard(work: asyncio.Future[None]) -> None:
    """Take note of what went wrong, also where nobody waits for it any more."""
    if not work.cancelled():
        work.exception()


def problem_of(error: OSError) -> Problem:
    """Return what a client is told of a shelf or a file system that does not take its document."""
    if error.errno in _NO_ROOM:
        return StorageFull("There is no room left to store the document.")
    return Unavailable("The document cannot be stored at the moment; try again.")

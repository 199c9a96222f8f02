"""Document bytes: written to a file under a temporary name, then put on a shelf under their own; all or nothing.

The temporary name stays beside the final one until the document's record is known to be stored, and its process holds a
lock on it: what a killed process leaves behind can be told, and is swept (documents/sweep.py).
"""

import asyncio
import errno
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from anyio import CapacityLimiter, open_file
from anyio.to_thread import run_sync

from observability import Problem, Unavailable
from observability.health import SingleFlight
from observability.signals import HealthStatus, StorageBackend

logger = logging.getLogger(__name__)

# Bytes gathered before a thread writes them: one hop for small documents, bounded memory for large ones.
_BUFFER_BYTES: Final = 1024 * 1024
# They wait for the disk more than they work, and the syncs of several documents share a write to the journal.
_THREADS: Final = 16
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
# In a temporary name, where the final one has a slash.
_TEMPORARY_SEPARATOR: Final = "."
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageFull(Problem):
    """The file system has no room for the document."""

    status = 507


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file of a process that was killed, or was never told whether the record is stored; `key` of one that was saved."""

    path: Path
    key: str | None


class Readable(Protocol):
    """A file that is read piece by piece."""

    async def read(self, size: int, /) -> bytes:
        """Return the next bytes: as many, unless it ends."""

    async def seek(self, offset: int, /) -> object:
        """Go to a place in it."""

    async def aclose(self) -> None:
        """Read no more of it."""


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a document where they are kept."""

    size: int
    modified: float
    open: Callable[[], Awaitable[Readable]]


class Shelf(Protocol):
    """Where documents are kept once they are whole, each under its key; all raise OSError."""

    backend: StorageBackend
    # Whether it is reached by the network: then no event loop waits for it.
    remote: bool

    def prepare(self) -> None:
        """Make what it needs, and prove that it can keep a document."""

    def put(self, key: str, temporary: Path) -> None:
        """Keep a whole file, so that it outlives this process; nobody sees half of it."""

    def may_have(self, temporary: Path) -> bool:
        """Tell whether `put` was begun with a file."""

    def find(self, key: str) -> Content:
        """Return what is kept; raises FileNotFoundError where it is not."""

    def remove(self, key: str) -> None:
        """Keep it no more; what is not there is removed already."""

    def check(self) -> None:
        """Ask whether it is there."""


class Folder:
    """A shelf on the file system of the temporary files: a folder for each client."""

    backend = StorageBackend.FILE_SYSTEM
    remote = False

    def __init__(self, root: Path, *, synced: bool) -> None:
        self._root = root
        self._synced = synced

    def prepare(self) -> None:
        """Make the folder; raises OSError."""
        _make_private(self._root)

    def put(self, key: str, temporary: Path) -> None:
        """Give a file its final name, in a folder that is made with a client's first document."""
        path = self._root / key
        try:
            path.hardlink_to(temporary)
        except FileNotFoundError:
            _make_folder(path.parent, synced=self._synced)
            path.hardlink_to(temporary)
        if self._synced:
            # The temporary name is older: it is on the disk as well, or a power cut would leave bytes nobody looks after.
            _sync_folder(path.parent)

    def may_have(self, temporary: Path) -> bool:
        """Tell whether a file has its final name already."""
        return temporary.stat().st_nlink > 1

    def find(self, key: str) -> Content:
        """Return the file of a document."""
        path = self._root / key
        found = path.stat()
        return Content(found.st_size, found.st_mtime, partial(open_file, path, "rb"))

    def remove(self, key: str) -> None:
        """Remove the file of a document."""
        (self._root / key).unlink(missing_ok=True)

    def check(self) -> None:
        """Leave it to the check of the temporary files, which are on the same file system."""


class FileStorage:
    """Keeps documents: a file in `incoming/` while they arrive, then on a shelf, unless another is given `documents/`.

    No part of a path is made by clients: a document's name is random, its folder's a digest of the client's id.

    With `synced` a saved document outlives a power cut; without, only the end of the process. What nobody is at and has
    not changed for `left_seconds` is a leftover.
    """

    def __init__(
        self, root: Path, *, synced: bool = True, left_seconds: float = 600.0, shelf: Shelf | None = None
    ) -> None:
        self._root = root
        self._synced = synced
        self._left_seconds = left_seconds
        # Not anyio's threads: the way there and back costs three times as much.
        self._threads = ThreadPoolExecutor(_THREADS, "upload")
        self._incoming = root / "incoming"
        self._shelf = shelf or Folder(root / "documents", synced=synced)
        self._health_thread = CapacityLimiter(1)  # uploads may hold all the others
        self._shelf_thread = CapacityLimiter(1)
        self._single_probe = SingleFlight(self._probe_in_thread)
        self._single_shelf_check = SingleFlight(self._check_shelf_in_thread)

    def prepare(self) -> None:
        """Make the folders and prove that a file can be kept; raises OSError."""
        _make_private(self._incoming)
        self._probe()
        self._shelf.prepare()
        self._prove_links()

    def leftovers(self) -> list[Leftover]:
        """Return what nobody is at any more, of this instance or another; raises OSError."""
        found = []
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):  # it has ended meanwhile, or another instance sweeps as well
                if _is_left(path, self._left_seconds):
                    found.append(Leftover(path, self._key_of(path)))
        return found

    def settle(self, leftover: Leftover, *, stored: bool) -> None:
        """Keep the bytes of a stored record and remove all others, with the temporary name; raises OSError."""
        if leftover.key is not None and not stored:
            self._shelf.remove(leftover.key)
        leftover.path.unlink(missing_ok=True)  # last: until then it is found again

    async def find(self, key: str) -> Content:
        """Return the bytes of a document; raises FileNotFoundError where they are not there, OSError where that cannot be told."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._shelf.find, key)

    async def mend(self, key: str, file: "IncomingFile") -> bool:
        """Tell whether the bytes of a saved file are lost under another key, and put them there again; raises Problem."""
        try:
            lost = (await self.find(key)).size != file.size
        except FileNotFoundError:
            lost = True
        except OSError as error:
            raise _problem_of(error) from error
        if lost:
            await file.replace(key)
        return lost

    def remove(self, key: str) -> None:
        """Remove the bytes of a document; those that are not there are removed already. Raises OSError."""
        self._shelf.remove(key)

    @property
    def backend(self) -> StorageBackend:
        """Return what kind of place keeps the documents."""
        return self._shelf.backend

    def receive(self, client_id: str) -> "IncomingFile":
        """Return a file to write a new document of this client into."""
        return IncomingFile(
            self._incoming,
            self._shelf,
            f"{folder_of(client_id)}/{uuid.uuid4().hex}",
            threads=self._threads,
            synced=self._synced,
        )

    async def check(self) -> HealthStatus:
        """Write, read and remove a file; raises OSError."""
        await self._single_probe()
        return HealthStatus.HEALTHY

    async def check_shelf(self) -> HealthStatus:
        """Ask for the place where documents are kept; raises OSError."""
        await self._single_shelf_check()
        return HealthStatus.HEALTHY

    def space(self) -> list[tuple[float, dict[str, str]]]:
        """Return used and free bytes of the file system by state; nothing while the folder is away."""
        try:
            usage = shutil.disk_usage(self._root)
        except OSError:
            return []
        return [(usage.used, {"state": "used"}), (usage.free, {"state": "free"})]

    async def _probe_in_thread(self) -> None:
        await run_sync(self._probe, limiter=self._health_thread, abandon_on_cancel=True)

    async def _check_shelf_in_thread(self) -> None:
        await run_sync(self._shelf.check, limiter=self._shelf_thread, abandon_on_cancel=True)

    def _key_of(self, path: Path) -> str | None:
        """Return the key under which a temporary file may be on the shelf."""
        folder, separator, name = path.name.partition(_TEMPORARY_SEPARATOR)
        return f"{folder}/{name}" if separator and self._shelf.may_have(path) else None

    def _prove_links(self) -> None:
        """Hold that a file can have two names, which some network file systems do not let it; raises OSError."""
        with tempfile.NamedTemporaryFile(dir=self._incoming, prefix="health-") as file:
            second = Path(f"{file.name}-link")
            second.hardlink_to(file.name)
            second.unlink()

    def _probe(self) -> None:
        content = uuid.uuid4().bytes
        with tempfile.NamedTemporaryFile(dir=self._incoming, prefix="health-") as file:
            file.write(content)
            file.flush()
            if Path(file.name).read_bytes() != content:
                msg = f"{self._incoming} does not give back what was written"
                raise OSError(errno.EIO, msg)


class IncomingFile:
    """A document on its way to its shelf. Leaving the block without `keep()` removes its bytes.

    Within the block they can be read at `path`, once it is `finish()`ed or saved. What is kept and not `confirm()`ed keeps its temporary name, too, for the sweep to look after.

    Raises StorageFull (507) or Unavailable (503) when the file system does not take them.
    """

    def __init__(
        self, incoming: Path, shelf: Shelf, key: str, *, threads: ThreadPoolExecutor, synced: bool
    ) -> None:
        self.key = key
        self.size = 0
        self.path = incoming / key.replace("/", _TEMPORARY_SEPARATOR)
        self._shelf = shelf
        self._begun = False
        self._descriptor: int | None = None
        self._threads = threads
        self._synced = synced
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._saved = False
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
                raise _problem_of(error) from error

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
        self._shelf.put(self.key, self.path)

    def _replace(self, key: str) -> None:
        self._shelf.remove(key)
        with suppress(FileExistsError):  # by another upload of the same bytes
            self._shelf.put(key, self.path)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _remove_unkept(self) -> None:
        if self._confirmed:
            with suppress(OSError):  # the document is safe; the name that is too many is the sweep's
                self._remove_temporary()
        elif not self._kept:
            if self._saved:
                self._shelf.remove(self.key)
            self._remove_temporary()

    def _remove_temporary(self) -> None:
        if self._begun:
            self.path.unlink(missing_ok=True)


def _is_left(path: Path, seconds: float) -> bool:
    """Tell whether a file in `incoming/` is that old, and no process holds it."""
    if time.time() - path.stat().st_ctime < seconds:
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _heard(work: asyncio.Future[None]) -> None:
    """Take note of what went wrong, also where nobody waits for it any more."""
    if not work.cancelled():
        work.exception()


def _problem_of(error: OSError) -> Problem:
    if error.errno in _NO_ROOM:
        return StorageFull("There is no room left to store the document.")
    return Unavailable("The document cannot be stored at the moment; try again.")


def folder_of(client_id: str) -> str:
    """Return the name of a client's folder: the same on every instance, and no text that a client chose."""
    return hashlib.sha256(client_id.encode()).hexdigest()[:32]


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # clients' names are nobody's business


def _make_folder(folder: Path, *, synced: bool) -> None:
    """Make a client's folder with its first document, as durable as that."""
    folder.mkdir(parents=True, exist_ok=True)
    if synced:
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: the name lives in the folder (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

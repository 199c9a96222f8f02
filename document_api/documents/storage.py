"""Document bytes on the file system: written under a temporary name, synced, renamed; all or nothing."""

import errno
import hashlib
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from observability import Problem, Unavailable
from observability.health import SingleFlight
from observability.signals import HealthStatus

BACKEND: Final = "file_system"
# Bytes gathered before a thread writes them: one hop for small documents, bounded memory for large ones.
_BUFFER_BYTES: Final = 1024 * 1024
# No upload takes that long: what is older in `incoming/` was left by a process that was killed.
_STALE_SECONDS: Final = 24 * 3600
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageFull(Problem):
    """The file system has no room for the document."""

    status = 507


class FileStorage:
    """Keeps documents below one folder: `incoming/` while they arrive, then `documents/<client>/<key>`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._documents = root / "documents"
        self._health_thread = CapacityLimiter(1)  # uploads may hold all the others
        self._single_probe = SingleFlight(self._probe_in_thread)

    def prepare(self) -> None:
        """Make the folders and prove that a file can be kept; raises OSError."""
        for folder in (self._incoming, self._documents):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # clients' names are nobody's business
        self._remove_stale()
        self._probe()

    def _remove_stale(self) -> None:
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):  # another instance cleans up at the same time
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()

    def receive(self, client_id: str) -> "IncomingFile":
        """Return a file to write a new document of this client into."""
        return IncomingFile(self._incoming, self._documents, f"{client_id}/{uuid.uuid4().hex}")

    async def check(self) -> HealthStatus:
        """Write, read and remove a file; raises OSError."""
        await self._single_probe()
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

    def _probe(self) -> None:
        content = uuid.uuid4().bytes
        with tempfile.NamedTemporaryFile(dir=self._incoming, prefix="health-") as file:
            file.write(content)
            file.flush()
            if Path(file.name).read_bytes() != content:
                msg = f"{self._incoming} does not give back what was written"
                raise OSError(msg)


class IncomingFile:
    """A document on its way to disk. Leaving the block without `keep()` removes its bytes.

    Raises StorageFull (507) or Unavailable (503) when the file system does not take them.
    """

    def __init__(self, incoming: Path, documents: Path, key: str) -> None:
        self.key = key
        self.size = 0
        self.path = documents / key
        self._incoming = incoming
        self._temporary: Path | None = None
        self._file: BinaryIO | None = None
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._saved = False
        self._kept = False
        self._turn = threading.Lock()
        self._left = False

    @property
    def sha256(self) -> str:
        """Return the digest of what was saved, hexadecimal."""
        return self._digest.hexdigest()

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        self._buffer += data
        if len(self._buffer) >= _BUFFER_BYTES:
            await run_sync(self._in_turn, self._flush)

    async def save(self) -> None:
        """Make the bytes durable under their final name."""
        await run_sync(self._in_turn, self._save)

    def keep(self) -> None:
        """Let the saved file outlive the block."""
        self._kept = True

    def drop(self) -> None:
        """Take `keep()` back."""
        self._kept = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not awaited in a thread: removing must also happen while the task is being cancelled. A cancelled task can
        # leave a thread behind that still writes: its turn is waited for.
        with self._turn:
            self._left = True
            self._discard_temporary()
            if self._saved and not self._kept:
                self.path.unlink(missing_ok=True)

    def _in_turn(self, work: Callable[[], object]) -> None:
        """Do a piece of work on the file, unless the block was left before it could begin."""
        with self._turn:
            if self._left:
                return
            try:
                work()
            except OSError as error:
                raise _problem_of(error) from error

    def _flush(self) -> BinaryIO:
        if self._file is None:
            descriptor, name = tempfile.mkstemp(dir=self._incoming)
            self._temporary = Path(name)
            self._file = os.fdopen(descriptor, "wb", buffering=0)
        data = bytes(self._buffer)
        self._buffer.clear()
        self._digest.update(data)
        written = 0
        while written < len(data):  # an unbuffered write may take less than it is given
            written += self._file.write(data[written:])
        return self._file

    def _save(self) -> None:
        file = self._flush()
        os.fsync(file.fileno())
        _make_folder(self.path.parent)
        assert self._temporary is not None  # noqa: S101  _flush made it
        self._temporary.rename(self.path)
        self._saved = True
        self._temporary = None
        _sync_folder(self.path.parent)
        self._discard_temporary()

    def _discard_temporary(self) -> None:
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
        if self._file is not None:
            self._file.close()


def _problem_of(error: OSError) -> Problem:
    if error.errno in _NO_ROOM:
        return StorageFull("There is no room left to store the document.")
    return Unavailable("The document cannot be stored at the moment; try again.")


def _make_folder(folder: Path) -> None:
    """Make a client's folder durable with its first document."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: the name lives in the folder (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

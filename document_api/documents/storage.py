"""Document bytes: written to a file under a temporary name, then put on a shelf under their own; all or nothing.

The temporary name stays beside the final one until the document's record is known to be stored, and its process holds a
lock on it: what a killed process leaves behind can be told, and is swept (documents/sweep.py).
"""

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from document_api.documents.folder import Folder, make_private
from document_api.documents.incoming import TEMPORARY_SEPARATOR, IncomingFile, problem_of
from document_api.documents.shelf import Content, Shelf, waiting_for
from document_api.settings import DocumentApiSettings
from observability.health import SingleFlight
from observability.signals import HealthStatus, StorageBackend

# They wait for the disk more than they work, and the syncs of several documents share a write to the journal.
_THREADS: Final = 16


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file of a process that was killed, or was never told whether the record is stored; `key` of one that was saved."""

    path: Path
    key: str | None


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
        make_private(self._incoming)
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
        with waiting_for(self._shelf):
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._shelf.find, key)

    async def mend(self, key: str, file: IncomingFile) -> bool:
        """Tell whether the bytes of a saved file are lost under another key, and put them there again; raises Problem."""
        try:
            lost = (await self.find(key)).size != file.size
        except FileNotFoundError:
            lost = True
        except OSError as error:
            raise problem_of(error) from error
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

    def receive(self, client_id: str) -> IncomingFile:
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
        folder, separator, name = path.name.partition(TEMPORARY_SEPARATOR)
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


def storage_of(settings: DocumentApiSettings) -> FileStorage:
    """Return the storage that the settings ask for."""
    if settings.storage_url is None:
        return FileStorage(
            settings.upload_dir, synced=settings.sync_uploads, left_seconds=settings.sweep_after_seconds
        )
    # Imported where there is such a store only: it takes memory and time at the start.
    from document_api.documents.object_store import Bucket  # noqa: PLC0415

    # Not synced: a document is safe when the store has it.
    return FileStorage(
        settings.upload_dir,
        synced=False,
        left_seconds=settings.sweep_after_seconds,
        shelf=Bucket(
            settings.storage_url,
            endpoint=settings.aws_endpoint_url,
            region=settings.aws_region,
            access_key_id=settings.aws_access_key_id,
            secret_access_key=settings.aws_secret_access_key,
        ),
    )


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


def folder_of(client_id: str) -> str:
    """Return the name of a client's folder: the same on every instance, and no text that a client chose."""
    return hashlib.sha256(client_id.encode()).hexdigest()[:32]

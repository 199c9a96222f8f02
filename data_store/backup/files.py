"""The documents' files in a restore: first beside the others, in their places only when everything else is done."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from data_store.backup.archive import DOCUMENTS

_STAGED: Final = "restoring"
# Its time is that of the newest whole backup: document_api tells how old it is.
_LAST_BACKUP: Final = "last-backup"
# A folder named by a client's digest, before 1.0 by its id, and a random name; never a way out of the folder.
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}/[0-9a-f]{32}")


def is_storage_key(text: str) -> bool:
    """Tell whether this is a name that document_api gives a file."""
    return _KEY.fullmatch(text) is not None


class StagedFile(NamedTuple):
    """A file that was written."""

    storage_key: str
    file_size: int
    sha256: str


class Staging:
    """Keeps files out of everybody's sight until they are placed."""

    def __init__(self, uploads: Path) -> None:
        self._root = uploads / _STAGED
        self._documents = uploads / DOCUMENTS

    def write(self, key: str, chunks: Iterable[bytes]) -> StagedFile:
        """Write a file down."""
        path, digest, size = self._root / key, hashlib.sha256(), 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        return StagedFile(key, size, digest.hexdigest())

    def discard(self, key: str) -> None:
        """Remove a file that was written."""
        (self._root / key).unlink()

    def prepare(self) -> None:
        """Begin with nothing: what a restore that was killed has left is removed."""
        self.remove()
        for folder in (self._root, self._documents):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def place(self) -> None:
        """Put all files into their places, or none."""
        try:
            for folder in self._root.iterdir():
                self._place(folder)
            sync_folder(self._documents)
        except BaseException:
            self._take_back()
            raise

    def remove(self) -> None:
        """Remove the names that nobody needs any more."""
        if self._root.exists():
            shutil.rmtree(self._root)

    def _place(self, folder: Path) -> None:
        place = self._documents / folder.name
        place.mkdir(mode=0o700, exist_ok=True)
        for file in folder.iterdir():
            target = place / file.name
            target.unlink(missing_ok=True)  # of a restore that was killed: no row names it
            target.hardlink_to(file)
        sync_folder(place)

    def _take_back(self) -> None:
        for folder in self._root.iterdir():
            for file in folder.iterdir():
                with suppress(FileNotFoundError, NotADirectoryError):  # it did not come so far
                    (self._documents / folder.name / file.name).unlink()


def note_backup(uploads: Path, taken_at: float) -> None:
    """Leave word of a whole backup; raises OSError."""
    note = uploads / _LAST_BACKUP
    note.touch(mode=0o600)
    os.utime(note, (taken_at, taken_at))


def sync_folder(folder: Path) -> None:
    """Make names durable: they live in their folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

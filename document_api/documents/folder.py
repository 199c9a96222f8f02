"""Documents on the file system of the temporary files, each under a second name of its file."""

import os
from functools import partial
from pathlib import Path

from anyio import open_file

from document_api.documents.shelf import Content
from observability.signals import StorageBackend


class Folder:
    """A shelf on the file system of the temporary files: a folder for each client."""

    backend = StorageBackend.FILE_SYSTEM
    remote = False

    def __init__(self, root: Path, *, synced: bool) -> None:
        self._root = root
        self._synced = synced

    def prepare(self) -> None:
        """Make the folder; raises OSError."""
        make_private(self._root)

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

    def replace(self, key: str, temporary: Path, *, saved_as: str) -> None:  # noqa: ARG002  the shelf's way
        """Let a saved file have the other name instead of its own; both are of the same client, in one folder."""
        path = self._root / key
        (self._root / saved_as).replace(path)
        if self._synced:
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


def make_private(folder: Path) -> None:
    """Make a folder that is its owner's alone."""
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

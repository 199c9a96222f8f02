"""The archive: an ordinary tar, written and read from front to back. Needs no package, and no more memory for more files.

`manifest.json`, then `documents/<storage key>`, then `tables/<table>/<part>.copy`, and `complete.json` as the very last.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from data_store.backup import BackupError

MANIFEST: Final = "manifest.json"
COMPLETE: Final = "complete.json"
DOCUMENTS: Final = "documents/"
TABLES: Final = "tables/"
CHUNK_BYTES: Final = 1024 * 1024
_NO_ARCHIVE: Final = "this is no backup of robin, or it is cut off or damaged: take another one"


class Output(Protocol):
    """Whatever takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take bytes."""


class Writer:
    """Appends members; nothing of them is kept, as tarfile's own writer would."""

    def __init__(self, output: Output, modified: float) -> None:
        self._output = output
        self._modified = modified

    def add(self, name: str, content: bytes) -> None:
        """Append a member."""
        self.begin(name, len(content))
        self.write(content)
        self.end(len(content))

    def begin(self, name: str, size: int) -> None:
        """Begin a member, of which exactly so many bytes are to be written."""
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = size, 0o600, self._modified
        self.write(member.tobuf(tarfile.GNU_FORMAT))

    def write(self, data: bytes) -> None:
        """Write bytes of a member."""
        self._output.write(data)

    def end(self, size: int) -> None:
        """End a member of this size."""
        self.write(bytes(-size % tarfile.BLOCKSIZE))

    def close(self) -> None:
        """End the archive."""
        self.write(bytes(2 * tarfile.BLOCKSIZE))


class _Archive(tarfile.TarFile):
    """Forgets the members that it has passed: of a million documents they would be a gigabyte."""

    members: list[tarfile.TarInfo]

    def next(self) -> tarfile.TarInfo | None:
        member = super().next()
        self.members.clear()
        return member


class Reader:
    """Stands at one member after the other; raises BackupError where the bytes are no archive."""

    def __init__(self, stream: BinaryIO) -> None:
        self.name: str = ""  # of the member that it stands at; empty at the end
        self._content: BinaryIO | None = None
        try:
            self._archive = _Archive.open(fileobj=stream, mode="r|", bufsize=CHUNK_BYTES)
        except tarfile.TarError as error:
            raise BackupError(_NO_ARCHIVE) from error
        self.advance()

    def advance(self) -> None:
        """Go to the next member."""
        try:
            member = self._archive.next()
        except tarfile.TarError as error:
            raise BackupError(_NO_ARCHIVE) from error
        self.name = member.name if member else ""
        content = self._archive.extractfile(member) if member and member.isreg() else None
        if member and content is None:
            raise BackupError(f"{member.name!r} is no file: {_NO_ARCHIVE}")
        self._content = content  # type: ignore[assignment]  # typeshed's IO[bytes]

    def read(self, size: int = -1) -> bytes:
        """Read on in the member that it stands at."""
        try:
            return self._content.read(size) if self._content else b""
        except tarfile.TarError as error:
            raise BackupError(_NO_ARCHIVE) from error

    def chunks(self) -> Iterator[bytes]:
        """Read the member in pieces."""
        while chunk := self.read(CHUNK_BYTES):
            yield chunk

    def take(self, name: str, longest: int = 64 * CHUNK_BYTES) -> bytes:
        """Return the member that must come now, and go on."""
        if self.name != name:
            raise BackupError(f"{name} is missing: {_NO_ARCHIVE}")
        content = self.read(longest)
        self.advance()
        return content


def check_complete(path: Path) -> None:
    """Refuse an archive whose end is missing: only the heads of its members are read."""
    with path.open("rb") as file:
        try:
            with _Archive.open(fileobj=file, mode="r:") as archive:
                last = ""
                while member := archive.next():
                    last = member.name
        except tarfile.TarError as error:
            raise BackupError(_NO_ARCHIVE) from error
    if last != COMPLETE:
        raise BackupError(_NO_ARCHIVE)

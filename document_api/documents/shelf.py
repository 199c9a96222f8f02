"""What keeps documents once they are whole: a folder (documents/folder.py) or a bucket (documents/object_store.py)."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from observability.admission import set_aside
from observability.signals import StorageBackend


class StoreRefusedError(OSError):
    """The object store could not be asked, or said no."""


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

    def replace(self, key: str, temporary: Path, *, saved_as: str) -> None:
        """Keep a file that is saved already in the place of what is under another key, in one step: at no time is nothing there."""

    def may_have(self, temporary: Path) -> bool:
        """Tell whether `put` was begun with a file."""

    def find(self, key: str) -> Content:
        """Return what is kept; raises FileNotFoundError where it is not."""

    def remove(self, key: str) -> None:
        """Keep it no more; what is not there is removed already."""

    def check(self) -> None:
        """Ask whether it is there."""


def waiting_for(shelf: Shelf) -> AbstractContextManager[None]:
    """Let a request that waits for a remote shelf not count as worked on."""
    return set_aside() if shelf.remote else nullcontext()

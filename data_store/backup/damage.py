"""Documents whose bytes are lost: all are counted, and some are named."""

from typing import Final

from data_store.backup.archive import DOCUMENTS

_NAMED: Final = 20


class Damage:
    """What a backup has to do without, or a restore."""

    def __init__(self) -> None:
        self.files = 0
        self._named: list[str] = []

    def add(self, client_id: str, document_id: int, storage_key: str, problem: str) -> None:
        """Note a file, by one of the documents that have it."""
        self.files += 1
        if self.files <= _NAMED:
            self._named.append(
                f"  document {document_id} of client {client_id} ({DOCUMENTS}{storage_key}): {problem}"
            )

    def lines(self) -> list[str]:
        """Return a line for each file that is named, and one for all others."""
        others = self.files - len(self._named)
        return [*self._named, f"  and {others} more"] if others else self._named

"""The API keys that the checks show where robin asks who they are (AUTH_MODE=required)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_OPERATOR = "-"
_CLIENT = re.compile(r"^/clients/([^/]+)/")
_HEADER = "X-API-Key"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key of each client, and one of an operator, who sees what the health consists of."""

    keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read lines of a client and its key; the operator's client is "-". Raises OSError, ValueError."""
        keys = {}
        for line in file.read_text().splitlines():
            words = line.split()
            if len(words) != 2:  # noqa: PLR2004  the client and the key
                raise ValueError("each line must be a client and its key, or - and an operator's key")
            keys[words[0]] = words[1]
        if len(keys.keys() - {_OPERATOR}) < 2 or _OPERATOR not in keys:  # noqa: PLR2004  own and foreign
            raise ValueError("there must be keys of two clients at least, and an operator's")
        return cls(keys)

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients; none where robin asks nobody."""
        return tuple(client for client in self.keys if client != _OPERATOR)

    def headers(self, path: str) -> dict[str, str]:
        """Return what is shown with a request: the key of the client it is about, else the operator's."""
        client = _CLIENT.match(path)
        key = self.keys.get(client[1] if client else _OPERATOR)
        return {_HEADER: key} if key else {}

"""What makes two uploads the same one: the client's Idempotency-Key, else that the load balancer has sent one twice."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

from starlette.datastructures import Headers

from observability import Problem

# draft-ietf-httpapi-idempotency-key-header: a string in quotes; what comes without them is taken as well.
KEY_HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotent-Replayed"
# nginx sets it, whatever a client sends: it is the same when a request is tried on another instance.
REQUEST_HEADER: Final = "Robin-Request-Id"
MAX_KEY_CHARS: Final = 255
KEY_PATTERN: Final = "^[!-~]+$"
_KEY: Final = re.compile(f"[!-~]{{1,{MAX_KEY_CHARS}}}")


@dataclass(frozen=True, slots=True)
class Sameness:
    """SHA-256 of what all tries of one upload have in common, hexadecimal; a client's key goes no further."""

    digest: str

    @classmethod
    def of_headers(cls, headers: Headers) -> Self | None:
        """Return what the request says of it, None where it says nothing; raises Problem (400) for a key that is none."""
        keys = headers.getlist(KEY_HEADER)
        if len(keys) > 1 or (keys and not _KEY.fullmatch(keys[0])):
            raise Problem(
                f"{KEY_HEADER} must be one, of 1 to {MAX_KEY_CHARS} visible ASCII characters.", status=400
            )
        if keys:
            return cls._of("key", _unquoted(keys[0]))
        request = headers.get(REQUEST_HEADER)
        return cls._of("request", request) if request else None

    def of_file_number(self, number: int) -> "Sameness":
        """Return what all tries of one file of a request with several have in common."""
        return self._of("number", f"{self.digest}:{number}")

    @classmethod
    def of_file(cls, storage_key: str) -> Self:
        """Return what only the same file has: no other upload is the same."""
        return cls._of("file", storage_key)

    @classmethod
    def _of(cls, kind: str, value: str) -> Self:
        return cls(hashlib.sha256(f"{kind}:{value}".encode()).hexdigest())


def _unquoted(key: str) -> str:
    quoted = len(key) > 2 and key[0] == key[-1] == '"'  # noqa: PLR2004  two quotes, and something between them
    return key[1:-1] if quoted else key

"""API keys: `robin_<prefix>_<secret>`. The prefix finds a key, the secret proves it; no secret is stored anywhere."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final, Self

PREFIX_PATTERN: Final = "^[0-9a-f]{12}$"
DIGEST_PATTERN: Final = "^[0-9a-f]{64}$"
_KEY: Final = re.compile(r"robin_([0-9a-f]{12})_([0-9a-f]{64})")


@dataclass(frozen=True)
class ApiKey:
    """A key as its user has it: shown once, when it is made."""

    prefix: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        """Return a key that nobody can guess."""
        return cls(secrets.token_hex(6), secrets.token_hex(32))

    def __str__(self) -> str:
        return f"robin_{self.prefix}_{self.secret}"

    @property
    def digest(self) -> str:
        """What document_api tells the data store of the secret."""
        return hashlib.sha256(self.secret.encode("ascii")).hexdigest()


def prefix_of(text: str) -> str | None:
    """Return the prefix of what may be a whole key or a prefix alone, None where it is neither."""
    if whole := _KEY.fullmatch(text):
        return whole[1]
    return text if re.fullmatch(PREFIX_PATTERN, text) else None


def stored_hash(digest: str, pepper: str) -> bytes:
    """Return what is stored of a key: of no use to whoever has the tables without the pepper."""
    return hmac.digest(pepper.encode(), digest.encode("ascii"), "sha256")

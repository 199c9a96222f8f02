"""The public keys that bearer tokens are verified with, from a JWKS (RFC 7517) or a file, and new ones when they change."""

import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from document_api.http import HttpClient, Lack, NoAnswer
from observability import Unavailable
from observability.health import SingleFlight

logger = logging.getLogger(__name__)

# A key that was taken back is believed no longer than this, as long as the issuer can be asked.
_FRESH_SECONDS: Final = 300.0
# Tokens with a key that nobody knows cannot make us ask more often.
_PAUSE_SECONDS: Final = 10.0
_PEM_END: Final = "-----END PUBLIC KEY-----"


class BadKeys(Exception):  # noqa: N818  what they are, in the words of those who catch it
    """What should be public keys is not; the message is one line."""


class KeySource(Protocol):
    """Where the keys come from."""

    async def find(self, kid: str | None, algorithm: str) -> Sequence[PyJWK]:
        """Return the keys that a token with this `kid` and `alg` may be signed with; raises Unavailable (503)."""


def parse_keys(text: str, algorithms: Collection[str]) -> list[PyJWK]:
    """Return the public keys of a JWKS, or of a file with one or more in PEM, that are for these algorithms.

    Raises BadKeys where there is none, or a private one.
    """
    keys = [
        key
        for key in (_of_jwks if text.lstrip().startswith("{") else _of_pem)(text)
        if key.algorithm_name in algorithms
    ]
    if not keys:
        raise BadKeys(f"holds no public key for {', '.join(sorted(algorithms))}")
    return keys


def _of_jwks(text: str) -> list[PyJWK]:
    try:
        entries = json.loads(text)["keys"]
        return [key for entry in entries if (key := _usable(entry)) is not None]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadKeys("holds no JWKS") from error


def _usable(entry: dict[str, Any]) -> PyJWK | None:
    """Return a key of a JWKS; None for one of another use or kind, which may stand beside ours."""
    if "d" in entry:
        raise BadKeys("holds a private key: give the public ones only")
    try:
        return PyJWK(entry) if entry.get("use", "sig") == "sig" else None
    except PyJWTError:
        return None


def _of_pem(text: str) -> list[PyJWK]:
    if "PRIVATE KEY" in text:
        raise BadKeys("holds a private key: give the public ones only")
    blocks = text.split(_PEM_END)[:-1]
    return [_of_block(f"{block}{_PEM_END}\n") for block in blocks]


def _of_block(pem: str) -> PyJWK:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadKeys("holds something that is no public key in PEM") from error
    if isinstance(key, RSAPublicKey):
        return PyJWK(RSAAlgorithm.to_jwk(key, as_dict=True))
    if isinstance(key, EllipticCurvePublicKey):
        return PyJWK(ECAlgorithm.to_jwk(key, as_dict=True))
    if isinstance(key, Ed25519PublicKey):
        return PyJWK(OKPAlgorithm.to_jwk(key, as_dict=True))
    raise BadKeys("holds a key that is neither RSA, P-256 nor Ed25519")


def matching(keys: Sequence[PyJWK], kid: str | None, algorithm: str) -> list[PyJWK]:
    """Return the keys for this algorithm with this ID; those without one may be any."""
    return [
        key
        for key in keys
        if key.algorithm_name == algorithm and (kid is None or key.key_id is None or key.key_id == kid)
    ]


class KeyFile:
    """Keys out of a file, read again when it has changed."""

    def __init__(self, path: Path, algorithms: Collection[str]) -> None:
        self._path = path
        self._algorithms = algorithms
        self._changed = 0
        self._keys: list[PyJWK] = []
        self._load()

    async def find(self, kid: str | None, algorithm: str) -> Sequence[PyJWK]:
        """Return the keys that a token with this `kid` and `alg` may be signed with."""
        try:
            self._load()
        except (BadKeys, OSError) as error:
            logger.warning("The keys that were there before stay valid: JWT_KEY_FILE %s", error)
        return matching(self._keys, kid, algorithm)

    def _load(self) -> None:
        """Read the file where it has changed; raises BadKeys, OSError."""
        changed = self._path.stat().st_mtime_ns
        if changed == self._changed:
            return
        self._changed = changed  # said once, not for each request
        self._keys = parse_keys(self._path.read_text(), self._algorithms)


class KeySet:
    """Keys of a JWKS that is served somewhere: fetched when needed, when old, and for a key that is not known."""

    def __init__(self, fetch: Callable[[], Awaitable[str]], algorithms: Collection[str]) -> None:
        self._fetch = fetch
        self._algorithms = algorithms
        self._keys: list[PyJWK] = []
        self._fetched = self._asked = float("-inf")
        self._refresh = SingleFlight(self._load)

    async def find(self, kid: str | None, algorithm: str) -> Sequence[PyJWK]:
        """Return the keys that a token with this `kid` and `alg` may be signed with; raises Unavailable (503)."""
        found = matching(self._keys, kid, algorithm)
        if self._is_old() or not found:
            await self._refreshed()
            found = matching(self._keys, kid, algorithm)
        if not self._keys:
            raise Unavailable("The keys of bearer tokens cannot be fetched; try again.")
        return found

    def _is_old(self) -> bool:
        return time.monotonic() - self._fetched > _FRESH_SECONDS

    async def _refreshed(self) -> None:
        """Fetch the keys, unless that was tried just now; those that were there stay when it fails."""
        if time.monotonic() - self._asked < _PAUSE_SECONDS:
            return
        try:
            await self._refresh()
        except (NoAnswer, BadKeys) as error:
            logger.warning("The keys at JWT_JWKS_URL cannot be used: %s", type(error).__name__)

    async def _load(self) -> None:
        try:
            self._keys = parse_keys(await self._fetch(), self._algorithms)
            self._fetched = time.monotonic()
        finally:
            self._asked = time.monotonic()


def fetcher(client: HttpClient, path: str) -> Callable[[], Awaitable[str]]:
    """Return a function that gets a text over HTTP; it raises NoAnswer."""

    async def fetch() -> str:
        answer = await client.send("GET", path, {"Accept": "application/json"})
        if answer.status != 200:  # noqa: PLR2004  the one status that comes with keys
            raise NoAnswer(f"answered {answer.status}", Lack.UNAVAILABLE)
        return answer.body.decode("utf-8", "replace")

    return fetch

"""Bearer tokens (RFC 7519, RFC 8725): whose they are, and whether they are valid for this service now."""

import re
from collections.abc import Collection
from typing import Any, Final

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSubjectError,
    InvalidTokenError,
)

from document_api.identity.credentials import Unauthenticated
from document_api.identity.keys import KeySource

_REASONS: Final = {
    ExpiredSignatureError: "The token has expired.",
    ImmatureSignatureError: "The token is not valid yet.",
    InvalidAudienceError: "The token is for another audience.",
    InvalidIssuerError: "The token is of another issuer.",
}
_NOT_VALID: Final = "The token is not valid."
# As the data store takes it: no control characters, and nothing that UTF-8 cannot say.
_SUBJECT: Final = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}")


class TokenVerifier:
    """Verifies tokens of one issuer for one audience, with public keys and the algorithms that are configured."""

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        audience: str,
        algorithms: Collection[str],
        leeway_seconds: float,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = list(algorithms)
        self._leeway_seconds = leeway_seconds

    async def subject_of(self, token: str) -> str:
        """Return whose a valid token is (`sub`); raises Unauthenticated (401), Unavailable (503) without any key."""
        header = _header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        # `none`, and HMAC with a public key as its secret, end here (RFC 8725, 2.1).
        if algorithm not in self._algorithms:
            raise _refusal(_NOT_VALID)
        refusal = _refusal(_NOT_VALID)
        for key in await self._keys.find(kid, algorithm):
            try:
                return _subject(self._claims(token, key))
            except InvalidTokenError as error:
                refusal = _refusal(_REASONS.get(type(error), _NOT_VALID))
        raise refusal

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=self._algorithms,
            issuer=self._issuer,
            audience=self._audience,
            leeway=self._leeway_seconds,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )


def _subject(claims: dict[str, Any]) -> str:
    """Return `sub`; raises InvalidSubjectError for one that nobody can have here."""
    subject: str = claims["sub"]  # PyJWT takes no other type
    if not _SUBJECT.fullmatch(subject):
        raise InvalidSubjectError
    return subject


def _header(token: str) -> dict[str, Any]:
    try:
        return jwt.get_unverified_header(token)
    except InvalidTokenError:
        raise _refusal(_NOT_VALID) from None


def _refusal(detail: str) -> Unauthenticated:
    return Unauthenticated(detail, error="invalid_token")

"""The credential that a request shows: an API key or a bearer token."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import Headers

from observability import Problem

API_KEY_HEADER: Final = "X-API-Key"
SECURITY_SCHEMES: Final[Mapping[str, Any]] = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": API_KEY_HEADER},
    "BearerToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}
_API_KEY: Final = re.compile(r"robin_([0-9a-f]{12})_([0-9a-f]{64})")
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)  # RFC 6750, 2.1


class Unauthenticated(Problem):
    """There is no credential, or none that is valid (RFC 9110, 15.5.2)."""

    status = 401

    def __init__(self, detail: str, *, error: str | None = None) -> None:
        challenge = 'Bearer realm="robin"' + (f', error="{error}"' if error else "")
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, as far as anybody but its holder needs it: what finds it, and the digest of its secret."""

    prefix: str
    digest: str


@dataclass(frozen=True, slots=True, repr=False)
class BearerToken:
    """A JSON Web Token (RFC 7519), not verified yet."""

    text: str


Credential = ApiKey | BearerToken


def credential_of(headers: Headers) -> Credential | None:
    """Return what a request shows, None where it shows nothing.

    Raises Unauthenticated (401) for what has not the form of a credential, Problem (400) for more than one.
    """
    keys, authorizations = headers.getlist(API_KEY_HEADER), headers.getlist("authorization")
    if len(keys) + len(authorizations) > 1:
        raise Problem(f"Send one credential: {API_KEY_HEADER} or Authorization, once.", status=400)
    if keys:
        return _api_key(keys[0])
    if authorizations:
        return _bearer_token(authorizations[0])
    return None


def _api_key(value: str) -> ApiKey:
    found = _API_KEY.fullmatch(value)
    if found is None:
        raise Unauthenticated(f"{API_KEY_HEADER} holds no API key: one looks like robin_..._...")
    prefix, secret = found.groups()
    return ApiKey(prefix, hashlib.sha256(secret.encode()).hexdigest())


def _bearer_token(value: str) -> BearerToken:
    found = _BEARER.fullmatch(value)
    if found is None:
        raise Unauthenticated("Authorization must be 'Bearer' and a token.", error="invalid_request")
    return BearerToken(found[1])

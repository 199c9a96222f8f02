"""The user behind a credential, as the data store knows it, believed for as long as that says."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from cachetools import TLRUCache

from access.roles import PERMISSIONS, Permission, Role
from document_api.documents.store_client import Known, StoreClient
from document_api.identity.credentials import ApiKey, Credential, Unauthenticated

# Of those that are believed at once; each takes some 500 bytes.
_MOST_KNOWN: Final = 10_000
_NOT_ACCEPTED: Final = "The credential is not accepted: unknown, expired or revoked."


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request."""

    user_id: int
    client_id: str | None
    role: Role
    credential: str  # what of it may be told: a key's prefix, or that it was a token

    @property
    def actor(self) -> str:
        """Name in the audit log."""
        return f"user:{self.user_id}/{self.credential}"

    def may(self, permission: Permission) -> bool:
        """Tell whether the role has a permission."""
        return permission is Permission.PUBLIC or permission in PERMISSIONS[self.role]


class Principals:
    """Finds who a credential belongs to."""

    def __init__(self, store: StoreClient, subject_of: Callable[[str], Awaitable[str]] | None = None) -> None:
        self._store = store
        self._subject_of = subject_of
        self._known: TLRUCache[ApiKey | str, Known] = TLRUCache(
            _MOST_KNOWN, ttu=lambda _, known, now: now + known.fresh_seconds, timer=time.monotonic
        )

    async def of(self, credential: Credential) -> Principal:
        """Return who a credential belongs to; raises Unauthenticated (401), Unavailable (503), Problem (502, 504)."""
        if isinstance(credential, ApiKey):
            return self._principal(await self._find(credential), f"key:{credential.prefix}")
        if self._subject_of is None:
            raise Unauthenticated(
                "Bearer tokens are not accepted here; send X-API-Key.", error="invalid_token"
            )
        return self._principal(await self._find(await self._subject_of(credential.text)), "bearer")

    async def _find(self, who: ApiKey | str) -> Known:
        known = self._known.get(who)
        if known is None:
            asked = time.monotonic()
            known = await self._ask(who)
            # Counted from the question: an answer may be older than what has been revoked since.
            fresh_seconds = known.fresh_seconds - (time.monotonic() - asked)
            self._known[who] = replace(known, fresh_seconds=fresh_seconds)
        return known

    async def _ask(self, who: ApiKey | str) -> Known:
        if isinstance(who, ApiKey):
            return await self._store.principal_by_key(who.prefix, who.digest)
        return await self._store.principal_by_subject(who)

    def _principal(self, known: Known, credential: str) -> Principal:
        if known.user is None:
            raise Unauthenticated(_NOT_ACCEPTED, error="invalid_token")
        return Principal(known.user.user_id, known.user.client_id, known.user.role, credential)

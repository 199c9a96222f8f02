"""The user behind a credential, as the data store knows it, believed for as long as that says."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from cachetools import TLRUCache, TTLCache

from access.roles import PERMISSIONS, Permission, Role
from document_api.documents.store_client import Known, StoreClient
from document_api.identity.credentials import ApiKey, Credential, Unauthenticated
from document_api.identity.strangers import Strangers
from observability import Unavailable

# Of those that are believed at once; each takes some 500 bytes.
_MOST_KNOWN: Final = 10_000
# Whoever was valid within this time is asked about without waiting for strangers.
_FAMILIAR_SECONDS: Final = 3600.0
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


@dataclass(frozen=True, slots=True)
class _Question:
    """One to the data store, under way since then."""

    began: float
    answer: asyncio.Task[Known]


def _heard(answer: asyncio.Task[Known]) -> None:
    """Take note of a failure: those who wait tell it, if anybody still does."""
    if not answer.cancelled():
        answer.exception()


class Principals:
    """Finds who a credential belongs to."""

    def __init__(
        self,
        store: StoreClient,
        strangers: Strangers,
        subject_of: Callable[[str], Awaitable[str]] | None = None,
        *,
        deadline_seconds: float,
    ) -> None:
        self._store = store
        self._deadline_seconds = deadline_seconds
        self._subject_of = subject_of or _no_tokens
        self._strangers = strangers
        self._known: TLRUCache[ApiKey | str, Known] = TLRUCache(
            _MOST_KNOWN, ttu=lambda _, known, now: now + known.fresh_seconds, timer=time.monotonic
        )
        self._familiar: TTLCache[ApiKey | str, None] = TTLCache(
            _MOST_KNOWN, ttl=_FAMILIAR_SECONDS, timer=time.monotonic
        )
        self._questions: dict[ApiKey | str, _Question] = {}

    async def of(self, credential: Credential, address: str) -> Principal:
        """Return who a credential from an address belongs to.

        Raises Unauthenticated (401), TooManyRequests (429), Unavailable (503), Problem (502, 504).
        """
        if isinstance(credential, ApiKey):
            return self._principal(await self._find(credential, address), f"key:{credential.prefix}")
        subject = await self._subject(credential.text, address)
        return self._principal(await self._find(subject, address), "bearer")

    async def _subject(self, token: str, address: str) -> str:
        try:
            return await self._subject_of(token)
        except Unauthenticated:
            await self._strangers.count_wrong(address)
            raise

    async def _find(self, who: ApiKey | str, address: str) -> Known:
        """Return what is known, else what is found out within the deadline."""
        if (known := self._known.get(who)) is not None:
            return known
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._found(who, address)
        except TimeoutError as error:
            raise Unavailable("The data store cannot say in time who sends this; try again.") from error

    async def _found(self, who: ApiKey | str, address: str) -> Known:
        """Find out; all who want to know it at the same time share one question."""
        came = time.monotonic()
        while True:
            question = self._questions.get(who) or self._begin(who, address)
            known = await asyncio.shield(question.answer)
            if question.began >= came:  # of an older one the answer may be too old by now
                return known
            if (fresh := self._known.get(who)) is not None:
                return fresh

    def _begin(self, who: ApiKey | str, address: str) -> _Question:
        """Begin to ask, whoever waits for the answer."""
        began = time.monotonic()
        answer = asyncio.create_task(self._known_anew(who, address))
        answer.add_done_callback(_heard)
        question = self._questions[who] = _Question(began, answer)
        return question

    async def _known_anew(self, who: ApiKey | str, address: str) -> Known:
        ask = partial(self._ask, who)
        try:
            return await (ask() if who in self._familiar else self._strangers.known(address, ask))
        finally:
            del self._questions[who]  # not after it is answered: nobody may find an old answer

    async def _ask(self, who: ApiKey | str) -> Known:
        asked = time.monotonic()
        if isinstance(who, ApiKey):
            known = await self._store.principal_by_key(who.prefix, who.digest)
        else:
            known = await self._store.principal_by_subject(who)
        # Counted from the question: an answer may be older than what has been revoked since.
        fresh_seconds = known.fresh_seconds - (time.monotonic() - asked)
        self._known[who] = replace(known, fresh_seconds=fresh_seconds)
        if known.user is not None:
            self._familiar[who] = None
        else:
            self._familiar.pop(who, None)
        return known

    def _principal(self, known: Known, credential: str) -> Principal:
        if known.user is None:
            raise Unauthenticated(_NOT_ACCEPTED, error="invalid_token")
        return Principal(known.user.user_id, known.user.client_id, known.user.role, credential)


async def _no_tokens(_token: str) -> str:
    raise Unauthenticated("Bearer tokens are not accepted here; send X-API-Key.", error="invalid_token")

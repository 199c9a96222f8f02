"""How long document_api believes what it was told of a credential."""

from dataclasses import dataclass, field

import pytest

from access.roles import Role
from document_api.documents.store_client import Known, User
from document_api.identity import principals
from document_api.identity.credentials import ApiKey, Unauthenticated
from document_api.identity.principals import Principals
from document_api.identity.strangers import Strangers

ADDRESS = "192.0.2.1"
KEY = ApiKey("0123456789ab", "5e" * 32)
ADDRESS = "192.0.2.1"
ADA = User(user_id=1, client_id="acme", role=Role.WRITER)


@dataclass
class Store:
    """Stands for the data store, whose answers take time on a clock of its own."""

    takes_seconds: float
    user: User | None = field(default_factory=lambda: ADA)
    now: float = 100.0
    asked: list[str] = field(default_factory=list)

    async def principal_by_key(self, prefix: str, digest: str) -> Known:
        """Answer as things are when the question arrives, after a while."""
        answer = Known(self.user, fresh_seconds=1.0)
        self.asked.append(f"{prefix} {digest}")
        self.now += self.takes_seconds
        return answer

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that takes 0.4 s for an answer, and the only clock."""
    store = Store(takes_seconds=0.4)
    monkeypatch.setattr(principals, "time", store)
    return store


async def test_an_answer_is_believed_for_as_long_as_it_says(slow: Store) -> None:
    """And then the store is asked again."""
    known = Principals(slow, Strangers(None), deadline_seconds=10)  # type: ignore[arg-type]
    await known.of(KEY, ADDRESS)
    await known.of(KEY, ADDRESS)
    assert len(slow.asked) == 1
    slow.now += 1
    await known.of(KEY, ADDRESS)
    assert len(slow.asked) == 2


async def test_a_key_that_is_revoked_while_its_answer_is_under_way_is_not_believed_for_longer(
    slow: Store,
) -> None:
    """`revoke-key` waits from the revocation on, and promises that nobody is let in after that."""
    known = Principals(slow, Strangers(None), deadline_seconds=10)  # type: ignore[arg-type]
    asked = slow.now
    await known.of(KEY, ADDRESS)
    slow.user = None  # revoked right after the question had arrived
    slow.now = asked + 1.001
    with pytest.raises(Unauthenticated):
        await known.of(KEY, ADDRESS)


async def test_an_answer_that_took_longer_than_it_is_fresh_is_used_once(slow: Store) -> None:
    """It was right when it was given."""
    slow.takes_seconds = 1.5
    known = Principals(slow, Strangers(None), deadline_seconds=10)  # type: ignore[arg-type]
    assert (await known.of(KEY, ADDRESS)).user_id == 1
    await known.of(KEY, ADDRESS)
    assert len(slow.asked) == 2

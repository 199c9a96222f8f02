"""Credentials that are not valid: what a flood of them takes from the data store, and from those that are."""

import asyncio
from dataclasses import dataclass, field

import pytest

from access.roles import Role
from document_api import turns
from document_api.documents.store_client import Known, User
from document_api.identity import strangers
from document_api.identity.credentials import ApiKey, BearerToken, Unauthenticated
from document_api.identity.limits import TooManyRequests
from document_api.identity.principals import Principals
from document_api.identity.strangers import Strangers
from observability import Unavailable
from tests.waiting import eventually

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
ADA = User(user_id=1, client_id="acme", role=Role.WRITER)
VALID = ApiKey("ada0ada0ada0", "5e" * 32)


def unknown(number: int) -> ApiKey:
    """Return a key that nobody has."""
    return ApiKey(f"{number:012x}", "00" * 32)


@dataclass
class Store:
    """Stands for the data store: knows one key, and answers when it is let."""

    fresh_seconds: float = 60.0
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    fails: bool = False
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def principal_by_key(self, prefix: str, _digest: str) -> Known:
        """Answer as soon as it is let."""
        self.asked.append(prefix)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.answers.wait()
        finally:
            self.at_once -= 1
        if self.fails:
            raise Unavailable("The data store cannot be reached; try again.")
        return Known(ADA if prefix == VALID.prefix else None, self.fresh_seconds)


@pytest.fixture
def store() -> Store:
    """One that answers at once."""
    store = Store()
    store.answers.set()
    return store


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is late for those who wait for it; no test is about how late."""
    monkeypatch.setattr(strangers, "_HELD_SECONDS", 0.0)


def principals_of(store: Store, wrong_per_second: int | None = None) -> Principals:
    """Return what asks the store."""
    return Principals(store, Strangers(wrong_per_second), deadline_seconds=10)  # type: ignore[arg-type]


async def said(principals: Principals, key: ApiKey, address: str = HERE) -> str:
    """Return what becomes of a request."""
    try:
        return (await principals.of(key, address)).actor
    except (Unauthenticated, TooManyRequests, Unavailable) as refused:
        return str(refused.status)


async def settle() -> None:
    """Let every task come as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


class TestOneQuestion:
    """However many requests show one credential at the same time, it is asked about once."""

    async def test_all_get_the_answer(self) -> None:
        """Of a valid one and of a wrong one."""
        store = Store()
        principals = principals_of(store)
        requests = [
            asyncio.create_task(said(principals, key)) for key in (VALID, unknown(1)) for _ in range(50)
        ]
        await settle()
        store.answers.set()
        answers = await asyncio.gather(*requests)
        assert set(answers[:50]) == {f"user:1/key:{VALID.prefix}"}
        assert set(answers[50:]) == {"401"}
        assert store.asked == [VALID.prefix, unknown(1).prefix]

    async def test_the_one_who_asked_may_go_away(self) -> None:
        """The others wait for the same answer."""
        store = Store()
        principals = principals_of(store)
        requests = [asyncio.create_task(said(principals, VALID)) for _ in range(3)]
        await settle()
        requests[0].cancel()
        await settle()
        store.answers.set()
        assert await asyncio.gather(*requests[1:]) == [f"user:1/key:{VALID.prefix}"] * 2
        assert store.asked == [VALID.prefix]

    async def test_all_hear_of_a_failure_and_the_next_asks_again(self) -> None:
        """A failure is nothing to be believed."""
        store = Store(fails=True)
        principals = principals_of(store)
        requests = [asyncio.create_task(said(principals, VALID)) for _ in range(3)]
        await settle()
        store.answers.set()
        assert await asyncio.gather(*requests) == ["503"] * 3
        assert len(store.asked) == 1
        store.fails = False
        assert await said(principals, VALID) == f"user:1/key:{VALID.prefix}"

    async def test_who_comes_later_takes_no_answer_that_may_not_be_believed(self) -> None:
        """CREDENTIAL_CACHE_SECONDS=0: the key may have been revoked since the question. All of them ask once more."""
        store = Store(fresh_seconds=0.0)
        principals = principals_of(store)
        first = asyncio.create_task(said(principals, VALID))
        await settle()
        later = [asyncio.create_task(said(principals, VALID)) for _ in range(10)]
        await settle()
        assert len(store.asked) == 1
        store.answers.set()
        assert set(await asyncio.gather(first, *later)) == {f"user:1/key:{VALID.prefix}"}
        assert len(store.asked) == 2

    async def test_who_comes_just_when_it_is_answered_is_answered(self) -> None:
        """At any moment, and where an answer may not be believed."""
        store = Store(fresh_seconds=0.0)
        principals = principals_of(store)
        requests = []
        for moment in range(30):
            requests.append(asyncio.create_task(said(principals, VALID)))
            await asyncio.sleep(0)
            if moment == 10:
                store.answers.set()
        assert set(await asyncio.gather(*requests)) == {f"user:1/key:{VALID.prefix}"}


class TestFlood:
    """Of credentials that nobody has."""

    async def test_few_are_asked_about_at_once(self) -> None:
        """And whoever was let in lately does not wait for them."""
        store = Store(fresh_seconds=0.0)
        store.answers.set()
        principals = principals_of(store)
        await said(principals, VALID)
        store.answers.clear()
        flood = [asyncio.create_task(said(principals, unknown(n))) for n in range(20)]
        await settle()
        assert store.at_once == 2
        known = asyncio.create_task(said(principals, VALID))
        await settle()
        assert store.asked[-1] == VALID.prefix
        store.answers.set()
        assert await known == f"user:1/key:{VALID.prefix}"
        assert set(await asyncio.gather(*flood)) == {"401"}
        assert store.most_at_once == 3

    async def test_no_more_than_a_line_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The rest is refused without a question."""
        monkeypatch.setattr(turns, "LONGEST_LINE", 3)
        store = Store()
        principals = principals_of(store)
        flood = [asyncio.create_task(said(principals, unknown(n))) for n in range(20)]
        await settle()
        store.answers.set()
        assert sorted(await asyncio.gather(*flood)) == ["401"] * 5 + ["429"] * 15
        assert len(store.asked) == 5

    async def test_an_address_may_show_so_many_in_a_second(self, store: Store) -> None:
        """Beyond them it is refused without a question."""
        principals = principals_of(store, wrong_per_second=5)
        answers = [await said(principals, unknown(n)) for n in range(50)]
        assert answers[:5] == ["401"] * 5
        assert set(answers) == {"401", "429"}
        assert answers.count("401") == len(store.asked)

    def test_after_a_second_the_address_may_show_more(self, store: Store) -> None:
        """As it was told."""
        principals = principals_of(store, wrong_per_second=1)
        with asyncio.Runner() as runner:
            assert [runner.run(said(principals, unknown(n))) for n in range(2)] == ["401", "429"]
            with pytest.raises(TooManyRequests) as refused:
                runner.run(principals.of(unknown(2), HERE))
            told = int((refused.value.headers or {})["Retry-After"])
            eventually(lambda: runner.run(said(principals, unknown(3))) == "401", seconds=told + 1)

    async def test_those_of_another_address_are_asked_about(self, store: Store) -> None:
        """A key that was just issued is let in there."""
        principals = principals_of(store, wrong_per_second=5)
        assert "429" in [await said(principals, unknown(n)) for n in range(50)]
        assert await said(principals, VALID, ELSEWHERE) == f"user:1/key:{VALID.prefix}"

    async def test_whoever_was_let_in_lately_is_let_in(self, store: Store) -> None:
        """From the same address, and when what is known of him has to be asked again."""
        store.fresh_seconds = 0.0
        principals = principals_of(store, wrong_per_second=5)
        await said(principals, VALID)
        assert "429" in [await said(principals, unknown(n)) for n in range(50)]
        assert await said(principals, VALID) == f"user:1/key:{VALID.prefix}"

    async def test_forged_tokens_count_as_well(self, store: Store) -> None:
        """Though nobody is asked about them."""

        async def forged(_token: str) -> str:
            raise Unauthenticated("The token is not valid.")

        principals = Principals(store, Strangers(5), forged, deadline_seconds=10)  # type: ignore[arg-type]
        answers = []
        for number in range(50):
            try:
                await principals.of(BearerToken(f"a.b.{number}"), HERE)
            except (Unauthenticated, TooManyRequests) as refused:
                answers.append(refused.status)
        assert answers[:5] == [401] * 5
        assert 429 in answers
        assert store.asked == []

"""What one client may take of document_api, and that another's share stays what it is."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest
from pydantic import ValidationError

from document_api import turns
from document_api.identity.limits import TenantLimits, TooManyRequests, Work
from document_api.labels import BoundedLabel
from document_api.settings import DocumentApiSettings
from observability import Unavailable
from observability.service import AuthMode
from observability.signals import TENANT_LIMIT_EXCEEDED
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

Make = Callable[..., TenantLimits]


@pytest.fixture
def make(telemetry: TelemetrySpy) -> Make:
    """Limits of which a test names those that it is about."""

    def made(**told: int) -> TenantLimits:
        none = dict.fromkeys(("requests_per_second", "requests_at_once", "concurrent_uploads"))
        return TenantLimits(BoundedLabel(1), telemetry.telemetry, **{**none, **told})

    return made


def taken(client_limits: TenantLimits, client: str, *, upload: bool = False) -> bool:
    """Tell whether a request is let in."""
    try:
        client_limits.count_request(client, upload=upload)
    except TooManyRequests:
        return False
    return True


class TestRate:
    """Requests a second."""

    def test_one_too_many_is_told_when_to_come_again_and_let_in_then(self, make: Make) -> None:
        """`Retry-After` is whole seconds, and enough of them."""
        client_limits = make(requests_per_second=3)
        assert [taken(client_limits, "acme") for _ in range(3)] == [True] * 3
        with pytest.raises(TooManyRequests) as refused:
            client_limits.count_request("acme", upload=False)
        told = int((refused.value.headers or {})["Retry-After"])
        assert told >= 1
        eventually(lambda: taken(client_limits, "acme"), seconds=told)

    def test_an_upload_counts_as_two_requests(self, make: Make) -> None:
        """It takes more of the machine; the refusal says so."""
        client_limits = make(requests_per_second=5)
        assert [taken(client_limits, "acme", upload=True) for _ in range(3)] == [True, True, False]
        assert taken(client_limits, "acme")
        with pytest.raises(TooManyRequests, match="may send 5 requests a second; an upload counts as 2"):
            client_limits.count_request("acme", upload=True)

    def test_whoever_may_send_one_request_a_second_may_upload(self, make: Make) -> None:
        """Else no upload would ever be let in."""
        client_limits = make(requests_per_second=1)
        assert [taken(client_limits, "acme", upload=True) for _ in range(2)] == [True, False]

    def test_each_client_has_its_own(self, make: Make) -> None:
        """A flood of one is nothing to the other."""
        client_limits = make(requests_per_second=2)
        assert [taken(client_limits, "acme") for _ in range(100)].count(True) <= 3
        assert taken(client_limits, "globex")

    def test_what_is_refused_is_counted_by_client_and_limit(
        self, make: Make, telemetry: TelemetrySpy
    ) -> None:
        """The metric names the first clients only."""
        client_limits = make(requests_per_second=1)
        for client in ("acme", "globex"):
            assert [taken(client_limits, client) for _ in range(3)] == [True, False, False]
        assert telemetry.series(TENANT_LIMIT_EXCEEDED) == {("acme", "requests"): 2, ("other", "requests"): 2}

    def test_without_a_limit_nobody_is_refused(self, make: Make, telemetry: TelemetrySpy) -> None:
        """And nothing is counted."""
        client_limits = make()
        assert all(taken(client_limits, "acme") for _ in range(1000))
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(client_limits.uploading("acme"))
        assert telemetry.series(TENANT_LIMIT_EXCEEDED) == {}


class TestUploads:
    """Uploads at once."""

    def test_one_too_many_at_once_is_refused_and_another_clients_is_not(
        self, make: Make, telemetry: TelemetrySpy
    ) -> None:
        """Two are held, the third has to wait."""
        client_limits = make(concurrent_uploads=2)
        with client_limits.uploading("acme"), client_limits.uploading("acme"):
            with pytest.raises(TooManyRequests) as refused, client_limits.uploading("acme"):
                pytest.fail("a third one got in")
            with client_limits.uploading("globex"):
                pass
        assert refused.value.headers == {"Retry-After": "1"}
        assert telemetry.series(TENANT_LIMIT_EXCEEDED) == {("acme", "uploads"): 1}

    def test_an_upload_that_has_ended_makes_room(self, make: Make) -> None:
        """However it ended; a refused one takes none."""
        client_limits = make(concurrent_uploads=1)
        for _ in range(3):
            with client_limits.uploading("acme"), pytest.raises(TooManyRequests):
                client_limits.uploading("acme").__enter__()
            with pytest.raises(RuntimeError, match="broke off"), client_limits.uploading("acme"):
                raise RuntimeError("broke off")

    async def test_an_upload_that_is_cancelled_makes_room(self, make: Make) -> None:
        """The client went away."""
        client_limits = make(concurrent_uploads=1)
        began = asyncio.Event()

        async def upload() -> None:
            with client_limits.uploading("acme"):
                began.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(upload())
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
        with client_limits.uploading("acme"):
            pass


class Working:
    """Work of clients that lasts until it is let go."""

    def __init__(self, client_limits: TenantLimits) -> None:
        self._limits = client_limits
        self.began: list[str] = []
        self._over: dict[str, asyncio.Event] = {}

    def begin(self, client: str, name: str, work: Work = Work.RECORD) -> asyncio.Task[None]:
        """Have something done for a client as soon as it is its turn."""
        self._over[name] = asyncio.Event()

        async def done() -> None:
            async with self._limits.turn(client, work):
                self.began.append(name)
                await self._over[name].wait()

        return asyncio.create_task(done())

    def let_go(self, name: str) -> None:
        """Let one end."""
        self._over[name].set()


async def settle() -> None:
    """Let every task come as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


class TestTurns:
    """What is worked on at once."""

    async def test_clients_that_wait_have_turns_however_much_one_of_them_wants(self, make: Make) -> None:
        """Within a client it is first come, first served; work of another kind has other turns."""
        working = Working(make(requests_at_once=2))
        tasks = [working.begin("acme", name) for name in "abcdef"]
        await settle()
        assert working.began == ["a", "b"]
        tasks += [
            working.begin("globex", "g"),
            working.begin("globex", "h"),
            working.begin("acme", "i", Work.FILE),
        ]
        await settle()
        assert working.began == ["a", "b", "i"]
        for name in "abicgdhef":
            working.let_go(name)
            await settle()
        await asyncio.gather(*tasks)
        assert "".join(working.began) == "abicgdhef"

    async def test_a_turn_that_nobody_wants_is_free_for_the_next(self, make: Make) -> None:
        """Turns are neither lost nor made."""
        client_limits = make(requests_at_once=2)
        for _ in range(3):
            working = Working(client_limits)
            tasks = [working.begin("acme", name) for name in "abc"]
            await settle()
            assert working.began == ["a", "b"]
            for name in "abc":
                working.let_go(name)
            await asyncio.gather(*tasks)

    async def test_whoever_goes_away_gives_his_turn_to_the_next(self, make: Make) -> None:
        """While he is worked for, and while he waits."""
        working = Working(make(requests_at_once=1))
        tasks = {name: working.begin("acme", name) for name in "abcd"}
        await settle()
        tasks["b"].cancel()
        tasks["a"].cancel()
        await settle()
        assert working.began == ["a", "c"]
        working.let_go("c")
        await settle()
        assert working.began == ["a", "c", "d"]
        working.let_go("d")
        await tasks["d"]

    async def test_whoever_goes_away_when_he_is_called_passes_it_on(self, make: Make) -> None:
        """Both happen before he can come."""
        client_limits = make(requests_at_once=1)
        working = Working(client_limits)
        async with client_limits.turn("acme", Work.RECORD):
            tasks = {name: working.begin("acme", name) for name in "ab"}
            await settle()
        tasks["a"].cancel()
        await settle()
        assert working.began == ["b"]
        working.let_go("b")
        await tasks["b"]

    async def test_when_too_many_of_a_client_wait_its_next_is_refused(
        self, make: Make, telemetry: TelemetrySpy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It takes nobody's turn; another client may wait, and there is room once somebody is done."""
        monkeypatch.setattr(turns, "LONGEST_LINE", 1)
        client_limits = make(requests_at_once=1)
        working = Working(client_limits)
        tasks = [working.begin("acme", name) for name in "ab"]
        await settle()
        with pytest.raises(TooManyRequests, match="wait already"):
            await client_limits.turn("acme", Work.RECORD).__aenter__()
        tasks.append(working.begin("globex", "c"))
        working.let_go("a")
        await settle()
        tasks.append(working.begin("acme", "d"))
        for name in "bcd":
            working.let_go(name)
        await asyncio.gather(*tasks)
        assert working.began == ["a", "b", "c", "d"]
        assert telemetry.series(TENANT_LIMIT_EXCEEDED) == {("acme", "requests"): 1}

    async def test_nobody_waits_for_a_turn_without_end(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """503: nothing was done. Whoever gave up is no longer in the line, and others still have their turns."""
        monkeypatch.setattr(turns, "LONGEST_WAIT_SECONDS", 0.01)
        monkeypatch.setattr(turns, "LONGEST_LINE", 1)
        working = Working(make(requests_at_once=1))
        first = working.begin("acme", "a")
        await settle()
        for name in "bc":
            with pytest.raises(Unavailable) as refused:
                await working.begin("acme", name)
            assert refused.value.headers == {"Retry-After": "1"}
        monkeypatch.setattr(turns, "LONGEST_WAIT_SECONDS", 10)
        last = working.begin("globex", "d")
        await settle()
        working.let_go("a")
        working.let_go("d")
        await asyncio.gather(first, last)
        assert working.began == ["a", "d"]

    async def test_without_a_limit_everything_is_worked_on(self, make: Make) -> None:
        """As with AUTH_MODE=open."""
        client_limits = make()
        async with AsyncExitStack() as stack:
            for _ in range(500):
                await stack.enter_async_context(client_limits.turn("acme", Work.RECORD))


LIMITS = ("requests_per_second", "at_once", "concurrent_uploads")
SETTINGS = ("tenant_requests_per_second", "requests_at_once", "tenant_concurrent_uploads")


@pytest.mark.parametrize(
    ("told", "limited"),
    [
        ({}, (None, None, None)),
        ({"auth_mode": AuthMode.REQUIRED}, (20, 4, 4)),
        ({"auth_mode": AuthMode.REQUIRED, **dict.fromkeys(SETTINGS, 0)}, (None, None, None)),
        (dict.fromkeys(SETTINGS, 7), (7, 7, 7)),
    ],
)
def test_without_a_word_clients_are_limited_where_they_are_known(
    told: dict[str, Any], limited: tuple[int | None, ...]
) -> None:
    """0 is no limit; a number holds in both modes."""
    settings = DocumentApiSettings(service_token="of the tests", **told)
    assert tuple(getattr(settings, name) for name in LIMITS) == limited


@pytest.mark.parametrize("name", [*SETTINGS, "wrong_credentials_per_second"])
def test_less_than_nothing_is_refused(name: str) -> None:
    """The message names the setting."""
    with pytest.raises(ValidationError, match=name):
        DocumentApiSettings(**{name: -1})  # type: ignore[arg-type]

"""Admission: how much a service takes in hand, and how it refuses the rest."""

import asyncio
import json
from typing import Any, Final

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Scope

from observability import Admission, ObservabilityMiddleware
from observability.admission import OPEN_PER_REQUEST_IN_HAND, set_aside
from observability.signals import HTTP_ERRORS, HTTP_REQUEST_DURATION, HTTP_REQUESTS, REQUESTS_SHED, Attribute
from tests.telemetry_spy import TelemetrySpy

KEPT: Final = "0f8fad5b-d9cb-469f-a165-70867728950e"


class Service:
    """A service of one route that reads its body and then works until it is let go."""

    def __init__(self, telemetry: TelemetrySpy, *, in_hand: int) -> None:
        self.let_go = asyncio.Event()
        self.working = self.most_working = 0
        self.app = Starlette(
            routes=[
                Route("/work/{number}", self._work, methods=["PUT"]),
                Route("/wait", self._wait),
                Route("/wait-thrice", self._wait_thrice),
                Route("/health", self._well),
            ]
        )
        self.app.add_middleware(
            ObservabilityMiddleware, telemetry=telemetry.telemetry, slow_request_seconds=10.0
        )
        self.app.add_middleware(Admission, telemetry=telemetry.telemetry, in_hand=in_hand)

    async def _work(self, request: Request) -> Response:
        await request.body()
        self.working += 1
        self.most_working = max(self.most_working, self.working)
        await self.let_go.wait()
        await asyncio.sleep(0)
        self.working -= 1
        return PlainTextResponse("done")

    async def _wait(self, _request: Request) -> Response:
        with set_aside():
            await self.let_go.wait()
        return PlainTextResponse("done")

    async def _wait_thrice(self, request: Request) -> Response:
        with set_aside():
            await asyncio.gather(self._wait(request), self._wait(request))
        return PlainTextResponse("done")

    async def _well(self, _request: Request) -> Response:
        return PlainTextResponse("well")

    async def ask(self, path: str, *, body: asyncio.Event | None = None, method: str = "PUT") -> "Answer":
        """Send a request, whose body comes when the event is set, and return the answer."""
        answer = Answer()

        async def receive() -> Message:
            if body is not None:
                await body.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(b"x-correlation-id", KEPT.encode())],
            "query_string": b"",
        }
        await self.app(scope, receive, answer.take)
        return answer

    async def begin(self, count: int, **how: Any) -> list["asyncio.Task[Answer]"]:
        """Let so many requests begin."""
        tasks = [asyncio.create_task(self.ask("/work/1", **how)) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks


class Answer:
    """What was answered."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def take(self, message: Message) -> None:
        """Keep a part of it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        self.body += message.get("body", b"")


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a place does so for a moment only."""
    monkeypatch.setattr("observability.admission.MOST_SECONDS_WAITING", 0.05)


async def test_what_is_too_much_is_refused_and_told_when_to_come_again(telemetry: TelemetrySpy) -> None:
    """A problem with the request's own correlation ID."""
    service = Service(telemetry, in_hand=2)
    under_way = await service.begin(2)
    refused = await service.ask("/work/1")

    assert (refused.status, refused.headers["retry-after"]) == (503, "2")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["x-correlation-id"] == KEPT
    assert json.loads(refused.body)["correlation_id"] == KEPT
    service.let_go.set()
    assert [answer.status for answer in await asyncio.gather(*under_way)] == [200, 200]


async def test_who_waits_a_moment_has_the_place_of_who_is_done(
    telemetry: TelemetrySpy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst is served in its order, never more at once than there may be."""
    monkeypatch.setattr("observability.admission.MOST_SECONDS_WAITING", 10)
    service = Service(telemetry, in_hand=2)
    burst = await service.begin(6)
    assert service.working == 2

    service.let_go.set()
    assert [answer.status for answer in await asyncio.gather(*burst)] == [200] * 6
    assert service.most_working == 2


async def test_the_wait_for_a_place_is_in_the_requests_span_duration_and_line(
    telemetry: TelemetrySpy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was let in at once has no such attribute."""
    monkeypatch.setattr("observability.admission.MOST_SECONDS_WAITING", 10)
    service = Service(telemetry, in_hand=1)
    requests = await service.begin(2)
    service.let_go.set()
    await asyncio.gather(*requests)

    waits = {span.attributes.get(Attribute.ADMISSION_WAIT): span for span in telemetry.spans()}
    at_once, waited = waits.pop(None), waits.popitem()
    assert waited[0] > 0
    assert waited[1].start_time < at_once.end_time
    assert waited[1].end_time - waited[1].start_time >= waited[0] * 1e9
    (lasted,) = telemetry.points(HTTP_REQUEST_DURATION)
    assert lasted.sum > waited[0]
    lines = [dict(record.log_record.attributes) for record in telemetry.logs("INFO")]
    assert [line["context_data.waited"] for line in lines if "context_data.waited" in line] == [
        round(waited[0], 6)
    ]


async def test_who_goes_away_while_he_waits_leaves_his_place_to_the_next(
    telemetry: TelemetrySpy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before he is called, and at that very moment."""
    monkeypatch.setattr("observability.admission.MOST_SECONDS_WAITING", 10)
    service = Service(telemetry, in_hand=1)
    first, second, third, last = await service.begin(4)
    second.cancel()
    service.let_go.set()
    await first
    third.cancel()

    assert (await last).status == 200
    assert (await service.ask("/work/1")).status == 200


async def test_when_something_is_done_others_are_let_in(telemetry: TelemetrySpy) -> None:
    """The places of what has ended, whatever its end, are free again."""
    service = Service(telemetry, in_hand=1)
    (gone,) = await service.begin(1)
    gone.cancel()
    await asyncio.wait([gone])
    service.let_go.set()

    assert [(await service.ask("/work/1")).status for _ in range(3)] == [200] * 3


async def test_health_is_answered_while_all_else_is_refused(telemetry: TelemetrySpy) -> None:
    """Whoever asks it must not take an overloaded service for a dead one."""
    service = Service(telemetry, in_hand=1)
    under_way = await service.begin(1)

    assert (await service.ask("/health", method="GET")).status == 200
    service.let_go.set()
    await asyncio.gather(*under_way)


async def test_bodies_that_are_slow_to_come_keep_nobody_out(telemetry: TelemetrySpy) -> None:
    """They take no time; and they are worked on when they are there, however much came in the meantime."""
    service = Service(telemetry, in_hand=2)
    body = asyncio.Event()
    slow = await service.begin(3, body=body)
    quick = await service.begin(2)
    assert service.working == 2

    body.set()
    service.let_go.set()
    assert {answer.status for answer in await asyncio.gather(*slow, *quick)} == {200}


async def test_who_waits_for_somebody_else_keeps_nobody_out(telemetry: TelemetrySpy) -> None:
    """A flood that waits its turn, or for a model, leaves room for who does not."""
    service = Service(telemetry, in_hand=1)
    with set_aside():  # outside of a request it means nothing
        pass
    waiting = [asyncio.create_task(service.ask("/wait", method="GET")) for _ in "123"]
    await asyncio.sleep(0)
    (quick,) = await service.begin(1)
    assert service.working == 1

    service.let_go.set()
    assert {answer.status for answer in await asyncio.gather(quick, *waiting)} == {200}


async def test_however_often_a_request_is_set_aside_it_is_one(telemetry: TelemetrySpy) -> None:
    """Also in tasks that it makes: else every wait of theirs would let one more in."""
    service = Service(telemetry, in_hand=1)
    waiting = asyncio.create_task(service.ask("/wait-thrice", method="GET"))
    for _ in "123":
        await asyncio.sleep(0)
    quick, refused = await service.begin(2)
    assert service.working == 1
    assert (await refused).status == 503

    service.let_go.set()
    assert {answer.status for answer in await asyncio.gather(quick, waiting)} == {200}


async def test_even_of_slow_bodies_there_may_be_so_many(telemetry: TelemetrySpy) -> None:
    """Each takes memory."""
    service = Service(telemetry, in_hand=1)
    body = asyncio.Event()
    slow = await service.begin(OPEN_PER_REQUEST_IN_HAND, body=body)

    assert (await service.ask("/work/1", body=body)).status == 503
    body.set()
    service.let_go.set()
    await asyncio.gather(*slow)


async def test_refusals_are_counted_by_their_route_and_make_no_span(telemetry: TelemetrySpy) -> None:
    """As requests and as errors too: the objectives are held against what clients were answered."""
    service = Service(telemetry, in_hand=1)
    under_way = await service.begin(1)
    for path in ("/work/1", "/work/2", "/nowhere"):
        await service.ask(path)

    assert telemetry.series(REQUESTS_SHED) == {("PUT", "/work/{number}"): 2, ("PUT", "unmatched"): 1}
    assert telemetry.series(HTTP_REQUESTS)["PUT", "/work/{number}", "503"] == 2
    assert telemetry.series(HTTP_ERRORS)["PUT", "/work/{number}", "503", "overloaded"] == 2
    assert telemetry.spans() == []
    service.let_go.set()
    await asyncio.gather(*under_way)


async def test_of_many_refusals_one_line_tells(
    telemetry: TelemetrySpy, caplog: pytest.LogCaptureFixture
) -> None:
    """A flood is not answered with a flood of lines."""
    service = Service(telemetry, in_hand=1)
    under_way = await service.begin(1)
    for _ in range(50):
        await service.ask("/work/1")

    (line,) = [record for record in caplog.records if record.name == "observability.admission"]
    assert line.levelname == "WARNING"
    service.let_go.set()
    await asyncio.gather(*under_way)

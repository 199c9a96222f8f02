"""Asks the back ends in threads of its own, a few at once, each with little time: uploads are not to notice."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, TypeVar

import httpx
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from document_api.inspection.addresses import Addresses
from observability import Problem
from telemetry_queries.back_ends import BackEnds
from telemetry_queries.bounded import Bounded
from telemetry_queries.jaeger import Jaeger
from telemetry_queries.log_store import LogStore, UnknownLogStoreError, detect
from telemetry_queries.loki import Loki, SilentLoki
from telemetry_queries.overview import Overview, overview
from telemetry_queries.prometheus import Prometheus
from telemetry_queries.requests import RecentRequests, recent_requests
from telemetry_queries.story import Story, StoryTeller
from telemetry_queries.victorialogs import VictoriaLogs

Told = TypeVar("Told")
_SECONDS: Final = 5.0
_MOST_BYTES: Final = 2 * 1024 * 1024
_AT_ONCE: Final = 2
_WAITING: Final = 6
_LOOKBACK_SECONDS: Final = 86400
_DASHBOARD: Final = "robin-overview"  # takes a correlation ID


class TelemetryReader:
    """Answers one question at a time with clients that end with it."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._transport = httpx.HTTPTransport(trust_env=False)
        self._limiter = CapacityLimiter(_AT_ONCE)
        self._kind: Callable[[httpx.Client, str], LogStore] | None = None

    @property
    def places(self) -> dict[str, str]:
        """Where people find the back ends."""
        return dict(self._addresses.public)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    async def story(self, correlation_id: str) -> Story:
        """Return everything that is known of a request."""
        story = await self._ask(lambda back_ends: StoryTeller(back_ends).tell(correlation_id))
        links = self._addresses.followed(story.links)
        if grafana := self.places.get("grafana"):
            links["request (Grafana)"] = f"{grafana}/d/{_DASHBOARD}?var-correlation_id={correlation_id}"
        return replace(story, links=links)

    async def recent(self, *, limit: int, failed: bool) -> RecentRequests:
        """Return the newest requests of a day, or those that were answered with an error."""
        since = time.time() - _LOOKBACK_SECONDS
        return await self._ask(
            lambda back_ends: recent_requests(back_ends.logs, since=since, limit=limit, failed=failed)
        )

    async def overview(self) -> Overview:
        """Return how the last hour was."""
        return await self._ask(lambda back_ends: overview(back_ends.prometheus, now=time.time()))

    async def _ask(self, question: Callable[[BackEnds], Told]) -> Told:
        """Ask in a thread, after those who came before; raises Problem (429) where they are too many."""
        if self._limiter.statistics().tasks_waiting >= _WAITING:
            raise Problem(
                "Too many are reading telemetry just now. Try again.",
                status=429,
                headers={"Retry-After": "1"},
            )

        def answer() -> Told:
            with self._back_ends() as back_ends:
                return question(back_ends)

        return await run_sync(answer, limiter=self._limiter, abandon_on_cancel=True)

    @contextmanager
    def _back_ends(self) -> Iterator[BackEnds]:
        bounded = Bounded(self._transport, seconds=_SECONDS, most_bytes=_MOST_BYTES)
        with httpx.Client(transport=bounded, trust_env=False) as client:
            yield BackEnds(
                Jaeger(client, self._addresses.jaeger),
                Prometheus(client, self._addresses.prometheus),
                self._log_store(client),
            )

    def _log_store(self, client: httpx.Client) -> LogStore:
        """Return the log store, which is asked once what it is; one that does not answer is asked again."""
        if self._kind is None:
            found = self._detected(client)
            if not isinstance(found, Loki | VictoriaLogs):
                return found
            self._kind = type(found)
        return self._kind(client, self._addresses.logs)

    def _detected(self, client: httpx.Client) -> LogStore:
        try:
            return detect(client, [self._addresses.logs])
        except UnknownLogStoreError as error:
            return SilentLoki(client, self._addresses.logs, str(error))

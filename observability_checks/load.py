"""Many requests at once, by asyncio over aiohttp's transport: httpx's own would measure itself."""

import asyncio
import ssl
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from observability.signals import CORRELATION_HEADER
from observability_checks.api import sample_text
from observability_checks.credentials import Credentials
from observability_checks.figures import Figures

_TIMEOUT_SECONDS = 30.0
# Every fifth request is an upload, the others ask for a document that is there.
_UPLOAD_EVERY = 5
# A client over its limits comes again when it is told to, so often.
_MOST_TRIES = 30


@dataclass(slots=True)
class LoadResult:
    """What came back; `answers` counts by (method, status), status 0 for no answer."""

    seconds: float = 0.0
    latencies: dict[str, list[float]] = field(default_factory=lambda: {"PUT": [], "GET": []})
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    # By method: refused (429) by a service, and sent again.
    put_off: Counter[str] = field(default_factory=Counter)

    def figures(self, *methods: str) -> Figures:
        """Figures of the requests with these methods."""
        latencies = [latency for method in methods for latency in self.latencies[method]]
        return Figures.of(latencies, errors=self._errors(methods), seconds=self.seconds)

    def _errors(self, methods: Collection[str]) -> int:
        """Requests that were not answered with success."""
        return sum(
            count
            for (method, status), count in self.answers.items()
            if method in methods and status != httpx.codes.OK
        )


@dataclass(frozen=True, slots=True)
class Load:
    """How many requests, how many at once, and for which documents of which clients, in turn."""

    url: str
    documents: Sequence[tuple[str, int]]
    requests: int
    concurrency: int
    trust: ssl.SSLContext
    credentials: Credentials

    def run(self, on_answer: Callable[[], object]) -> LoadResult:
        """Send everything; calls `on_answer` after each request."""
        return asyncio.run(self._run(on_answer))

    async def _run(self, on_answer: Callable[[], object]) -> LoadResult:
        result = LoadResult()
        numbers = iter(range(self.requests))
        started = time.perf_counter()
        async with HttpxAiohttpClient(timeout=_TIMEOUT_SECONDS, trust_env=False, verify=self.trust) as client:
            workers = (self._work(client, numbers, result, on_answer) for _ in range(self.concurrency))
            await asyncio.gather(*workers)
        result.seconds = time.perf_counter() - started
        return result

    async def _work(
        self,
        client: httpx.AsyncClient,
        numbers: Iterator[int],
        result: LoadResult,
        on_answer: Callable[[], object],
    ) -> None:
        for number in numbers:
            method = "GET" if number % _UPLOAD_EVERY else "PUT"
            status = await self._send(client, method, number, result)
            result.answers[method, status] += 1
            on_answer()

    async def _send(self, client: httpx.AsyncClient, method: str, number: int, result: LoadResult) -> int:
        """Return the status of the last try, which alone is timed."""
        for tries_left in reversed(range(_MOST_TRIES)):
            started = time.perf_counter()
            try:
                answer = await self._request(client, method, number)
            except httpx.HTTPError as error:
                result.failures[f"{type(error).__name__}: {error}"] += 1
                status, wait = 0, None
            else:
                status, wait = answer.status_code, _told_to_wait(answer)
            if wait is None or not tries_left:
                break
            if "traceresponse" in answer.headers:  # nginx's own are counted in no service
                result.put_off[method] += 1
            await asyncio.sleep(wait)
        result.latencies[method].append(time.perf_counter() - started)
        return status

    async def _request(self, client: httpx.AsyncClient, method: str, number: int) -> httpx.Response:
        # Uploads have turns of their own: else one of five clients had all of them.
        turn = number // _UPLOAD_EVERY if method == "PUT" else number
        client_id, document_id = self.documents[turn % len(self.documents)]
        path = f"/clients/{client_id}/"
        client_url = f"{self.url}{path}"
        headers = {CORRELATION_HEADER: str(uuid.uuid4()), **self.credentials.headers(path)}
        if method == "GET":
            return await client.get(f"{client_url}documents/{document_id}", headers=headers)
        files = {"file": (f"load-{number}.txt", sample_text(0, number), "text/plain")}
        return await client.put(f"{client_url}upload-document", headers=headers, files=files)


def _told_to_wait(answer: httpx.Response) -> int | None:
    """Return after how many seconds to come again, of an answer that says one came too often (RFC 6585, 4)."""
    told = answer.headers.get("Retry-After", "")
    return int(told) if answer.status_code == httpx.codes.TOO_MANY_REQUESTS and told.isdecimal() else None

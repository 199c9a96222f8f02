"""Steady load, open-loop: uploads and reads of several clients, each request with an ID of its own and all accounted for.

Half of the uploads have an Idempotency-Key, and are sent again until they are answered well.
"""

import asyncio
import hashlib
import itertools
import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import aiohttp

from observability.signals import CORRELATION_HEADER

CLIENTS: Final = 4
A_SECOND: Final = 20
UPLOADS_SHARE: Final = 0.4
KEYED_SHARE: Final = 0.5
_AGAIN_SECONDS: Final = 0.5
# Longer than anything behind nginx may take.
PATIENCE_SECONDS: Final = 60
NO_ANSWER: Final = 0
OK: Final = 200


@dataclass(slots=True)
class Request:
    """One request and what its client saw; `document` is the id that was answered or asked for."""

    method: str
    client: str
    correlation_id: str
    at: float  # unix seconds
    document: int = 0
    upload: str = ""  # what every try of one upload has in common
    keyed: bool = False
    status: int = NO_ANSWER
    seconds: float = 0.0

    @property
    def answered_well(self) -> bool:
        """Whether the client got what it wanted."""
        return self.status == OK

    @property
    def content(self) -> bytes:
        """What is uploaded: a text that no other upload has."""
        words = hashlib.sha256(self.upload.encode()).hexdigest()
        return f"Document {self.upload} is told from all others. It says {words}. ".encode() * 8


@dataclass(slots=True)
class Load:
    """All requests of a run, in the order in which they were sent."""

    run: str
    requests: list[Request] = field(default_factory=list)

    @property
    def clients(self) -> list[str]:
        """Return the run's own clients."""
        return [f"{self.run}-{number}" for number in range(CLIENTS)]

    def uploads(self) -> list[Request]:
        """Return the uploads."""
        return [request for request in self.requests if request.method == "PUT"]


@contextmanager
def steady(url: str, run: str) -> Iterator[Load]:
    """Send requests until the block ends, then wait for the answers that are still to come."""
    load, over = Load(run), threading.Event()
    sender = _Sender(url, load, over)
    thread = threading.Thread(target=lambda: asyncio.run(sender.send()), name="load")
    thread.start()
    try:
        yield load
    finally:
        over.set()
        thread.join()


class _Sender:
    """Begins requests at their rate, whatever becomes of those before them."""

    def __init__(self, url: str, load: Load, over: threading.Event) -> None:
        self._url = url
        self._load = load
        self._over = over
        self._random = random.Random(load.run)  # noqa: S311  no secret
        self._clients = itertools.cycle(load.clients)
        self._stored: list[Request] = []

    async def send(self) -> None:
        """Send until it is over, and wait for what is under way."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            session._retry_connection = False
            started, under_way = time.monotonic(), []
            for number in itertools.count():
                await asyncio.sleep(max(0.0, started + number / A_SECOND - time.monotonic()))
                if self._over.is_set():
                    break
                request = self._next()
                self._load.requests.append(request)
                under_way.append(asyncio.create_task(self._until_well(session, request)))
            await asyncio.gather(*under_way)

    async def _until_well(self, session: aiohttp.ClientSession, request: Request) -> None:
        """Send a request, and one with a key again and again, as long as there is load."""
        await self._exchange(session, request)
        while request.keyed and not request.answered_well and not self._over.is_set():
            await asyncio.sleep(_AGAIN_SECONDS)
            request = replace(
                request, correlation_id=str(uuid.uuid4()), at=time.time(), status=NO_ANSWER, document=0
            )
            self._load.requests.append(request)
            await self._exchange(session, request)

    def _next(self) -> Request:
        if not self._stored or self._random.random() < UPLOADS_SHARE:
            upload, keyed = str(uuid.uuid4()), self._random.random() < KEYED_SHARE
            return Request(
                "PUT", next(self._clients), str(uuid.uuid4()), time.time(), upload=upload, keyed=keyed
            )
        asked = self._random.choice(self._stored)
        return Request("GET", asked.client, str(uuid.uuid4()), time.time(), document=asked.document)

    async def _exchange(self, session: aiohttp.ClientSession, request: Request) -> None:
        started = time.monotonic()
        headers = {CORRELATION_HEADER: request.correlation_id}
        if request.keyed:
            headers["Idempotency-Key"] = request.upload
        url, form = f"{self._url}/clients/{request.client}/documents/{request.document}", None
        if request.method == "PUT":
            url, form = f"{self._url}/clients/{request.client}/upload-document", aiohttp.FormData()
            form.add_field("file", request.content, filename="fault.txt", content_type="text/plain")
        try:
            async with session.request(request.method, url, data=form, headers=headers) as answer:
                if request.method == "PUT" and answer.status == OK:
                    request.document = (await answer.json())["document_id"]
                    self._stored.append(request)
                await answer.read()
                request.status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            request.status = NO_ANSWER
        request.seconds = time.monotonic() - started

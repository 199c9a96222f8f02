"""document_api's calls to the data store, while that is killed, held, started again, or says that it cannot."""

import asyncio
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from opentelemetry.trace import StatusCode

from observability.signals import DATA_STORE_CIRCUIT, DATA_STORE_REFUSALS, DATA_STORE_RETRIES, DOCUMENT_ROUTE
from tests.integration.conftest import PostgreSQL
from tests.integration.test_data_store_process import serving
from tests.integration.test_document_api_failures import GET, answering, nobody, peer, take
from tests.integration.test_document_api_http import document_api_on, files, upload
from tests.ports import free_port
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

READ: Final = b"""{"id": 1, "client_id": "acme", "filename": "a.txt", "file_size": 1, "file_type": "text/plain",
"upload_timestamp": "2026-01-01T00:00:00Z", "sha256": "", "storage_key": "x/y", "summary": null, "summary_source": "none", "summary_reason": null}"""


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """The folder of the bytes."""
    for name in ("incoming", "documents"):
        (tmp_path / name).mkdir()
    return tmp_path


def quietly_serving(port: int, database_url: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run a data store that says next to nothing: nobody reads what it writes, and a full pipe would hold it."""
    return serving(port, DATABASE_URL=database_url, LOG_LEVEL="ERROR")


def circuit(telemetry: TelemetrySpy) -> str:
    """Return the state of the circuit, as the gauge has it."""
    (state,) = (labels[0] for labels, value in telemetry.series(DATA_STORE_CIRCUIT).items() if value)
    return state


@contextmanager
def load(send: Callable[[], httpx.Response], at_once: int = 4) -> Iterator[list[httpx.Response]]:
    """Send a request again and again, from several threads; the answers are complete after the block."""
    answers: list[httpx.Response] = []
    done = threading.Event()

    def keep_sending() -> None:
        while not done.is_set():
            answers.append(send())

    with ThreadPoolExecutor(at_once) as threads:
        senders = [threads.submit(keep_sending) for _ in range(at_once)]
        try:
            yield answers
        finally:
            done.set()
    for sender in senders:
        sender.result()


def test_nobody_notices_that_the_data_store_is_killed_and_started_again(
    postgresql: PostgreSQL, database: str, uploads: Path, telemetry: TelemetrySpy
) -> None:
    """Reads and uploads wait until it is back, within the deadline; none is stored twice, and what was made again is counted."""
    port, database_url = free_port(), postgresql.url(database)
    with document_api_on(
        f"http://127.0.0.1:{port}", uploads, telemetry, data_store_deadline_seconds=25
    ) as api:
        with ExitStack() as stack:
            with quietly_serving(port, database_url) as store:
                first = upload(api).json()["document_id"]
                reads = stack.enter_context(load(lambda: api.get(f"/clients/acme/documents/{first}")))
                writes = stack.enter_context(load(lambda: upload(api, uuid.uuid4().bytes)))
                eventually(lambda: len(reads) > 20 and len(writes) > 20, "requests are answered")
                store.kill()
                store.wait()
            with quietly_serving(port, database_url):
                before = len(reads), len(writes)
                eventually(
                    lambda: len(reads) > before[0] + 20 and len(writes) > before[1] + 20,
                    "requests are answered again",
                    seconds=25,
                )
                stack.close()

        assert {answer.status_code for answer in reads} == {200}
        assert {answer.status_code for answer in writes} == {200}
        assert postgresql.count(database, "document_metadata") == 1 + len(writes)
        assert len(files(uploads)) == 1 + len(writes)
        assert telemetry.series(DATA_STORE_RETRIES)["refused",] >= 4
        assert circuit(telemetry) == "closed"


def test_a_data_store_that_hangs_is_a_504_and_then_a_503_at_once_until_it_answers_again(
    database_url: str, uploads: Path, telemetry: TelemetrySpy
) -> None:
    """Five requests wait; then the circuit is open, and one at a time probes until it closes by itself."""
    port = free_port()
    with (
        quietly_serving(port, database_url) as store,
        document_api_on(
            f"http://127.0.0.1:{port}", uploads, telemetry, data_store_timeout_seconds=0.5
        ) as api,
    ):
        path = f"/clients/acme/documents/{upload(api).json()['document_id']}"
        os.kill(store.pid, signal.SIGSTOP)
        try:
            for _ in range(5):
                assert_problem(api.get(path), 504)
            # From the circuit: whoever asks is told 504.
            refused = [eventually(lambda: refusal(api.get(path))), eventually(lambda: refusal(upload(api)))]
            health = api.get("/health").status_code
        finally:
            os.kill(store.pid, signal.SIGCONT)
        eventually(lambda: api.get(path).status_code == 200, "the data store is asked again", seconds=20)

        assert [answer.headers["Retry-After"] for answer in refused] == ["1", "1"]
        assert health == 503
        assert upload(api).status_code == 200
        assert circuit(telemetry) == "closed"
        assert telemetry.series(DATA_STORE_REFUSALS)["circuit_open",] >= 2
        told = [message for message in telemetry.messages("WARN") if message.startswith("The data store")]
        assert told == [
            "The data store fails again and again: it is asked once a second until it answers",
            "The data store answers again",
        ]


def refusal(answer: httpx.Response) -> httpx.Response | None:
    """Return an answer that is a 503, which is a problem then."""
    if answer.status_code != 503:
        return None
    assert_problem(answer, 503)
    return answer


def test_an_upload_is_refused_before_its_bytes_are_taken_while_the_circuit_is_open(
    uploads: Path, telemetry: TelemetrySpy
) -> None:
    """They would be written in vain: no step of the upload begins, unless it probes."""

    def refused_unseen() -> bool:
        assert_problem(api.get(GET), 503)  # keeps it open
        before = len(telemetry.spans("file_processing"))
        assert_problem(upload(api), 503)
        return len(telemetry.spans("file_processing")) == before

    with document_api_on(nobody(), uploads, telemetry, data_store_deadline_seconds=0.05) as api:
        for _ in range(5):
            assert_problem(api.get(GET), 503)
        eventually(refused_unseen, "an upload is refused at its beginning")


def test_what_may_have_been_recorded_stays_unknown_whatever_comes_after(
    uploads: Path, telemetry: TelemetrySpy
) -> None:
    """A record that was lost on the way, then a refusal: nobody is told that nothing was stored."""
    with (
        peer(Sequence(loses, answering(503))) as url,
        document_api_on(url, uploads, telemetry, data_store_deadline_seconds=1) as api,
    ):
        assert_problem(upload(api), 504)

    assert len(files(uploads / "documents")) == 1


def test_a_call_ends_by_its_deadline(uploads: Path, telemetry: TelemetrySpy) -> None:
    """However often it is made again: the client is told so, and when to come again."""
    with document_api_on(nobody(), uploads, telemetry, data_store_deadline_seconds=1) as api:
        begun = time.monotonic()
        answer = api.get(GET)
        waited = time.monotonic() - begun

    assert_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert waited < 5
    attempts = telemetry.spans("GET")
    assert len(attempts) > 1
    counts = [(span.attributes or {}).get("http.request.resend_count") for span in attempts]
    assert counts == [None, *range(1, len(attempts))]
    assert {span.status.status_code for span in attempts} == {StatusCode.ERROR}


class Failing:
    """A peer that fails the first so many requests of each correlation ID, and answers the next with a document."""

    def __init__(self, times: int, fail: Callable[[socket.socket], None]) -> None:
        self._times = times
        self._fail = fail
        self._asked: dict[bytes, int] = {}

    def __call__(self, connection: socket.socket) -> None:
        """Take a request, and treat it."""
        head = connection.recv(65536, socket.MSG_PEEK).lower()
        request = head.partition(b"x-correlation-id: ")[2][:36]
        self._asked[request] = self._asked.get(request, 0) + 1
        (self._fail if self._asked[request] <= self._times else answering(200, READ))(connection)


def loses(connection: socket.socket) -> None:
    """Take the request, and end the connection."""
    take(connection)


class Sequence:
    """A peer that treats the first request like this, and all others like that."""

    def __init__(self, first: Callable[[socket.socket], None], then: Callable[[socket.socket], None]) -> None:
        self._first: Callable[[socket.socket], None] | None = first
        self._then = then

    def __call__(self, connection: socket.socket) -> None:
        """Take a request, and treat it."""
        treat, self._first = self._first or self._then, None
        treat(connection)


@pytest.mark.parametrize(
    ("fail", "reason"),
    [(answering(503), "unavailable"), (loses, "lost"), (answering(502), "lost")],
    ids=["503", "lost", "lost-behind-a-load-balancer"],
)
def test_a_read_that_fails_once_is_made_again(
    uploads: Path, telemetry: TelemetrySpy, fail: Callable[[socket.socket], None], reason: str
) -> None:
    """The client sees nothing of it; the trace shows both attempts below one step, a line says so, the metric counts."""
    with peer(Failing(1, fail)) as url, document_api_on(url, uploads, telemetry) as api:
        assert api.get(GET).status_code == 200

    assert telemetry.series(DATA_STORE_RETRIES) == {(reason,): 1}
    assert telemetry.messages("WARN").count("The data store answered at attempt 2") == 1
    first, second = telemetry.spans("GET")
    step = telemetry.span("retrieve_document")
    assert {span.parent.span_id for span in (first, second) if span.parent} == {step.context.span_id}
    assert first.status.status_code is StatusCode.ERROR
    assert step.status.status_code is StatusCode.UNSET
    assert telemetry.span(f"GET {DOCUMENT_ROUTE}").status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("status", [500, 504])
def test_what_may_have_worked_or_come_too_late_is_not_made_again(
    uploads: Path, telemetry: TelemetrySpy, status: int
) -> None:
    """A time-out has already cost what there was, and a failure inside would be the same one again."""
    with peer(Failing(1, answering(status))) as url, document_api_on(url, uploads, telemetry) as api:
        assert_problem(api.get(GET), 502 if status == 500 else 504)

    assert len(telemetry.spans("GET")) == 1
    assert telemetry.series(DATA_STORE_RETRIES) == {}


async def test_calls_are_not_made_again_without_end(uploads: Path, telemetry: TelemetrySpy) -> None:
    """Where all requests fail twice, the budget is spent: some are told 503, and the data store is not flooded."""
    with peer(Failing(2, answering(503))) as url, document_api_on(url, uploads, telemetry) as api:
        async with httpx.AsyncClient(base_url=api.base_url, timeout=30) as client:
            answers = await asyncio.gather(*(client.get(GET) for _ in range(100)))

    assert {answer.status_code for answer in answers} == {200, 503}
    assert 100 <= telemetry.series(DATA_STORE_RETRIES)["unavailable",] <= 120
    assert telemetry.series(DATA_STORE_REFUSALS)["budget_spent",] >= 1


def test_health_tells_the_truth_while_the_circuit_is_open_and_lets_the_next_call_probe(
    database_url: str, uploads: Path, telemetry: TelemetrySpy
) -> None:
    """It is asked by itself: neither kept from the data store by the circuit, nor counted by it."""
    port = free_port()
    with document_api_on(
        f"http://127.0.0.1:{port}", uploads, telemetry, data_store_deadline_seconds=0.05
    ) as api:
        for _ in range(6):
            assert api.get("/health").status_code == 503
        assert circuit(telemetry) == "closed"
        for _ in range(5):
            assert_problem(api.get(GET), 503)
        with quietly_serving(port, database_url):
            assert api.get("/health").json()["components"]["data_store"] == "healthy"
            assert circuit(telemetry) == "half_open"
            assert_problem(api.get(GET), 404)
            assert circuit(telemetry) == "closed"

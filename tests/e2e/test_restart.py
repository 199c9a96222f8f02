"""A rolling restart under load: nobody notices it."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import pytest

from tests.e2e.conftest import RunningStack
from tests.waiting import eventually

SMALL: Final = b"A small document. " * 50
LARGE: Final = b"A large document, most of which is streamed. " * 20_000  # 900 kB
ROUNDS: Final = 1


class Load:
    """Clients that upload and read without a pause, each on one connection, and keep what they were answered."""

    def __init__(self, url: str) -> None:
        self.answers: Counter[tuple[str, int | str]] = Counter()
        self.stored: dict[int, int] = {}
        self._newest: int | None = None
        self._url = url
        self._enough = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let them send until the block ends."""
        kinds = [("small", SMALL)] * 4 + [("large", LARGE)] * 2
        threads = [threading.Thread(target=self._upload, args=kind) for kind in kinds]
        threads += [threading.Thread(target=self._read) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: len(self.answers) == 3, "every kind of request is answered", seconds=30)
            yield
        finally:
            self._enough.set()
            for thread in threads:
                thread.join()

    def _upload(self, kind: str, content: bytes) -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not self._enough.is_set():
                files = {"file": ("a.txt", content, "text/plain")}
                answer = self._send(client, "PUT", "/clients/restart/upload-document", kind, files=files)
                if answer is not None and answer.status_code == httpx.codes.OK:
                    self._newest = answer.json()["document_id"]
                    self.stored[self._newest] = len(content)

    def _read(self) -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not self._enough.is_set():
                if self._newest is None:
                    self._enough.wait(0.05)
                    continue
                self._send(client, "GET", f"/clients/restart/documents/{self._newest}", "read")

    def _send(
        self, client: httpx.Client, method: str, path: str, kind: str, **more: object
    ) -> httpx.Response | None:
        try:
            answer = client.request(method, f"{self._url}{path}", **more)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            self.answers[kind, repr(error)] += 1
            return None
        self.answers[kind, answer.status_code] += 1
        return answer


@pytest.fixture
def load(stack: RunningStack) -> Load:
    """What sends while the stack is restarted."""
    return Load(stack.endpoints["nginx"])


def test_a_rolling_restart_under_load_fails_no_request(
    stack: RunningStack, load: Load, http: httpx.Client
) -> None:
    """Uploads small and large, and reads, while both services are restarted, and no other answer than 200."""
    with load.running():
        for _ in range(ROUNDS):
            done = stack.run(sys.executable, "-m", "local_stack", "restart")
            assert done.returncode == 0, done.stderr
            assert [line.split("] ")[1].split()[0] for line in done.stdout.splitlines()] == [
                "data_store",
                "document_api-1",
                "document_api-2",
            ]

    assert set(load.answers) == {("small", 200), ("large", 200), ("read", 200)}, load.answers
    url = stack.endpoints["nginx"]
    for document, size in load.stored.items():
        metadata = http.get(f"{url}/clients/restart/documents/{document}").json()
        assert metadata["file_size"] == size


def test_nothing_of_a_stand_in_stays(stack: RunningStack) -> None:
    """After a restart runs what ran before."""
    stack.run(sys.executable, "-m", "local_stack", "restart", "data_store")

    table = stack.run(sys.executable, "-m", "local_stack", "status")
    assert table.returncode == 0, table.stdout
    assert not list((stack.state / "config" / "supervisor.d").glob("*stand-in*"))


def test_what_cannot_be_restarted_is_told(stack: RunningStack) -> None:
    """One line, and the names that there are."""
    done = stack.run(sys.executable, "-m", "local_stack", "restart", "grafana")

    assert done.returncode == 2
    assert done.stderr == (
        "error: 'grafana' is no service that can be restarted; there are: data_store, document_api, document_api-1,"
        " document_api-2\n"
    )

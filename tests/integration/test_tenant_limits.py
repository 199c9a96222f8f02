"""Clients over their limits in the real system: what they are told, what stays of it, and that nobody else notices."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest

from data_store.credentials.keys import ApiKey
from observability.signals import PRINCIPAL_BY_KEY_ROUTE, TENANT_LIMIT_EXCEEDED
from tests.integration.conftest import MIGRATED, PostgreSQL
from tests.integration.tenancy import FOREIGN, OWN, TEXT, System, running_system
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

UPLOAD: Final = f"/clients/{OWN}/upload-document"
# So long that its beginning is in a file already.
LONG: Final = TEXT * 100_000
BODY: Final = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + LONG + b"\r\n--b--\r\n"
)
HALF: Final = len(BODY) // 2
Limited = Callable[..., System]


@pytest.fixture
def limited(postgresql: PostgreSQL, tmp_path: Path, telemetry: TelemetrySpy) -> Iterator[Limited]:
    """Runs a system with limits."""
    with ExitStack() as stack:

        def run(**settings: Any) -> System:
            database = postgresql.create_database(template=MIGRATED)
            return stack.enter_context(running_system(postgresql, database, tmp_path, telemetry, **settings))

        yield run


def stored(system: System, client: str = OWN) -> int:
    """Return how many documents a client has, after holding the files to them."""
    ((ours, all_of_them),) = system.sql(
        f"SELECT count(*) FILTER (WHERE client_id = '{client}'), count(DISTINCT storage_key) FROM document_metadata"  # noqa: S608
    )
    assert len([path for path in (system.uploads / "documents").rglob("*") if path.is_file()]) == all_of_them
    assert list((system.uploads / "incoming").iterdir()) == []
    return int(ours)


def at_once(send: Callable[[int], httpx.Response], count: int) -> list[httpx.Response]:
    """Send so many requests at the same time."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(send, range(count)))


def held_to_its_word(refused: httpx.Response, again: Callable[[], httpx.Response]) -> None:
    """Hold a refusal to its form, and to what it says: after that time a request passes."""
    assert_problem(refused, 429)
    seconds = int(refused.headers["Retry-After"])
    assert seconds >= 1
    eventually(lambda: again().status_code == 200, "a request passes", seconds=seconds + 1)


class TestRequests:
    """Requests a second."""

    def test_what_is_too_much_is_refused_and_leaves_nothing(
        self, limited: Limited, telemetry: TelemetrySpy
    ) -> None:
        """As many documents as were answered 200; the metric counts the rest."""
        system = limited(tenant_requests_per_second=5)
        answers = at_once(lambda _: system.upload(system.key("writer")), 30)
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(refused) >= 10
        assert stored(system) == len(answers) - len(refused)
        assert telemetry.series(TENANT_LIMIT_EXCEEDED) == {(OWN, "requests"): len(refused)}
        assert system.upload(system.key("stranger"), FOREIGN).status_code == 200
        held_to_its_word(refused[0], lambda: system.upload(system.key("writer")))

    def test_all_keys_of_a_client_have_one_limit(self, limited: Limited) -> None:
        """And reads count as uploads do."""
        system = limited(tenant_requests_per_second=5)
        number = system.upload(system.key("writer")).json()["document_id"]

        def read(attempt: int) -> httpx.Response:
            key = system.key(("reader", "writer", "tenant_admin")[attempt % 3])
            return system.api.get(f"/clients/{OWN}/documents/{number}", headers=key)

        answers = at_once(read, 30)
        assert {answer.status_code for answer in answers} == {200, 429}
        assert sum(answer.status_code == 200 for answer in answers) <= 15

    def test_whoever_may_not_use_a_client_uses_nothing_of_its_limit(self, limited: Limited) -> None:
        """It counts for the client of who sends it, however it is refused."""
        system = limited(tenant_requests_per_second=5)
        answers = at_once(lambda _: system.upload(system.key("stranger")), 30)
        assert {answer.status_code for answer in answers} == {403, 429}
        assert system.upload(system.key("writer")).status_code == 200


@contextmanager
def slow_upload(system: System, key: dict[str, str]) -> Iterator[Callable[[], bytes]]:
    """Begin an upload, and lend what ends it and returns the answer."""
    address = urlsplit(str(system.api.base_url))
    head = (
        f"PUT {UPLOAD} HTTP/1.1\r\nHost: robin\r\nX-API-Key: {key['X-API-Key']}\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(BODY)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head.encode() + BODY[:HALF])

        def end() -> bytes:
            connection.sendall(BODY[HALF:])
            return b"".join(iter(lambda: connection.recv(65536), b""))

        yield end


class TestUploads:
    """Uploads at once."""

    def under_way(self, system: System, count: int) -> None:
        """Wait until so many uploads have begun."""
        eventually(lambda: len(list((system.uploads / "incoming").iterdir())) == count, "uploads begin")

    @pytest.mark.parametrize("ends", ["answered", "broken off"])
    def test_one_too_many_is_refused_until_one_has_ended(self, limited: Limited, ends: str) -> None:
        """However it ends; reads, and another client's uploads, pass meanwhile."""
        system = limited(tenant_concurrent_uploads=2)
        number = system.upload(system.key("writer")).json()["document_id"]

        def again() -> httpx.Response:
            return system.upload(system.key("writer"))

        with slow_upload(system, system.key("writer")) as end_first:
            with slow_upload(system, system.key("writer")):
                self.under_way(system, 2)
                refused = again()
                read = system.api.get(f"/clients/{OWN}/documents/{number}", headers=system.key("writer"))
                assert read.status_code == 200
                assert system.upload(system.key("stranger"), FOREIGN).status_code == 200
                if ends == "answered":
                    assert end_first().startswith(b"HTTP/1.1 200")
                    held_to_its_word(refused, again)
            if ends == "broken off":
                held_to_its_word(refused, again)
        eventually(lambda: list((system.uploads / "incoming").iterdir()) == [], "what broke off is removed")
        assert stored(system) == (3 if ends == "answered" else 2)


def unknown_key(_number: int) -> dict[str, str]:
    """Return the header with a key that nobody has."""
    return {"X-API-Key": str(ApiKey.new())}


class TestWrongCredentials:
    """Keys that nobody has."""

    def test_a_flood_of_them_is_refused_without_a_question(
        self, limited: Limited, telemetry: TelemetrySpy
    ) -> None:
        """Whoever was let in lately passes from the same address, and everybody from another."""
        system = limited(wrong_credentials_per_second=5)
        path = f"/clients/{OWN}/documents/1"
        assert system.upload(system.key("writer")).status_code == 200
        asked = len(telemetry.spans(f"POST {PRINCIPAL_BY_KEY_ROUTE}"))
        answers = at_once(lambda n: system.api.get(path, headers=unknown_key(n)), 60)
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {401, 429}
        assert system.api.get(path, headers=system.key("writer")).status_code == 200
        questions = len(telemetry.spans(f"POST {PRINCIPAL_BY_KEY_ROUTE}")) - asked
        assert questions <= statuses.count(401) + 1
        elsewhere = {**system.key("stranger"), "X-Real-IP": "192.0.2.9"}
        assert system.upload(elsewhere, FOREIGN).status_code == 200
        refused = next(answer for answer in answers if answer.status_code == 429)
        held_to_its_word(refused, lambda: system.api.get(path, headers=system.key("reader")))
        assert stored(system) == 1

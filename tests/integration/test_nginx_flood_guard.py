"""How many requests nginx lets through for a credential, and for an address."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.edge import (
    Edge,
    Upstream,
    load_balancer,
    running,
)
from tests.ports import free_port
from tests.waiting import eventually

DOCUMENT = "/clients/acme/documents/7"
A_KEY = f"robin_{'0' * 12}_{'a' * 64}"
ANOTHER_KEY = f"robin_{'0' * 12}_{'b' * 64}"


class TestFloodGuard:
    """Where everybody must say who he is, each credential has a rate."""

    @pytest.fixture
    def edge(self, tmp_path: Path, upstreams: list[Upstream]) -> Iterator[Edge]:
        """One request a second, so that a few are a flood, on a busy machine too."""
        port = free_port()
        balancer = load_balancer(tmp_path, port, upstreams, auth_mode="required", requests_per_second=1)
        balancer.write()
        with running(balancer, port, upstreams) as running_edge:
            yield running_edge

    @pytest.mark.parametrize(
        ("mine", "others"),
        [
            ({"X-API-Key": A_KEY}, {"X-API-Key": ANOTHER_KEY}),
            ({"Authorization": f"Bearer {'a' * 90}one"}, {"Authorization": f"Bearer {'a' * 90}two"}),
            ({"X-API-Key": A_KEY, "Authorization": f"Bearer {'a' * 90}"}, {"X-API-Key": ANOTHER_KEY}),
            ({}, {"X-API-Key": ANOTHER_KEY}),
        ],
    )
    def test_a_flood_is_refused_and_nobody_elses_request(
        self, edge: Edge, mine: dict[str, str], others: dict[str, str]
    ) -> None:
        """429 with Retry-After as problem+json; another credential is served meanwhile."""
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: edge.request("GET", DOCUMENT, headers=mine), range(12)))
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.status for answer in answers} == {200, 429}
        assert {answer.problem["title"] for answer in refused} == {"Too Many Requests"}
        assert [answer.header("Retry-After") for answer in refused] == [["2"]] * len(refused)
        assert edge.request("GET", DOCUMENT, headers=others).status == 200

    def test_two_at_once_are_not_held_up(self, edge: Edge) -> None:
        """Only more of them are paced to the rate, which is one a second here."""
        keys = iter(range(100))

        def both_within_a_second() -> bool:
            mine = {"X-API-Key": f"{A_KEY[:-2]}{next(keys):02d}"}
            started = time.monotonic()
            with ThreadPoolExecutor(2) as pool:
                answers = pool.map(lambda _: edge.request("GET", DOCUMENT, headers=mine).status, range(2))
                assert [*answers] == [200, 200]
            return time.monotonic() - started < 0.9

        eventually(
            both_within_a_second, "two requests at once are answered without waiting for the next second"
        )

    def test_an_address_has_a_rate_with_all_its_credentials(
        self, tmp_path: Path, upstreams: list[Upstream]
    ) -> None:
        """Another one in each request makes no more of them."""
        port = free_port()
        limits = {"requests_per_second": 1000, "requests_per_second_per_address": 1}
        balancer = load_balancer(tmp_path, port, upstreams, auth_mode="required", **limits)
        balancer.write()
        shown = [{"X-API-Key": f"{A_KEY[:-2]}{n:02x}"} for n in range(24)]
        with running(balancer, port, upstreams) as edge, ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda headers: edge.request("GET", DOCUMENT, headers=headers), shown))
        assert {answer.status for answer in answers} == {200, 429}
        assert {answer.problem["status"] for answer in answers if answer.status != 200} == {429}

    def test_made_up_tokens_take_nobodys_room(self, tmp_path: Path, upstreams: list[Upstream]) -> None:
        """However long they are, and however many: the oldest is forgotten, and nobody refused."""
        port = free_port()
        limits = {"requests_per_second": 1000, "requests_per_second_per_address": 100_000}
        balancer = load_balancer(tmp_path, port, upstreams, auth_mode="required", **limits)
        balancer.write()
        site = balancer.config_dir / "robin.conf"
        text, count = re.subn("zone=credentials:10m", "zone=credentials:32k", site.read_text())
        assert count == 1
        site.write_text(text)
        sizes = (7600, 64, 1000, 300)
        tokens = [{"Authorization": f"Bearer {n:0{sizes[n % 4]}}"} for n in range(400)]
        with running(balancer, port, upstreams) as edge:
            answers = {
                edge.request("GET", DOCUMENT, headers=headers).status
                for headers in (*tokens, {"X-API-Key": A_KEY})
            }
            said = edge.said.read_text()
        assert (answers, said) == ({200}, "")

    def test_what_is_no_credential_counts_for_its_address(self, edge: Edge) -> None:
        """Something else in each request, and another path, make no more of them."""
        odd = [{"X-API-Key": f"{A_KEY}{n}"} for n in range(4)] + [
            *({"Authorization": f"Basic {n}"} for n in range(2)),
            *({"Authorization": f"Bearer {n}"} for n in range(2)),  # shorter than any signature
        ]
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(
                lambda n: edge.request("GET", f"/clients/c{n}/documents/1", headers=odd[n]).status, range(8)
            )
        assert list(answers).count(429) >= 4

    def test_in_open_mode_nobody_is_limited(self, tmp_path: Path, upstreams: list[Upstream]) -> None:
        """The demonstration and the benchmarks come from one address."""
        port = free_port()
        limits = {"requests_per_second": 1, "requests_per_second_per_address": 1}
        balancer = load_balancer(tmp_path, port, upstreams, **limits)
        balancer.write()
        with running(balancer, port, upstreams) as edge, ThreadPoolExecutor(8) as pool:
            assert {*pool.map(lambda _: edge.request("GET", DOCUMENT).status, range(24))} == {200}

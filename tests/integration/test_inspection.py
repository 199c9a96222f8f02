"""The routes under /observability/: who may read telemetry, and what is answered where a back end is away or slow."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from tests.edge import Upstream, reply
from tests.integration.conftest import MIGRATED, PostgreSQL
from tests.integration.tenancy import System, running_system
from tests.ports import free_port
from tests.records import assert_problem
from tests.telemetry_spy import spied_telemetry
from tests.waiting import eventually

ID = "6f1c9a52-7d0e-4b63-9c53-0f6d0f4f7a11"
ROUTES = (f"/observability/requests/{ID}", "/observability/requests", "/observability/health")
every_route = pytest.mark.parametrize("path", ROUTES)


@pytest.fixture(scope="module")
def slow() -> Iterator[Upstream]:
    """A server in Jaeger's place."""
    server = Upstream()
    yield server
    server.close()


@pytest.fixture(scope="module")
def system(
    postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory, slow: Upstream
) -> Iterator[System]:
    """A system that asks who everybody is; where its Prometheus and its log store should be, nobody listens."""
    nobody = f"http://127.0.0.1:{free_port()}"
    database = postgresql.create_database(template=MIGRATED)
    with (
        spied_telemetry() as telemetry,
        running_system(
            postgresql,
            database,
            tmp_path_factory.mktemp("inspection"),
            telemetry,
            jaeger_url=f"http://127.0.0.1:{slow.port}",
            prometheus_url=nobody,
            logs_url=nobody,
            jaeger_public_url="https://jaeger.example/",
            grafana_url="https://grafana.example",
        ) as system,
    ):
        yield system


@every_route
def test_operators_alone_read_telemetry(system: System, path: str) -> None:
    """It tells of every client: no client's user may see it, not even its administrator."""
    assert_problem(system.api.get(path), 401)
    for name in ("reader", "writer", "tenant_admin", "stranger"):
        assert_problem(system.api.get(path, headers=system.key(name)), 403)
    assert system.api.get(path, headers=system.key("operator")).status_code == 200


@every_route
def test_back_ends_that_are_away_are_named_and_nothing_fails(system: System, path: str) -> None:
    """A 5xx of this would look like uploads that fail."""
    told = system.api.get(path, headers=system.key("operator")).json()
    gaps = [*told.get("gaps", ()), *told.get("story", told.get("overview", {})).get("gaps", ())]
    assert any("127.0.0.1" in gap for gap in gaps)


def test_links_lead_where_people_find_the_back_ends(system: System, slow: Upstream) -> None:
    """Never to an address that only the services know."""
    trace = {"traceID": "0af7651916cd43dd8448eb211c80319c", "spans": [], "processes": {}}
    slow.answer = reply(200, httpx.Response(200, json={"data": [trace]}).content)
    story = system.api.get(ROUTES[0], headers=system.key("operator")).json()["story"]
    slow.answer = reply(200, b"{}")
    assert {link.split("/")[2] for link in story["links"].values()} == {"jaeger.example", "grafana.example"}
    assert f"https://jaeger.example/trace/{trace['traceID']}" in story["links"].values()
    health = system.api.get(ROUTES[2], headers=system.key("operator")).json()
    assert health["places"] == {
        "jaeger": "https://jaeger.example",
        "grafana": "https://grafana.example",
    }
    assert health["health"]["components"]["data_store"] == "healthy"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=many", "failed=perhaps"])
def test_a_query_that_does_not_fit_is_refused(system: System, query: str) -> None:
    """It says which part of it."""
    answer = system.api.get(f"/observability/requests?{query}", headers=system.key("operator"))
    assert_problem(answer, 422)
    assert answer.json()["errors"][0]["field"] == f"query.{query.partition('=')[0]}"


def test_what_is_no_correlation_id_is_refused(system: System) -> None:
    """Before anybody is asked."""
    assert_problem(system.api.get("/observability/requests/x", headers=system.key("operator")), 422)


def test_a_few_readers_at_once_are_enough(system: System, slow: Upstream) -> None:
    """Beyond two that are served and a few that wait, whoever asks is told to come again: uploads keep threads and time."""
    held = threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        held.wait(10)
        reply(200, b"{}")(handler)

    def refusal() -> httpx.Response | None:
        """Ask once more, and leave whoever is not refused at once waiting."""
        with suppress(httpx.ReadTimeout):
            answer = system.api.get(ROUTES[0], headers=system.key("operator"), timeout=0.3)
            return answer if answer.status_code == 429 else None
        return None

    slow.answer = hold
    try:
        refused = eventually(refusal, "one reader too many is refused")
        uploaded = system.upload(system.key("writer"))
    finally:
        held.set()
        slow.answer = reply(200, b"{}")
    assert refused is not None
    assert_problem(refused, 429)
    assert int(refused.headers["Retry-After"]) >= 1
    assert uploaded.status_code == 200
    eventually(lambda: system.api.get(ROUTES[0], headers=system.key("operator")).status_code == 200)


def test_where_the_back_ends_are_not_known_nothing_is_served(
    postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Off unless all three addresses are set; the API's description does not speak of it either."""
    database = postgresql.create_database(template=MIGRATED)
    folder = tmp_path_factory.mktemp("off")
    with (
        spied_telemetry() as telemetry,
        running_system(postgresql, database, folder, telemetry, jaeger_url="http://127.0.0.1:9") as system,
    ):
        for path in ROUTES:
            assert_problem(system.api.get(path, headers=system.key("operator")), 404)
        assert not any("observability" in path for path in system.api.get("/openapi.json").json()["paths"])

"""Errors as problem+json: one shape, the ID, and nothing of the inside."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict

from observability import ClientId, NotFound, Problem, Unavailable, install_problem_handlers
from observability.context import RequestContext, enter_request
from observability.problems import error_type_of, is_server_error, problem_body
from observability.signals import ErrorType
from tests.canaries import MAIL
from tests.telemetry_spy import TelemetrySpy

KEPT = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture(autouse=True)
def _request() -> Iterator[None]:
    """Be inside of a request."""
    enter_request(RequestContext(KEPT))
    yield
    enter_request(None)  # type: ignore[arg-type]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Client of an application that refuses in every way."""
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})

    @app.get("/things/{number}")
    async def things(number: int) -> int:
        return number

    @app.get("/clients/{client_id}")
    async def clients(client_id: ClientId) -> str:
        return client_id

    @app.get("/later")
    async def later() -> None:
        raise Unavailable("Come back.", retry_after_seconds=7)

    @app.get("/more")
    async def more() -> None:
        raise Problem("No.", status=409, holder="acme")

    @app.get("/framework")
    async def framework() -> None:
        raise HTTPException(413, "Too long.")

    @app.post("/form")
    async def form(form: Form) -> int:
        return form.number

    install_problem_handlers(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://robin") as client:
        yield client


async def test_a_path_that_is_not_served_is_a_problem(client: httpx.AsyncClient) -> None:
    """All five members, and no more."""
    answer = await client.get("/nowhere?secret=1")

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Nothing is served at /nowhere.",
        "correlation_id": KEPT,
    }


async def test_a_wrong_method_says_which_are_allowed(client: httpx.AsyncClient) -> None:
    """The detail repeats the Allow header."""
    answer = await client.delete("/later")

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET"
    assert answer.json()["detail"] == "DELETE is not allowed here; allowed: GET."


async def test_an_invalid_parameter_is_named(client: httpx.AsyncClient) -> None:
    """A 422 says which field, and what it takes."""
    problem = (await client.get("/things/seven")).json()

    assert problem["status"] == 422
    assert problem["title"] == "Unprocessable Content"
    assert problem["errors"] == [
        {
            "field": "path.number",
            "message": "Input should be a valid integer, unable to parse string as an integer",
        }
    ]
    assert "path.number" in problem["detail"]


@pytest.mark.parametrize("client_id", ["acme", "A.b_c-9", "x" * 128])
async def test_a_good_client_id_is_accepted(client: httpx.AsyncClient, client_id: str) -> None:
    """Letters, digits, dots, dashes and underscores, up to 128."""
    assert (await client.get(f"/clients/{client_id}")).status_code == 200


@pytest.mark.parametrize(
    "client_id", [".hidden", "-x", "a%20b", "a%0A", "x" * 129, "caf%C3%A9", "a%00b", "a;b"]
)
async def test_a_bad_client_id_is_a_422(client: httpx.AsyncClient, client_id: str) -> None:
    """A client ID becomes a folder's name: it is never a path."""
    answer = await client.get(f"/clients/{client_id}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "path.client_id"


async def test_unavailable_says_when_to_try_again(client: httpx.AsyncClient) -> None:
    """Retry-After goes with every 503."""
    answer = await client.get("/later")

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")


async def test_a_problem_may_have_members_of_its_own(client: httpx.AsyncClient) -> None:
    """RFC 9457's extensions."""
    assert (await client.get("/more")).json()["holder"] == "acme"


async def test_the_frameworks_own_refusals_have_the_same_shape(client: httpx.AsyncClient) -> None:
    """An HTTPException is a problem as well."""
    problem = (await client.get("/framework")).json()

    assert (problem["title"], problem["detail"]) == ("Content Too Large", "Too long.")
    assert problem["correlation_id"] == KEPT


@pytest.mark.parametrize("host", ["[", "a b", "[::1", "x" * 1000])
async def test_a_broken_host_header_is_no_failure_of_the_server(client: httpx.AsyncClient, host: str) -> None:
    """The detail is made of the path alone."""
    assert (await client.get("/nowhere", headers={"Host": host})).status_code == 404


class Form(BaseModel):
    """A body that takes one field."""

    model_config = ConfigDict(extra="forbid")

    number: int


@pytest.mark.parametrize(
    ("request_line", "body", "recorded"),
    [
        (f"GET /{MAIL}", None, "Not Found"),
        ("DELETE /later", None, "Method Not Allowed"),
        ("GET /framework", None, "Content Too Large"),
        (f"GET /things/{MAIL}", None, "path.number: int_parsing"),
        (f"GET /clients/{MAIL}", None, "path.client_id: string_pattern_mismatch"),
        ("POST /form", {"number": MAIL, MAIL: 1}, "body.number: int_parsing; body: extra_forbidden"),
        ("GET /more", None, "No."),
    ],
)
async def test_the_span_is_told_nothing_that_was_sent(
    client: httpx.AsyncClient, telemetry: TelemetrySpy, request_line: str, body: object, recorded: str
) -> None:
    """The client may read its own words in the answer; they go nowhere else."""
    with telemetry.telemetry.step("request"):
        answer = await client.request(*request_line.split(), json=body)

    assert answer.is_client_error
    assert telemetry.attributes("request")["problem.detail"] == recorded


def test_every_error_type_of_a_status_is_in_the_closed_list() -> None:
    """The label `error_type` stays bounded, whatever is answered."""
    assert {error_type_of(status) for status in range(400, 600)} <= set(ErrorType)


@pytest.mark.parametrize(
    ("status", "expected"), [(418, "client_error"), (599, "internal_error"), (507, "insufficient_storage")]
)
def test_statuses_without_a_name_have_a_default_type(status: int, expected: str) -> None:
    """Unknown 4xx and 5xx fall into two heaps."""
    assert error_type_of(status) == expected


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (NotFound("x"), False),
        (Problem("x", status=499), False),
        (Unavailable("x"), True),
        (RuntimeError(), True),
        (Problem("x"), True),
    ],
)
def test_only_5xx_and_exceptions_are_failures_of_the_server(error: Exception, *, ours: bool) -> None:
    """A refusal spends no error budget."""
    assert is_server_error(error) is ours


def test_titles_do_not_depend_on_the_version_of_python() -> None:
    """3.11 and 3.13 disagree about 413 and 422."""
    assert [problem_body(status, "")["title"] for status in (413, 422)] == [
        "Content Too Large",
        "Unprocessable Content",
    ]

"""A direct route answers as FastAPI's own would, whatever is asked of it."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from observability.routes import DirectRoute


class Thing(BaseModel):
    """A body."""

    model_config = ConfigDict(strict=True, extra="forbid")

    size: int


def application(kind: type[APIRoute]) -> FastAPI:
    """Return an application with both kinds of endpoint."""
    app = FastAPI()
    router = APIRouter(route_class=kind)

    @router.get("/things/{name}/{number}")
    async def read(name: Annotated[str, Path(pattern="^[a-z]+$")], number: int, request: Request) -> Response:
        return Response(f"{name} {number + 1} {request.method} {request.url.query}")

    @router.post("/things/{name}")
    async def write(name: str, thing: Thing) -> Response:
        return Response(f"{name} {thing.size}", 201)

    app.routes.extend(router.routes)
    return app


async def answer(kind: type[APIRoute], method: str, path: str, **request: Any) -> tuple[int, str]:
    """Return status and body."""
    transport = httpx.ASGITransport(application(kind))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.request(method, path, **request)
        return response.status_code, response.text


REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/things/a/5?b=c", {}),
    ("GET", "/things/A/5", {}),
    ("GET", "/things/a/x", {}),
    ("POST", "/things/a", {"json": {"size": 1}}),
    ("POST", "/things/a", {"json": {"size": "1"}}),
    ("POST", "/things/a", {"json": {"size": 1, "more": 1}}),
    ("POST", "/things/a", {"json": [1]}),
    ("POST", "/things/a", {"content": b'{"size": 1', "headers": {"content-type": "application/json"}}),
    ("POST", "/things/a", {"content": b"", "headers": {"content-type": "application/json"}}),
    ("POST", "/things/a", {"content": b'{"size": 1}', "headers": {"content-type": "text/plain"}}),
    ("POST", "/things/a", {}),
    (
        "POST",
        "/things/a",
        {"content": b'{"size": 1}', "headers": {"content-type": "application/json; charset=utf-8"}},
    ),
    ("POST", "/things/a", {"content": b'{"size": 1}'}),
    ("POST", "/things/a", {"content": b"null", "headers": {"content-type": "application/json"}}),
    ("POST", "/things/a", {"content": b'{"size": "\xff"}', "headers": {"content-type": "application/json"}}),
    (
        "POST",
        "/things/a",
        {"content": '{"size": 1}'.encode("utf-16"), "headers": {"content-type": "application/json"}},
    ),
    ("HEAD", "/things/a/5", {}),
    ("PUT", "/things/a", {}),
]


@pytest.mark.parametrize(("method", "path", "request_"), REQUESTS)
async def test_a_direct_route_answers_as_fastapis_own(
    method: str, path: str, request_: dict[str, Any]
) -> None:
    """What fits and what does not, to the byte."""
    assert await answer(DirectRoute, method, path, **request_) == await answer(
        APIRoute, method, path, **request_
    )


async def test_what_fits_never_comes_to_fastapis_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the route would only cost more."""

    async def never(*_: object) -> None:
        pytest.fail("the general way was taken")

    app = application(DirectRoute)
    for route in app.routes:
        if isinstance(route, DirectRoute):
            monkeypatch.setattr(route, "_general", never)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/things/a/5")).text == "a 6 GET "
        assert (await client.post("/things/a", json={"size": 1})).text == "a 1"


def test_the_openapi_document_is_the_same() -> None:
    """Nothing that a client reads changes."""
    assert application(DirectRoute).openapi() == application(APIRoute).openapi()


def test_an_endpoint_that_asks_for_more_is_refused() -> None:
    """A dependency that guards is never left out."""
    router = APIRouter(route_class=DirectRoute)

    with pytest.raises(TypeError, match="use an APIRoute"):
        router.add_api_route("/things", lambda: None, dependencies=[Depends(lambda: None)])

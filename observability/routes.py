"""Routes that serve the plain case of a request without FastAPI's general machinery."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_JSON: Final = "application/json"


class DirectRoute(APIRoute):
    """A route of an endpoint that returns a Response, and takes path parameters, one JSON body and the request at most.

    FastAPI's own way of finding arguments costs 60 us a request. It is taken only where an endpoint takes query parameters
    or an argument does not fit, for it says what is wrong; the OpenAPI document is FastAPI's in any case.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if _asks_for_more(self.dependant):
            raise TypeError(
                f"{self.name} takes more than path and query parameters, one body and the request: use an APIRoute"
            )
        self._general: ASGIApp = self.app
        self.app = self._serve

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body: bytes | None = None
        if self.dependant.query_params:
            await self._general(scope, receive, send)
            return
        if self.dependant.body_params:
            if not _announces_json(scope):
                await self._general(scope, receive, send)
                return
            body = await Request(scope, receive).body()
        arguments = self._arguments(scope, body)
        if arguments is None:
            await self._general(scope, receive if body is None else _again(body, receive), send)
            return
        if self.dependant.request_param_name:
            arguments[self.dependant.request_param_name] = Request(scope, receive, send)
        response = await self.endpoint(**arguments)
        await response(scope, receive, send)

    def _arguments(self, scope: Scope, body: bytes | None) -> dict[str, Any] | None:
        """Return what the endpoint takes; None when something does not fit."""
        values: Mapping[str, Any] = scope["path_params"]
        fields = [(field, values[field.alias]) for field in self.dependant.path_params]
        if body is not None:
            try:
                fields.append((self.dependant.body_params[0], from_json(body)))
            except ValueError:
                return None
        arguments = {}
        for field, value in fields:
            arguments[field.name], errors = field.validate(value)
            if errors:
                return None
        return arguments


def _asks_for_more(dependant: Dependant) -> bool:
    """Tell whether an endpoint takes what is not looked for here: a dependency that is left out may be the one that guards."""
    others = ("header_params", "cookie_params", "dependencies")
    names = ("websocket", "http_connection", "response", "background_tasks", "security_scopes")
    return (
        any(getattr(dependant, other) for other in others)
        or any(getattr(dependant, f"{name}_param_name") for name in names)
        or len(dependant.body_params) > 1
    )


def _announces_json(scope: Scope) -> bool:
    """Tell whether the body is JSON of a declared length, which was held against the limit already."""
    headers = Headers(scope=scope)
    return headers.get("content-type") == _JSON and "content-length" in headers


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body once more, and then what comes after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay

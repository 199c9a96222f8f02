"""Routes that declare what they need, and are not served to anybody else."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from access.roles import Permission
from observability.routes import DirectRoute

# Key of the gate in the state that a service's lifespan yields.
GATE: Final = "gate"
DECLARATION: Final = "x-permission"


class Gate(Protocol):
    """Decides who is let in."""

    async def admit(self, scope: Scope, permission: Permission) -> None:
        """Let a request pass that may do this; raises Problem (401, 403, 404, 429) for all others."""


def needs(permission: Permission, *schemes: str) -> dict[str, Any]:
    """Return a route's `openapi_extra` that declares what it needs, and by which of the service's security schemes."""
    return {DECLARATION: permission.value, "security": [{scheme: []} for scheme in schemes]}


def declared(route: APIRoute) -> Permission:
    """Return what a route declares to need; raises TypeError where it declares nothing."""
    try:
        return Permission((route.openapi_extra or {})[DECLARATION])
    except KeyError:
        raise TypeError(
            f"{route.name} does not declare what it needs: give it openapi_extra=needs(...)"
        ) from None


class GuardedRoute(DirectRoute):
    """A route that asks the service's gate before it reads anything of a request."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.permission = declared(self)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        gate: Gate = scope["state"][GATE]
        await gate.admit(scope, self.permission)
        await super()._serve(scope, receive, send)


def describe_security(app: FastAPI, schemes: Mapping[str, Any], *, asked_for: bool) -> None:
    """Put the security schemes that routes name into the OpenAPI document (FastAPI: Extending OpenAPI).

    Where nobody is asked for a credential, the document does not say so either.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        if asked_for:
            document.setdefault("components", {})["securitySchemes"] = dict(schemes)
            return document
        for methods in document["paths"].values():
            for operation in methods.values():
                operation.pop("security", None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]

"""HTTP of the credentials: whose they are, for the document API."""

from typing import Final

from fastapi import APIRouter, Response

from access.roles import Permission
from access.routes import GuardedRoute, needs
from access.service_token import SCHEME
from data_store.body_limit import MAX_BODY_BYTES
from data_store.credentials.repository import PrincipalRepository
from data_store.credentials.schemas import KeyClaim, Principal, SubjectClaim
from observability import NotFound
from observability.openapi import problems
from observability.signals import PRINCIPAL_BY_KEY_ROUTE, PRINCIPAL_BY_SUBJECT_ROUTE

_FOR_SERVICES: Final = needs(Permission.BE_A_SERVICE, SCHEME)


def principals_router(principals: PrincipalRepository, *, cache_seconds: float) -> APIRouter:
    """Return the routes of the credentials; what they answer may be believed for so many seconds."""
    router = APIRouter(tags=["credentials"], route_class=GuardedRoute)
    seconds = f"{cache_seconds:.3f}".rstrip("0").rstrip(".")
    headers = {"Cache-Control": f"private, max-age={seconds}"}

    def answer(principal: Principal | None) -> Response:
        if principal is None:
            raise NotFound("The credential is not valid.", headers=headers)
        return Response(principal.model_dump_json(), headers=headers, media_type="application/json")

    @router.post(
        PRINCIPAL_BY_KEY_ROUTE,
        response_model=Principal,
        responses=problems(400, 401, 404, 413, 422, 503),
        max_body_size=MAX_BODY_BYTES,
        openapi_extra=_FOR_SERVICES,
    )
    async def principal_by_key(claim: KeyClaim) -> Response:
        """Say whose an API key is. One that is unknown, revoked, expired or of somebody disabled is not found."""
        return answer(await principals.by_key(claim))

    @router.post(
        PRINCIPAL_BY_SUBJECT_ROUTE,
        response_model=Principal,
        responses=problems(400, 401, 404, 413, 422, 503),
        max_body_size=MAX_BODY_BYTES,
        openapi_extra=_FOR_SERVICES,
    )
    async def principal_by_subject(claim: SubjectClaim) -> Response:
        """Say who the subject of a bearer token is. One that is unknown or disabled is not found."""
        return answer(await principals.by_subject(claim))

    return router

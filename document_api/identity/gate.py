"""The gate of the document API: who sends a request, may they do that, to this client, and as often."""

import logging
from typing import Final

from opentelemetry import trace
from opentelemetry.semconv._incubating.attributes import user_attributes
from starlette.datastructures import Headers
from starlette.types import Scope

from access.roles import Permission
from document_api.identity.credentials import API_KEY_HEADER, BearerToken, Unauthenticated, credential_of
from document_api.identity.limits import TenantLimits
from document_api.identity.principals import Principal, Principals
from observability import NotFound, Problem, Telemetry, bind_actor, bind_client, current_actor
from observability.problems import is_server_error
from observability.signals import Attribute, Span

logger = logging.getLogger(__name__)

_NO_CREDENTIAL: Final = (
    f"A credential is needed: an API key in {API_KEY_HEADER}, or a bearer token in Authorization."
)


class DocumentGate:
    """Lets in whoever may; without `principals` everybody (AUTH_MODE=open), within each client's limits."""

    def __init__(self, principals: Principals | None, limits: TenantLimits, telemetry: Telemetry) -> None:
        self._principals = principals
        self._limits = limits
        self._telemetry = telemetry

    async def admit(self, scope: Scope, permission: Permission) -> None:
        """Let a request pass; raises Problem (400, 401, 403, 404, 429), or what the data store's failure is."""
        client_id: str | None = scope["path_params"].get("client_id")
        upload = permission is Permission.WRITE_DOCUMENTS
        if self._principals is not None and permission is not Permission.PUBLIC:
            principal = await self._identify(scope)
            # Of whose sender is known, his own client's, also where that is refused.
            if principal.client_id is not None:
                self._limits.count_request(principal.client_id, upload=upload)
            _authorize(principal, permission, client_id)
        elif client_id is not None:
            self._limits.count_request(client_id, upload=upload)

    async def sees_everything(self, scope: Scope) -> bool:
        """Tell whether the sender of a health request may see all of it; raises Unauthenticated for a wrong credential."""
        if self._principals is None:
            return True
        if credential_of(Headers(scope=scope)) is None:
            return False
        try:
            return (await self._identify(scope)).may(Permission.READ_HEALTH)
        except Problem as error:
            if is_server_error(error):
                return False  # who that is, cannot be asked: which is what the health is about to tell
            raise

    async def _identify(self, scope: Scope) -> Principal:
        """Return who sends a request, and put it on all that is recorded of it."""
        assert self._principals is not None  # noqa: S101  nobody asks where everybody is let in
        with self._telemetry.step(Span.AUTHENTICATE, outcome=True) as step:
            credential = credential_of(Headers(scope=scope))
            if credential is None:
                raise Unauthenticated(_NO_CREDENTIAL)
            step.set(Attribute.AUTH_METHOD, "bearer" if isinstance(credential, BearerToken) else "api_key")
            principal = await self._principals.of(credential, _address(scope))
            step.set(user_attributes.USER_ID, str(principal.user_id))
            step.set(user_attributes.USER_ROLES, [principal.role.value])
        bind_actor(principal.actor)
        if principal.client_id is not None:
            bind_client(principal.client_id)
        return principal


def _address(scope: Scope) -> str:
    """Return where a request comes from as the load balancer says, else who is connected; it is recorded nowhere."""
    peer: str = (scope.get("client") or ("",))[0]
    return Headers(scope=scope).get("x-real-ip") or peer


def _authorize(principal: Principal, permission: Permission, client_id: str | None) -> None:
    """Raise the Problem that a request gets whose sender may not do this."""
    if not principal.may(permission):
        _tell_denied(permission, "role")
        raise Problem(f"The role {principal.role} has not the permission {permission}.", status=403)
    if client_id is not None and client_id != principal.client_id:
        _tell_denied(permission, "client")
        if permission is Permission.READ_DOCUMENTS:
            raise NotFound(
                "The client has no such document."
            )  # whether it is there is nobody else's business
        raise Problem("The credential belongs to another client.", status=403)


def _tell_denied(permission: Permission, reason: str) -> None:
    """Write the refusal down for whoever looks after the audit log."""
    trace.get_current_span().set_attribute(Attribute.AUTH_DENIED, reason)
    context = {"permission": permission.value, "reason": reason, "actor": current_actor()}
    logger.warning("Access denied", extra={"context_data": context})

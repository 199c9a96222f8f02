"""The gate between the services: a token that both know (RFC 6750)."""

from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import Any, Final

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import Scope

from access.roles import Permission
from observability import Problem

# Who a service asks for, for the audit log: worth as much as the token that comes with it.
ACTOR_HEADER: Final = "Robin-Actor"
SCHEME: Final = "ServiceToken"
SECURITY_SCHEMES: Final[Mapping[str, Any]] = {SCHEME: {"type": "http", "scheme": "bearer"}}


def tokens_of(setting: SecretStr | None) -> Sequence[str]:
    """Return the tokens of the setting SERVICE_TOKEN, the one to send first; none where it is not set."""
    return [token.strip() for token in setting.get_secret_value().split(",")] if setting is not None else []


class ServiceGate:
    """Lets in whoever shows one of the tokens; everybody where there is none."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._expected = [f"Bearer {token}".encode() for token in tokens]

    async def admit(self, scope: Scope, permission: Permission) -> None:
        """Let a request pass that shows a token or needs none; raises Problem (401)."""
        if permission is Permission.PUBLIC or not self._expected:
            return
        shown = Headers(scope=scope).get("authorization", "").encode("latin-1")
        # In a time that does not tell how much of a token was right.
        if not any(compare_digest(shown, expected) for expected in self._expected):
            raise Problem(
                "Only robin's own services are served here: SERVICE_TOKEN must be the same in both.",
                status=401,
                headers={"WWW-Authenticate": "Bearer"},
            )

"""The table of roles. A route declares a permission; a role has some."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Permission(StrEnum):
    """What a route needs, as its OpenAPI document says it (`x-permission`)."""

    PUBLIC = "public"  # nobody in particular: also without a credential
    READ_DOCUMENTS = "documents:read"
    WRITE_DOCUMENTS = "documents:write"
    PURGE_DOCUMENTS = "documents:purge"  # for ever
    READ_HEALTH = "health:read"  # what the service consists of, and how each part is
    READ_TELEMETRY = "telemetry:read"  # what is kept of everybody's requests
    BE_A_SERVICE = "service"  # another service of robin's; no user's role has it


class Role(StrEnum):
    """What a user is; all but the operator belong to a client."""

    READER = "reader"
    WRITER = "writer"
    TENANT_ADMIN = "tenant_admin"
    OPERATOR = "operator"


PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.READER: frozenset({Permission.READ_DOCUMENTS}),
    Role.WRITER: frozenset({Permission.READ_DOCUMENTS, Permission.WRITE_DOCUMENTS}),
    Role.TENANT_ADMIN: frozenset(
        {Permission.READ_DOCUMENTS, Permission.WRITE_DOCUMENTS, Permission.PURGE_DOCUMENTS}
    ),
    Role.OPERATOR: frozenset({Permission.READ_HEALTH, Permission.READ_TELEMETRY}),
}

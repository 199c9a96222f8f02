"""Who sends traces, metrics or logs, and as what."""

from enum import StrEnum
from typing import Final


class Source(StrEnum):
    """Who sends traces, metrics or logs: `service.name`."""

    DOCUMENT_API = "document-api"
    DATA_STORE = "data-store"
    NGINX = "nginx"
    POSTGRESQL = "postgresql"
    HOST = "host"


SERVICES: Final = (Source.DOCUMENT_API, Source.DATA_STORE)

IDENTITY: Final = frozenset(
    {"service.name", "service.namespace", "service.instance.id", "deployment.environment.name"}
)
_SDK: Final = frozenset({"telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version"})
RESOURCES: Final = {
    Source.DOCUMENT_API: IDENTITY | {"service.version"} | _SDK,
    Source.DATA_STORE: IDENTITY | {"service.version"} | _SDK,
    Source.NGINX: IDENTITY | {"service.version"},
    Source.POSTGRESQL: IDENTITY | {"service.version"},
    Source.HOST: IDENTITY,
}

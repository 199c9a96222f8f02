"""What each source says of itself."""

from typing import Final

from telemetry_queries.sources import Source

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

"""GET /health: does the file system really keep a file, does the data store really answer."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from access.roles import Permission
from access.routes import GATE, needs
from document_api import SERVICE_NAME, VERSION
from document_api.documents.storage import FileStorage
from document_api.documents.store_client import StoreClient
from document_api.identity.gate import DocumentGate
from document_api.scan import Scanner
from document_api.settings import DocumentApiSettings
from observability import Telemetry, run_checks
from observability.fields import Timestamp
from observability.health import overall, status_code
from observability.openapi import problems
from observability.service import AuthMode
from observability.signals import HealthStatus, StorageBackend

router = APIRouter(tags=["health"])


OPEN_WARNING: Final = "AUTH_MODE=open: everybody may read and write the documents of every client; AUTH_MODE=required asks who they are."


class PublicHealth(BaseModel):
    """State of the service, for load balancers."""

    status: HealthStatus
    service: str = SERVICE_NAME
    timestamp: Timestamp = Field(default_factory=lambda: datetime.now(UTC))


class Health(PublicHealth):
    """State of the service and of what it needs, for whoever runs it."""

    components: dict[str, HealthStatus]
    version: str = VERSION
    warnings: list[str]


class HealthProbe:
    """Asks every component at the same time."""

    def __init__(
        self,
        storage: FileStorage,
        store: StoreClient,
        scanner: Scanner | None,
        telemetry: Telemetry,
        settings: DocumentApiSettings,
    ) -> None:
        self._checks = {"file_system": storage.check, "data_store": store.check}
        if storage.backend is not StorageBackend.FILE_SYSTEM:
            self._checks["object_store"] = storage.check_shelf
        if scanner is not None:
            self._checks["virus_scanner"] = scanner.check
        self._telemetry = telemetry
        self._deadline_seconds = settings.health_deadline_seconds
        self._warnings = [OPEN_WARNING] if settings.auth_mode is AuthMode.OPEN else []

    async def examine(self) -> Health:
        """Return the state of the service as it is now."""
        components = await run_checks(self._checks, self._telemetry, deadline_seconds=self._deadline_seconds)
        return Health(status=overall(components), components=components, warnings=self._warnings)


def _probe(request: Request) -> HealthProbe:
    probe: HealthProbe = request.state.health
    return probe


@router.get(
    "/health",
    openapi_extra=needs(Permission.PUBLIC),
    responses={
        503: {"model": Health | PublicHealth, "description": "A component is unhealthy"},
        **problems(400, 401, 429),
    },
)
async def get_health(
    probe: Annotated[HealthProbe, Depends(_probe)], request: Request, response: Response
) -> Health | PublicHealth:
    """Tell whether the service can do its work: healthy and degraded answer 200, unhealthy 503.

    With AUTH_MODE=required the components are told to operators only.
    """
    gate: DocumentGate = getattr(request.state, GATE)
    everything = await gate.sees_everything(request.scope)
    health = await probe.examine()
    response.status_code = status_code(health.status)
    return health if everything else PublicHealth(status=health.status, timestamp=health.timestamp)

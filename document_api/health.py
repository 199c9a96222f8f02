"""GET /health: does the file system really keep a file, does the data store really answer."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from document_api import SERVICE_NAME, VERSION
from document_api.documents.storage import FileStorage
from document_api.documents.store_client import StoreClient
from observability import Telemetry, run_checks
from observability.fields import Timestamp
from observability.health import overall, status_code
from observability.signals import HealthStatus

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """State of the service and of what it needs."""

    status: HealthStatus
    service: str = SERVICE_NAME
    timestamp: Timestamp = Field(default_factory=lambda: datetime.now(UTC))
    components: dict[str, HealthStatus]
    version: str = VERSION


class HealthProbe:
    """Asks every component at the same time."""

    def __init__(
        self, storage: FileStorage, store: StoreClient, telemetry: Telemetry, deadline_seconds: float
    ) -> None:
        self._checks = {"file_system": storage.check, "data_store": store.check}
        self._telemetry = telemetry
        self._deadline_seconds = deadline_seconds

    async def examine(self) -> Health:
        """Return the state of the service as it is now."""
        components = await run_checks(self._checks, self._telemetry, deadline_seconds=self._deadline_seconds)
        return Health(status=overall(components), components=components)


def _probe(request: Request) -> HealthProbe:
    probe: HealthProbe = request.state.health
    return probe


@router.get("/health", responses={503: {"model": Health, "description": "A component is unhealthy"}})
async def get_health(probe: Annotated[HealthProbe, Depends(_probe)], response: Response) -> Health:
    """Tell whether the service can do its work: healthy and degraded answer 200, unhealthy 503."""
    health = await probe.examine()
    response.status_code = status_code(health.status)
    return health

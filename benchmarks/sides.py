"""The sides of a comparison: pairs of services with the same routes, settings and neighbours."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from document_api.settings import DocumentApiSettings
from local_stack.postgres import DATABASE

MAX_UPLOAD_BYTES = DocumentApiSettings.model_fields["max_upload_bytes"].default


@dataclass(frozen=True, kw_only=True)
class Side:
    """A public and an internal service, each a module that `python -m` runs."""

    name: str
    title: str
    api: str
    store: str
    telemetry: bool
    collected: bool = False  # whether the collector reads its nginx: a stock set-up has no such pipeline
    workers: int = 1  # processes of each service
    database: str = DATABASE
    environment: Mapping[str, str] = field(default_factory=dict)  # further settings of both services

    @property
    def max_upload_bytes(self) -> int:
        """What its nginx lets through."""
        return int(self.environment.get("MAX_UPLOAD_BYTES", MAX_UPLOAD_BYTES))


ROBIN = Side(
    name="robin",
    title="robin, all signals on",
    api="document_api",
    store="data_store",
    telemetry=True,
    collected=True,
)
SIDES = (
    ROBIN,
    Side(
        name="robin-off",
        title="robin, telemetry off",
        api="document_api",
        store="data_store",
        telemetry=False,
    ),
    Side(
        name="stock",
        title="stock pair with OpenTelemetry",
        api="benchmarks.peers.stock.api",
        store="benchmarks.peers.stock.store",
        telemetry=True,
    ),
    Side(
        name="stock-off",
        title="stock pair without telemetry",
        api="benchmarks.peers.stock.api",
        store="benchmarks.peers.stock.store",
        telemetry=False,
    ),
    Side(
        name="limit",
        title="limit pair",
        api="benchmarks.peers.limit.api",
        store="benchmarks.peers.limit.store",
        telemetry=False,
    ),
)

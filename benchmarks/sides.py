"""The sides of a comparison: pairs of services with the same routes, settings and neighbours."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Side:
    """A public and an internal service, each a module that `python -m` runs."""

    name: str
    title: str
    api: str
    store: str
    telemetry: bool


SIDES = (
    Side(
        name="robin",
        title="robin, all signals on",
        api="document_api",
        store="data_store",
        telemetry=True,
    ),
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

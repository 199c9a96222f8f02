"""The servers that keep telemetry, together."""

from dataclasses import dataclass

from telemetry_queries.jaeger import Jaeger
from telemetry_queries.log_store import LogStore
from telemetry_queries.prometheus import Prometheus


@dataclass(frozen=True, slots=True)
class BackEnds:
    """The three servers that keep telemetry."""

    jaeger: Jaeger
    prometheus: Prometheus
    logs: LogStore

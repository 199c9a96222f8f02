"""Series that the services do not send: those of the machine, and jobs that are scraped."""

from collections.abc import Mapping
from typing import Final

from observability.signals import Bound, MetricSpec

# The collector looks at the machine that it runs on.
_MOUNT: Final[Mapping[str, Bound]] = {
    "device": 100,
    "mode": frozenset({"ro", "rw"}),
    "mountpoint": 100,
    "type": 20,
}
HOST_METRICS: Final = (
    MetricSpec(
        "system.cpu.time",
        "counter",
        "CPU time by state",
        "s",
        {
            "cpu": 1024,
            "state": frozenset({"user", "system", "idle", "interrupt", "nice", "softirq", "steal", "wait"}),
        },
    ),
    MetricSpec("system.cpu.load_average.1m", "gauge", "Load over a minute", "{thread}"),
    MetricSpec("system.cpu.load_average.5m", "gauge", "Load over five minutes", "{thread}"),
    MetricSpec("system.cpu.load_average.15m", "gauge", "Load over a quarter of an hour", "{thread}"),
    MetricSpec(
        "system.memory.usage",
        "updowncounter",
        "Memory by state",
        "By",
        {
            "state": frozenset(
                {"used", "free", "buffered", "cached", "slab_reclaimable", "slab_unreclaimable"}
            )
        },
    ),
    MetricSpec(
        "system.filesystem.usage",
        "updowncounter",
        "Space of file systems by state",
        "By",
        {**_MOUNT, "state": frozenset({"used", "free", "reserved"})},
    ),
    MetricSpec(
        "system.filesystem.inodes.usage",
        "updowncounter",
        "Inodes of file systems by state",
        "{inode}",
        {**_MOUNT, "state": frozenset({"used", "free"})},
    ),
)
# Prometheus scrapes these programs; what they tell is theirs. `probe` is what the blackbox exporter found.
SCRAPED_JOBS: Final = frozenset(
    {
        *("otel-collector", "prometheus", "alertmanager", "jaeger", "blackbox-exporter", "probe"),
        *("victorialogs", "loki", "grafana"),
    }
)

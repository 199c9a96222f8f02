"""Which traces are sure to be kept where the collector keeps only some (TRACE_SAMPLING=tail, otel-collector-tail.yaml)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from observability.signals import MetricSpec

# As long as that the collector calls a trace slow, and keeps it.
SLOW_SECONDS: Final = 1.0
_MASK: Final = (1 << 64) - 1


class TraceSampling(StrEnum):
    """What becomes of the spans that are sent."""

    ALL = "all"
    TAIL = "tail"


class KeptTraces:
    """Tells of a measurement whether its trace may be an exemplar, for which it is kept.

    A share of all traces, chosen by their ID and so alike in every service, and whatever is slow or failed.
    """

    def __init__(self, share: float) -> None:
        self._bound = round(share * (_MASK + 1))

    def may_point_to(
        self, trace_id: int, metric: MetricSpec, amount: float, labels: Mapping[str, str]
    ) -> bool:
        """Tell whether an exemplar of this measurement may point to this trace."""
        return (
            trace_id & _MASK < self._bound
            or (metric.unit == "s" and amount >= SLOW_SECONDS)
            or labels.get("status", "").startswith("5")
        )

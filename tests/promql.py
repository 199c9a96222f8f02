"""What a PromQL expression names, without a server to ask: unit tests read dashboards, rules and documents so."""

import re
from typing import Final

from observability.signals import METRICS

_OWN: Final = {metric.prometheus_name for metric in METRICS}
_NO_NAME: Final = re.compile(
    r"\"[^\"]*\"|\{[^}]*\}|\[[^]]*\]"
    r"|\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)"
    r"|\b(?:and|or|unless|bool|offset)\b"
)
# What is called is a function; `sum by (job) (up)` is one once its grouping is away.
_NAME: Final = re.compile(r"(?<![\w:])[a-zA-Z_:][\w:]*\b(?!\s*\()")
_PART_OF_A_HISTOGRAM: Final = re.compile(r"_(?:bucket|count|sum)$")


def metrics(expression: str) -> set[str]:
    """Return the metrics of an expression, a histogram without its suffix."""
    found = _NAME.findall(_NO_NAME.sub(" ", expression))
    return {name if name in _OWN else _PART_OF_A_HISTOGRAM.sub("", name) for name in found}

"""PromQL out of the metrics of the contract, so that no panel can name one that is not there."""

from typing import Final

from observability.signals import HEALTH_ROUTE, OBSERVABILITY_PREFIX, MetricSpec

RATE: Final = "$__rate_interval"
RANGE: Final = "$__range"

# What is asked of robin, not how it is: an operator who waits for a back end of telemetry is no client who waits.
OF_USERS: Final = f'path!~"{HEALTH_ROUTE}|{OBSERVABILITY_PREFIX}/.*"'
SERVER_ERRORS: Final = 'status=~"5.."'


def series(metric: MetricSpec | str, *matchers: str, part: str = "") -> str:
    """Select a metric's series; `part` is a histogram's `_bucket`, `_sum` or `_count`."""
    name = metric if isinstance(metric, str) else metric.prometheus_name
    return f"{name}{part}{{{', '.join(matchers)}}}" if matchers else f"{name}{part}"


def aggregate(operator: str, expression: str, *by: str) -> str:
    """Aggregate to the labels given, or to one series."""
    return f"{operator} by ({', '.join(by)}) ({expression})" if by else f"{operator}({expression})"


def rate(
    metric: MetricSpec | str, *matchers: str, by: tuple[str, ...] = (), part: str = "", window: str = RATE
) -> str:
    """Return how much a counter rises in a second."""
    return aggregate("sum", f"rate({series(metric, *matchers, part=part)}[{window}])", *by)


def increase(
    metric: MetricSpec | str, *matchers: str, by: tuple[str, ...] = (), part: str = "", window: str = RANGE
) -> str:
    """Return how much a counter rises within the window."""
    return aggregate("sum", f"increase({series(metric, *matchers, part=part)}[{window}])", *by)


def quantile(
    ratio: float, metric: MetricSpec, *matchers: str, by: tuple[str, ...] = (), window: str = RATE
) -> str:
    """Return a quantile out of a histogram's buckets."""
    buckets = rate(metric, *matchers, by=(*by, "le"), part="_bucket", window=window)
    return f"histogram_quantile({ratio}, {buckets})"


def mean(metric: MetricSpec, *matchers: str, by: tuple[str, ...] = (), window: str = RATE) -> str:
    """Return a histogram's mean."""
    total, count = (rate(metric, *matchers, by=by, part=part, window=window) for part in ("_sum", "_count"))
    return share(total, count)


def share(part: str, whole: str) -> str:
    """Divide; where there is no whole there is no share either, rather than NaN."""
    return f"({part}) / ({whole} > 0)"


def zero_unless(expression: str, whole: str = "") -> str:
    """Count what is missing as nothing: for each series of `whole`, or as one series without labels."""
    return f"({expression}) or " + (f"0 * {whole}" if whole else "vector(0)")

"""The instruments of the contract, made from observability.signals, and the views that keep IDs out of their series."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation, UpDownCounter
from opentelemetry.sdk.metrics.view import View

from observability import signals
from observability.context import current_correlation_id
from observability.signals import Attribute, MetricSpec


class _Labelled(Protocol):
    def __call__(self, amount: float, **labels: str) -> None: ...


def views() -> list[View]:
    """Return a view for each metric that is given more than its labels: the rest survives in exemplars only.

    Ours are given the correlation ID, those of the process every label twice, by an old and a new name.
    """
    return [
        View(instrument_name=metric.name, attribute_keys=set(metric.labels))
        for metric in signals.METRICS
        if metric.exemplars or metric in signals.PROCESS_METRICS
    ]


def _record(metric: MetricSpec, record: Callable[[float, dict[str, str]], None]) -> _Labelled:
    """Return a function that records one value of a metric, with the correlation ID where it takes exemplars."""

    def labelled(amount: float, **labels: str) -> None:
        if metric.exemplars and (correlation_id := current_correlation_id()):
            labels[Attribute.CORRELATION_ID.value] = correlation_id
        record(amount, labels)

    return labelled


@dataclass(frozen=True, slots=True)
class Instruments:
    """Records the metrics of the contract; labels are keyword arguments named as in signals."""

    _meter: Meter
    http_requests: _Labelled
    http_request_duration: _Labelled
    http_errors: _Labelled
    http_in_progress: _Labelled
    database_operations: _Labelled
    database_operation_duration: _Labelled
    database_pool_wait: _Labelled
    database_pool_exhausted: _Labelled
    health_checks: _Labelled
    health_check_duration: _Labelled
    documents_uploaded: _Labelled
    document_size: _Labelled
    summaries: _Labelled
    gen_ai_operation_duration: _Labelled
    gen_ai_token_usage: _Labelled
    telemetry_dropped: _Labelled

    @classmethod
    def of(cls, meter: Meter) -> "Instruments":
        """Create every instrument on this meter."""

        def made(metric: MetricSpec) -> _Labelled:
            return _record(metric, _recorder(meter, metric))

        return cls(
            _meter=meter,
            http_requests=made(signals.HTTP_REQUESTS),
            http_request_duration=made(signals.HTTP_REQUEST_DURATION),
            http_errors=made(signals.HTTP_ERRORS),
            http_in_progress=made(signals.HTTP_IN_PROGRESS),
            database_operations=made(signals.DATABASE_OPERATIONS),
            database_operation_duration=made(signals.DATABASE_OPERATION_DURATION),
            database_pool_wait=made(signals.DATABASE_POOL_WAIT),
            database_pool_exhausted=made(signals.DATABASE_POOL_EXHAUSTED),
            health_checks=made(signals.HEALTH_CHECKS),
            health_check_duration=made(signals.HEALTH_CHECK_DURATION),
            documents_uploaded=made(signals.DOCUMENTS_UPLOADED),
            document_size=made(signals.DOCUMENT_SIZE),
            summaries=made(signals.SUMMARIES),
            gen_ai_operation_duration=made(signals.GEN_AI_OPERATION_DURATION),
            gen_ai_token_usage=made(signals.GEN_AI_TOKEN_USAGE),
            telemetry_dropped=made(signals.TELEMETRY_DROPPED),
        )

    def observe(self, metric: MetricSpec, read: Callable[[], Iterable[tuple[float, dict[str, str]]]]) -> None:
        """Read a gauge whenever metrics are collected; `read` returns (value, labels) pairs."""

        def callback(_options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, labels) for value, labels in read()]

        self._meter.create_observable_gauge(
            metric.name, [callback], unit=metric.unit, description=metric.description
        )


def _recorder(meter: Meter, metric: MetricSpec) -> Callable[[float, dict[str, str]], None]:
    """Create the instrument and return its recording method."""
    create: dict[str, Callable[[], Counter | UpDownCounter | Histogram]] = {
        "counter": lambda: meter.create_counter(metric.name, metric.unit, metric.description),
        "updowncounter": lambda: meter.create_up_down_counter(metric.name, metric.unit, metric.description),
        "histogram": lambda: meter.create_histogram(
            metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
        ),
    }
    instrument = create[metric.kind]()
    if isinstance(instrument, Histogram):
        return cast("Callable[[float, dict[str, str]], None]", instrument.record)
    return cast("Callable[[float, dict[str, str]], None]", instrument.add)

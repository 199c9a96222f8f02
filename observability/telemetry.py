"""Traces, metrics and logs of one process: built once at the composition root, passed on as one object."""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.metrics import NoOpMeter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue
from starlette.requests import ClientDisconnect

from observability import signals
from observability.batches import Batches, Exporter, LogExporter, SpanExporter
from observability.instruments import Instruments, views
from observability.logs import configure_logging
from observability.memory import calm_garbage_collector, memory_share
from observability.otlp import Envelope
from observability.problems import Problem, error_type_of, is_server_error
from observability.propagation import span_context_of
from observability.sampling import KeptTraces
from observability.service import fail
from observability.signals import Attribute, ErrorType, Outcome
from observability.spans import Tracer

logger = logging.getLogger(__name__)

# The standard variables win; these defaults keep a collector outage of a minute at ~300 spans a second
# without loss, and an export that outlives it (the SDK's own 10 s give up on a batch).
_DEFAULTS: Final = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
    "OTEL_BSP_MAX_QUEUE_SIZE": "20480",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2048",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "20480",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "2048",
    "OTEL_BLRP_SCHEDULE_DELAY": "1000",
    "OTEL_METRIC_EXPORT_INTERVAL": "4000",  # and half a second on the way: what is counted is seen within 5 s
}
# What the instrumentor calls the values of its label `type`.
_CPU_TIME_TYPES: Final = ["user", "system"]
SHUTDOWN_SECONDS: Final = 5.0
# Why a log record was dropped where it was made.
FLOOD: Final = "flood"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends the telemetry: the resource of all three signals."""

    service_name: str
    service_version: str
    instance_id: str
    environment: str

    def resource(self) -> Resource:
        """Return the OpenTelemetry resource; OTEL_RESOURCE_ATTRIBUTES adds to it."""
        return Resource.create(
            {
                "service.name": self.service_name,
                "service.namespace": signals.SERVICE_NAMESPACE,
                "service.version": self.service_version,
                "service.instance.id": self.instance_id,
                "deployment.environment.name": self.environment,
            }
        )


class Step:
    """A step of the business: a span from its making until the end of its `with` block, in which it is the current one."""

    __slots__ = ("_outcome", "_span", "_started", "_token")

    def __init__(self, span: trace.Span, *, outcome: bool) -> None:
        self._span = span
        self._outcome = outcome
        self._started = time.perf_counter()

    def __enter__(self) -> Self:
        self._token = attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        detach(self._token)
        if isinstance(error, Exception):
            _mark_failure(self._span, error)
        if self._outcome:
            self._span.set_attribute(Attribute.OUTCOME, _outcome(error))
        self._span.end()

    def set(self, name: str, value: AttributeValue | None) -> None:
        """Set a span attribute; None sets nothing."""
        if value is not None:
            self._span.set_attribute(name, value)

    def link(self, traceparent: str) -> None:
        """Refer to a span of another trace, by its W3C traceparent; one that is none refers to nothing."""
        context = span_context_of(traceparent)
        if context.is_valid:
            self._span.add_link(context)

    def elapsed(self) -> float:
        """Return the seconds since the step began."""
        return time.perf_counter() - self._started


class _Provider(Protocol):
    def shutdown(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the code of a service uses to be seen: steps, instruments, and an end that is bounded."""

    tracer: Tracer | trace.NoOpTracer
    metrics: Instruments
    providers: Mapping[str, _Provider]

    def step(
        self,
        name: str,
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        outcome: bool = False,
    ) -> Step:
        """Return a block that is a span. Failures of the service mark it as an error, refusals (4xx) only name `error.type`.

        With `outcome` the span says how it ended, cancellation included. Exceptions pass through and are recorded
        where they are handled.
        """
        return Step(self.tracer.start_span(name, kind=kind, attributes=attributes), outcome=outcome)

    def shutdown(self) -> None:
        """Send what is buffered, all signals side by side, for at most SHUTDOWN_SECONDS; say what did not make it."""
        threads = {
            signal: threading.Thread(target=provider.shutdown, name=f"shutdown-{signal}", daemon=True)
            for signal, provider in self.providers.items()
        }
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        for thread in threads.values():
            thread.start()
        for thread in threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        late = [signal for signal, thread in threads.items() if thread.is_alive()]
        if late:
            logger.warning("Telemetry not flushed within %s s: %s", SHUTDOWN_SECONDS, ", ".join(late))


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return Outcome.SUCCESS
    if isinstance(error, ClientDisconnect) or not isinstance(error, Exception):
        return Outcome.CANCELLED
    return Outcome.FAILED if is_server_error(error) else Outcome.REJECTED


def _mark_failure(span: trace.Span, error: Exception) -> None:
    if isinstance(error, Problem):
        span.set_attribute(ERROR_TYPE, error_type_of(error.status))
    elif isinstance(error, ClientDisconnect):
        span.set_attribute(ERROR_TYPE, ErrorType.CLIENT_DISCONNECTED)
    else:
        # Some conventions have words of their own for what went wrong: an error that knows them says so.
        span.set_attribute(ERROR_TYPE, getattr(error, "error_type", type(error).__qualname__))
    if is_server_error(error):
        span.set_status(Status(StatusCode.ERROR, type(error).__qualname__))


class Outlet(Protocol):
    """Takes the encoded spans or log records of a process."""

    def put(self, item: bytes) -> None:
        """Take one; called by any thread, and never waits."""

    def shutdown(self) -> None:
        """Send what was taken."""


# Makes an outlet of what stands around its items and of the counter for what it loses: (items, reason).
MakeOutlet = Callable[[Envelope, Callable[[int, str], None]], Outlet]


def build(
    identity: Identity,
    *,
    metric_reader: MetricReader,
    spans: MakeOutlet,
    logs: MakeOutlet,
    log_level: str = "INFO",
    kept: KeptTraces | None = None,
    log_records_per_second: int | None = None,
) -> Telemetry:
    """Build the telemetry of a process on these outlets, and make its logging speak through them."""
    resource = identity.resource()
    scope = InstrumentationScope(
        f"{signals.SERVICE_NAMESPACE}.{identity.service_name}", identity.service_version
    )
    meter_provider = MeterProvider([metric_reader], resource, shutdown_on_exit=False, views=views())
    metrics = Instruments(meter_provider.get_meter(scope.name, scope.version), kept)
    _collect_too(metric_reader, metrics, resource, scope)
    envelope = Envelope(resource, scope.name, identity.service_version)
    span_outlet, log_outlet = (
        make(envelope, _dropped(metrics, signal)) for signal, make in (("traces", spans), ("logs", logs))
    )
    withheld = _dropped(metrics, "logs")
    configure_logging(
        identity.service_name,
        log_level,
        log_outlet.put,
        most_per_second=log_records_per_second,
        withheld=lambda records: withheld(records, FLOOD),
    )
    # The SDK's provider knows the variables OTEL_TRACES_SAMPLER and _ARG.
    sampler = TracerProvider(resource=resource, shutdown_on_exit=False).sampler
    return Telemetry(
        tracer=Tracer(span_outlet.put, sampler),
        metrics=metrics,
        providers={"traces": span_outlet, "logs": log_outlet, "metrics": meter_provider},
    )


def _dropped(metrics: Instruments, signal: str) -> Callable[[int, str], None]:
    def count(items: int, reason: str) -> None:
        metrics.telemetry_dropped(items, signal=signal, reason=reason)

    return count


def _collect_too(
    reader: MetricReader, metrics: Instruments, resource: Resource, scope: InstrumentationScope
) -> None:
    """Let a reader collect our instruments with those of its provider; the SDK has no door for other producers yet."""
    provider: Any = reader._collect  # noqa: SLF001

    def collect(*arguments: Any, **options: Any) -> MetricsData:
        others: MetricsData | None = provider(*arguments, **options)
        # One entry for each resource and scope: of two the SDK's encoder would keep the last.
        scopes = {scope: metrics.collect()}
        for each in (
            each for sent in (others.resource_metrics if others else ()) for each in sent.scope_metrics
        ):
            scopes.setdefault(each.scope, []).extend(each.metrics)
        return MetricsData(
            [ResourceMetrics(resource, [ScopeMetrics(*item, schema_url="") for item in scopes.items()], "")]
        )

    reader._set_collect_callback(collect)  # noqa: SLF001


def configure(
    identity: Identity,
    *,
    log_level: str,
    workers: int,
    kept: KeptTraces | None = None,
    log_records_per_second: int | None = None,
) -> Telemetry:
    """Build the telemetry of one of so many processes with OTLP over gRPC; the OTEL_* variables configure it.

    `kept` says which traces exemplars may point to, None any; `log_records_per_second` how many records of each class of
    levels are written, None any number.
    """
    calm_garbage_collector()
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return _switched_off(identity, log_level)
    for name, value in _DEFAULTS.items():
        os.environ[name] = os.environ.get(name) or value  # empty is unset, as OpenTelemetry says
    telemetry = build(
        identity,
        metric_reader=PeriodicExportingMetricReader(OTLPMetricExporter()),
        spans=lambda envelope, dropped: _batches("BSP", SpanExporter(envelope), dropped),
        logs=lambda envelope, dropped: _batches("BLRP", LogExporter(envelope), dropped),
        log_level=log_level,
        kept=kept,
        log_records_per_second=log_records_per_second,
    )
    _measure_process(telemetry, workers)
    return telemetry


def _batches(processor: str, exporter: Exporter, dropped: Callable[[int, str], None]) -> Batches:
    """Return batches as the variables of the SDK's batch processor `BSP` or `BLRP` say."""

    def setting(name: str) -> int:
        variable = f"OTEL_{processor}_{name}"
        value = os.environ[variable]
        if not value.isdecimal() or not int(value):
            fail(f"{variable}: must be a whole number above 0, not {value!r}")
        return int(value)

    return Batches(
        exporter,
        queue=setting("MAX_QUEUE_SIZE"),
        batch=setting("MAX_EXPORT_BATCH_SIZE"),
        delay_seconds=setting("SCHEDULE_DELAY") / 1000,
        dropped=dropped,
    )


def _switched_off(identity: Identity, log_level: str) -> Telemetry:
    """Return telemetry that neither makes nor sends anything; the lines on stdout stay."""
    configure_logging(identity.service_name, log_level)
    return Telemetry(trace.NoOpTracer(), Instruments(NoOpMeter(signals.SERVICE_NAMESPACE)), {})


def _measure_process(telemetry: Telemetry, workers: int) -> None:
    """Report what the process uses and what it may use."""
    config = {
        metric.name: _CPU_TIME_TYPES if metric is signals.PROCESS_CPU_TIME else None
        for metric in signals.PROCESS_METRICS
    }
    SystemMetricsInstrumentor(config=config).instrument(meter_provider=telemetry.providers["metrics"])
    telemetry.metrics.observe(signals.PROCESS_MEMORY_LIMIT, lambda: [(memory_share(workers), {})])

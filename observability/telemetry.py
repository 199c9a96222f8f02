"""Traces, metrics and logs of one process: built once at the composition root, passed on as one object."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue
from starlette.requests import ClientDisconnect

from observability import signals
from observability.context import current_request
from observability.drops import otlp_log_processor, otlp_span_processor
from observability.instruments import Instruments, views
from observability.logs import configure_logging
from observability.memory import memory_share
from observability.problems import Problem, error_type_of, is_server_error
from observability.signals import Attribute, ErrorType, Outcome

logger = logging.getLogger(__name__)

# The standard variables win; these defaults keep a collector outage of a minute at ~300 spans a second
# without loss, and an export that outlives it (the SDK's own 10 s give up on a batch).
_DEFAULTS: Final = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
    "OTEL_BSP_MAX_QUEUE_SIZE": "20480",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "20480",
    "OTEL_BLRP_SCHEDULE_DELAY": "1000",
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",
}
# What the instrumentor calls the values of its label `type`.
_CPU_TIME_TYPES: Final = ["user", "system"]
SHUTDOWN_SECONDS: Final = 5.0


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
    """A running step of the business: takes the attributes that are known only while it runs."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._started = time.perf_counter()

    def set(self, name: str, value: AttributeValue | None) -> None:
        """Set a span attribute; None sets nothing."""
        if value is not None:
            self._span.set_attribute(name, value)

    def elapsed(self) -> float:
        """Return the seconds since the step began."""
        return time.perf_counter() - self._started


class _RequestAttributes(SpanProcessor):
    """Puts the correlation ID and the tenant on every span of a request."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002  the SDK's signature
        request = current_request()
        if request is not None:
            span.set_attribute(Attribute.CORRELATION_ID, request.correlation_id)
            if request.client_id is not None:
                span.set_attribute(Attribute.CLIENT_ID, request.client_id)

    def on_end(self, span: ReadableSpan) -> None:
        """Nothing is left to do when a span ends."""


class _Provider(Protocol):
    def shutdown(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the code of a service uses to be seen: steps, instruments, and an end that is bounded."""

    tracer: Tracer
    metrics: Instruments
    providers: Mapping[str, _Provider]

    @contextmanager
    def step(
        self,
        name: str,
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        outcome: bool = False,
    ) -> Iterator[Step]:
        """Run a block as a span. Failures of the service mark it as an error, refusals (4xx) only name `error.type`.

        With `outcome` the span says how it ended, cancellation included. Exceptions pass through and are recorded
        where they are handled.
        """
        with self.tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            # Stays so for a BaseException: a cancelled task.
            result = Outcome.CANCELLED
            try:
                yield Step(span)
                result = Outcome.SUCCESS
            except Exception as error:
                result = _outcome(error)
                _mark_failure(span, error)
                raise
            finally:
                if outcome:
                    span.set_attribute(Attribute.OUTCOME, result)

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


def _outcome(error: Exception) -> Outcome:
    if isinstance(error, ClientDisconnect):
        return Outcome.CANCELLED
    return Outcome.FAILED if is_server_error(error) else Outcome.REJECTED


def _mark_failure(span: trace.Span, error: Exception) -> None:
    if isinstance(error, Problem):
        span.set_attribute(ERROR_TYPE, error_type_of(error.status))
    elif isinstance(error, ClientDisconnect):
        span.set_attribute(ERROR_TYPE, ErrorType.CLIENT_DISCONNECTED)
    else:
        span.set_attribute(ERROR_TYPE, type(error).__qualname__)
    if is_server_error(error):
        span.set_status(Status(StatusCode.ERROR, type(error).__qualname__))


def build(
    identity: Identity,
    *,
    metric_reader: MetricReader,
    span_processor: Callable[[Instruments], SpanProcessor],
    log_processor: Callable[[Instruments], LogRecordProcessor],
    log_level: str = "INFO",
) -> Telemetry:
    """Build the telemetry of a process on these outlets, and make its logging speak through them."""
    resource = identity.resource()
    scope = f"{signals.SERVICE_NAMESPACE}.{identity.service_name}"
    meter_provider = MeterProvider([metric_reader], resource, shutdown_on_exit=False, views=views())
    metrics = Instruments.of(meter_provider.get_meter(scope, identity.service_version))
    tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracer_provider.add_span_processor(_RequestAttributes())
    tracer_provider.add_span_processor(span_processor(metrics))
    logger_provider = LoggerProvider(resource, shutdown_on_exit=False)
    logger_provider.add_log_record_processor(log_processor(metrics))
    configure_logging(identity.service_name, log_level, logger_provider)
    return Telemetry(
        tracer=tracer_provider.get_tracer(scope, identity.service_version),
        metrics=metrics,
        providers={"traces": tracer_provider, "logs": logger_provider, "metrics": meter_provider},
    )


def configure(identity: Identity, *, log_level: str, workers: int) -> Telemetry:
    """Build the telemetry of one of so many processes with OTLP over gRPC; the OTEL_* variables configure it."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    telemetry = build(
        identity,
        metric_reader=PeriodicExportingMetricReader(OTLPMetricExporter()),
        span_processor=otlp_span_processor,
        log_processor=otlp_log_processor,
        log_level=log_level,
    )
    _measure_process(telemetry, workers)
    return telemetry


def _measure_process(telemetry: Telemetry, workers: int) -> None:
    """Report what the process uses and what it may use."""
    config = {
        metric.name: _CPU_TIME_TYPES if metric is signals.PROCESS_CPU_TIME else None
        for metric in signals.PROCESS_METRICS
    }
    SystemMetricsInstrumentor(config=config).instrument(meter_provider=telemetry.providers["metrics"])
    telemetry.metrics.observe(signals.PROCESS_MEMORY_LIMIT, lambda: [(memory_share(workers), {})])

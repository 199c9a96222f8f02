"""The collector's configuration in a real collector, between real senders and a sink that speaks OTLP."""

import logging
import re
import subprocess
from collections.abc import Iterator

import pytest
import yaml
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from observability.signals import METRICS, SERVICE_NAMESPACE
from observability_checks.contract.attributes import RECORD_ATTRIBUTES, SPAN_ATTRIBUTES
from observability_checks.contract.sources import IDENTITY
from telemetry_queries.sources import SERVICES
from tests.collector import (
    CONFIG,
    CORRELATION_ID,
    SPAN_ID,
    TRACE_ID,
    Collector,
    Sink,
    access_line,
    append,
    one_record,
    running_sink,
    wait_for,
)
from tests.programs import binary

SECRET = "s3cr3t-value"


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """What stands behind the collector."""
    with running_sink() as running:
        yield running


@pytest.fixture(scope="module")
def collector(sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A running collector."""
    folder = tmp_path_factory.mktemp("collector")
    running = Collector(
        binary("otelcol"), folder, str(folder / "postgresql.json"), sink.http_port, sink.traces_port
    )
    running.start()
    yield running
    running.end()


def test_the_defaults_alone_are_a_valid_configuration() -> None:
    """Docker sets no variable that it need not set."""
    result = subprocess.run(
        [binary("otelcol"), "validate", "--config", CONFIG],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_memory_limiter_is_first_in_every_pipeline() -> None:
    """What comes before it could fill the memory unseen."""
    pipelines = yaml.safe_load(CONFIG.read_text())["service"]["pipelines"]
    assert {pipeline["processors"][0] for pipeline in pipelines.values()} == {"memory_limiter"}


def test_every_exporter_keeps_its_queue_on_disk_and_never_gives_up() -> None:
    """A back end may be away for as long as the queue lasts."""
    exporters = yaml.safe_load(CONFIG.read_text())["exporters"].values()
    assert {exporter["sending_queue"]["storage"] for exporter in exporters} == {"file_storage"}
    assert {exporter["retry_on_failure"]["max_elapsed_time"] for exporter in exporters} == {"0s"}


def test_access_line_keeps_its_fields(collector: Collector, sink: Sink) -> None:
    """Message, level, time, ids, tenant and context are where the contract wants them."""
    append(collector.access_log, access_line("PUT keeps 200"))
    record = one_record(sink, "nginx", lambda record: record.body == "PUT keeps 200")
    assert (record.level, record.trace_id, record.span_id) == ("INFO", TRACE_ID, SPAN_ID)
    assert record.time == pytest.approx(1795564149.894, abs=0.001)
    assert record.resource == {
        "service.name": "nginx",
        "service.namespace": "robin",
        "service.version": "1.31",
        "service.instance.id": "nginx",
        "deployment.environment.name": "test",
    }
    assert record.attributes == {
        "correlation_id": CORRELATION_ID,
        "client_id": "acme",
        "logger": "nginx.access",
        "context_data.client_id": "acme",
        "context_data.method": "PUT",
        "context_data.path": "/clients/acme/upload-document",
        "context_data.status": 200,
        "context_data.duration": 0.012,
        "context_data.bytes_received": 321,
        "context_data.bytes_sent": 555,
        "context_data.upstream": "127.0.0.1:8000",
        "context_data.upstream_status": "200",
        "context_data.upstream_duration": "0.011",
    }


def test_access_line_without_trace_and_tenant_is_no_error(collector: Collector, sink: Sink) -> None:
    """Nobody behind nginx answered: its ids are empty, and nothing complains."""
    said = len(collector.own_log)
    context = {"client_id": "", "status": 502, "upstream": ""}
    append(
        collector.access_log,
        access_line("GET empty 502", level="ERROR", trace_id="", span_id="", context_data=context),
    )
    record = one_record(sink, "nginx", lambda record: record.body == "GET empty 502")
    assert (record.level, record.trace_id, record.span_id) == ("ERROR", "", "")
    assert "client_id" not in record.attributes
    assert "Failed to process entry" not in collector.own_log[said:]
    assert "failed to execute statement" not in collector.own_log[said:]


def test_access_line_after_an_unreadable_one_arrives(collector: Collector, sink: Sink) -> None:
    """Half a line of a crash stops nothing."""
    append(collector.access_log, '{"timestamp": 17955\n', access_line("PUT after 200"))
    one_record(sink, "nginx", lambda record: record.body == "PUT after 200")


def test_log_records_of_a_service_get_the_names_of_the_contract(collector: Collector, sink: Sink) -> None:
    """The SDK says WARN, keeps the logger in the scope and nests the context."""
    provider = LoggerProvider(resource=Resource({"service.name": "logging-service"}))
    exporter = OTLPLogExporter(endpoint=f"http://127.0.0.1:{collector.grpc_port}", insecure=True)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = logging.getLogger("documents.upload")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(LoggingHandler(logger_provider=provider))
    context = {"size": 5, "password": SECRET}
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(
            level,
            "written",
            extra={"context_data": context, "api_key": SECRET, "request": {"password": SECRET}},
        )
    logger.handlers.clear()
    provider.shutdown()
    wait_for(lambda: len(sink.records_of("logging-service")) == 5, "five records arrive")
    records = sink.records_of("logging-service")
    assert [record.level for record in records] == ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    assert records[0].attributes["logger"] == "documents.upload"
    assert records[0].attributes["context_data.size"] == 5
    assert records[0].resource["deployment.environment.name"] == "test"
    assert SECRET not in sink.everything()


def test_secrets_are_masked_in_spans(collector: Collector, sink: Sink) -> None:
    """Whoever puts a header or a parameter on a span by mistake stores none."""
    provider = TracerProvider(resource=Resource({"service.name": "tracing-service"}))
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{collector.grpc_port}", insecure=True)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    attributes: dict[str, str | int] = {
        "http.request.header.authorization": SECRET,
        "db.query.parameter.0": SECRET,
        "access_token": SECRET,
        "gen_ai.usage.input_tokens": 7,
        "correlation_id": CORRELATION_ID,
    }
    provider.get_tracer("test").start_span("cleaned", attributes=attributes).end()
    provider.shutdown()
    span = wait_for(lambda: sink.spans().get("cleaned"), "the span arrives")
    assert span == {
        "service.name": "tracing-service",
        "deployment.environment.name": "test",
        **dict.fromkeys(
            ("http.request.header.authorization", "db.query.parameter.0", "access_token"), "****"
        ),
        "gen_ai.usage.input_tokens": 7,
        "correlation_id": CORRELATION_ID,
    }


def test_no_name_that_speaks_of_a_secret_goes_unasked() -> None:
    """The list of harmless names is for speed: it lets nothing through that the patterns hold back."""
    processors = yaml.safe_load(CONFIG.read_text())["processors"]
    redaction = processors["redaction/secrets"]
    patterns = [re.compile(pattern) for pattern in redaction["blocked_key_patterns"]]

    harmless = redaction["ignored_keys"]

    assert [name for name in harmless if any(pattern.search(name) for pattern in patterns)] == []
    assert sorted(harmless) == harmless


def test_harmless_names_are_those_of_the_contract() -> None:
    """What nobody sends needs no exception, and whose values clients choose must not have one."""
    harmless = set(yaml.safe_load(CONFIG.read_text())["processors"]["redaction/secrets"]["ignored_keys"])
    labels = {label for metric in METRICS for label in metric.labels}

    assert harmless <= SPAN_ATTRIBUTES.keys() | RECORD_ATTRIBUTES.keys() | labels | IDENTITY
    # nginx's path is its client's; a problem's detail and an exception's text are asked about as well.
    assert not harmless & {"context_data.path", "problem.detail", "exception.message", "user_agent.original"}


def test_everything_that_is_stored_was_asked_about() -> None:
    """In every pipeline but that of the machine's own metrics; and strangers are all but the two services."""
    config = yaml.safe_load(CONFIG.read_text())
    unasked = {
        name
        for name, pipeline in config["service"]["pipelines"].items()
        if "redaction/secrets" not in pipeline["processors"]
    }
    assert unasked == {"metrics/host"}

    transforms = [config["processors"][name] for name in ("transform/strangers", "transform/strangers_named")]
    conditions = {
        condition
        for transform in transforms
        for kind in ("trace_statements", "metric_statements", "log_statements")
        for group in transform[kind]
        for condition in group["conditions"]
    }
    scopes = (f'scope.name != "{SERVICE_NAMESPACE}.{service}"' for service in SERVICES)
    assert conditions == {" and ".join(scopes)}


def test_metrics_of_services_and_of_the_host_arrive(collector: Collector, sink: Sink) -> None:
    """Prometheus gets both from the collector."""
    exporter = OTLPMetricExporter(endpoint=f"http://127.0.0.1:{collector.grpc_port}", insecure=True)
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter)], Resource({"service.name": "metric-service"})
    )
    provider.get_meter("test").create_counter("http_requests").add(1)
    provider.shutdown()
    wait_for(lambda: sink.metric_names("metric-service") == {"http_requests"}, "the counter arrives")
    expected = {
        "system.cpu.time",
        "system.cpu.load_average.1m",
        "system.memory.usage",
        "system.filesystem.usage",
    }
    wait_for(lambda: expected <= sink.metric_names("host"), "the host's metrics arrive")


def test_collector_tells_of_its_own_queues(collector: Collector) -> None:
    """Prometheus scrapes what the collector knows of itself."""
    assert "otelcol_exporter_queue_size" in collector.get(collector.metrics_port, "/metrics")


def test_log_store_is_told_which_fields_make_a_stream(collector: Collector, sink: Sink) -> None:
    """VictoriaLogs needs a header for it, and service.instance.id must not be among them."""
    append(collector.access_log, access_line("PUT header 200"))
    one_record(sink, "nginx", lambda record: record.body == "PUT header 200")
    assert sink.log_headers[0]["Vl-Stream-Fields"] == "service.name,severity_text"

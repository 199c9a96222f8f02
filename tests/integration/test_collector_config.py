"""The collector's configuration in a real collector, between real senders and a sink that speaks OTLP."""

import gzip
import json
import logging
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import grpc  # type: ignore[import-untyped, unused-ignore]
import psycopg2
import pytest
import yaml
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from local_stack.postgres import Cluster, database_url, outside_home, place
from local_stack.state import State
from tests.ports import free_port
from tests.programs import binary
from tests.waiting import eventually

CONFIG = Path(__file__).parents[2] / "otel-collector-config.yaml"
DEADLINE = 30
wait_for = partial(eventually, seconds=DEADLINE)
SECRET = "s3cr3t-value"
CORRELATION_ID = "0b6e8d9e-6f2f-4d5a-9d2c-0d4f1c2a3b4c"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
SQL_COMMENT = f"/*correlation_id='{CORRELATION_ID}',traceparent='00-{TRACE_ID}-{SPAN_ID}-03'*/"


@dataclass(frozen=True)
class Record:
    """A log record as a log store gets it."""

    body: str
    level: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    trace_id: str
    span_id: str
    time: float


@dataclass
class Sink:
    """Stands where Jaeger, Prometheus and the log store are, and keeps what it gets."""

    http: ThreadingHTTPServer
    traces_port: int
    logs: list[ExportLogsServiceRequest] = field(default_factory=list)
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)
    traces: list[ExportTraceServiceRequest] = field(default_factory=list)
    log_headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def http_port(self) -> int:
        """The port for logs and metrics."""
        return int(self.http.server_address[1])

    def records(self) -> list[Record]:
        """Return every log record so far."""
        return [
            Record(
                body=record.body.string_value,
                level=record.severity_text,
                attributes=_as_dict(record.attributes),
                resource=_as_dict(resource.resource.attributes),
                trace_id=record.trace_id.hex(),
                span_id=record.span_id.hex(),
                time=record.time_unix_nano / 1e9,
            )
            for request in list(self.logs)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def records_of(self, service: str) -> list[Record]:
        """Return the log records of one service."""
        return [record for record in self.records() if record.resource["service.name"] == service]

    def metric_names(self, service: str) -> set[str]:
        """Return the names of one service's metrics."""
        return {
            metric.name
            for request in list(self.metrics)
            for resource in request.resource_metrics
            if _as_dict(resource.resource.attributes)["service.name"] == service
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def spans(self) -> dict[str, dict[str, Any]]:
        """Return every span's attributes by name, its resource's among them."""
        return {
            span.name: _as_dict(resource.resource.attributes) | _as_dict(span.attributes)
            for request in list(self.traces)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    def everything(self) -> str:
        """Return all that came in, as text."""
        return "".join(str(request) for request in [*self.logs, *self.metrics, *self.traces])


def _as_dict(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}


@contextmanager
def _running_sink(http_port: int = 0) -> Iterator[Sink]:
    """Run the sink on a free port, or on the one it had."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(raw) if self.headers["Content-Encoding"] == "gzip" else raw
            if self.path == "/v1/logs":
                kept.log_headers.append(dict(self.headers))
                kept.logs.append(ExportLogsServiceRequest.FromString(body))
            else:
                kept.metrics.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: pytest shows what failed."""

    class Traces(TraceServiceServicer):  # type: ignore[misc, unused-ignore]
        def Export(self, request: ExportTraceServiceRequest, _: Any) -> ExportTraceServiceResponse:  # noqa: N802
            kept.traces.append(request)
            return ExportTraceServiceResponse()

    grpc_server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(Traces(), grpc_server)  # type: ignore[no-untyped-call, unused-ignore]
    traces_port = grpc_server.add_insecure_port("127.0.0.1:0")
    http = ThreadingHTTPServer(("127.0.0.1", http_port), Handler)
    http.daemon_threads = True
    kept = Sink(http, traces_port)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    grpc_server.start()
    try:
        yield kept
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
        grpc_server.stop(None).wait()


@dataclass
class Collector:
    """A collector with the project's configuration, its files in one folder."""

    binary: Path
    folder: Path
    postgres_log: str
    http_port: int
    traces_port: int
    grpc_port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def access_log(self) -> Path:
        """Where nginx would write."""
        return self.folder / "access.json"

    @property
    def own_log(self) -> str:
        """What the collector said itself."""
        return (self.folder / "collector.log").read_text()

    def start(self) -> None:
        """Start it and wait until it says that it is up."""
        environment = {
            "OTLP_GRPC_LISTEN": f"127.0.0.1:{self.grpc_port}",
            "COLLECTOR_HEALTH_LISTEN": f"127.0.0.1:{self.health_port}",
            "COLLECTOR_METRICS_HOST": "127.0.0.1",
            "COLLECTOR_METRICS_PORT": str(self.metrics_port),
            "COLLECTOR_STORAGE_DIR": str(self.folder / "storage"),
            "JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{self.traces_port}",
            "PROMETHEUS_OTLP_ENDPOINT": f"http://127.0.0.1:{self.http_port}/v1/metrics",
            "LOGS_OTLP_ENDPOINT": f"http://127.0.0.1:{self.http_port}/v1/logs",
            "NGINX_ACCESS_LOG": str(self.access_log),
            "POSTGRES_LOG": self.postgres_log,
            "DEPLOYMENT_ENVIRONMENT": "test",
        }
        with (self.folder / "collector.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "--config", CONFIG], env=environment, stdout=log, stderr=log
            )
        wait_for(lambda: self.get(self.health_port, "/"), "the collector is up")

    def get(self, port: int, path: str) -> str:
        """Return the answer to a GET; nothing while nobody answers."""
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except (URLError, ConnectionError):
            return ""

    def accepted_lines(self) -> int:
        """Return how many lines of nginx's log it has taken since it started."""
        metrics = self.get(self.metrics_port, "/metrics")
        found = re.search(
            r'^otelcol_receiver_accepted_log_records\S*{.*"file_log/nginx".*} (\d+)$', metrics, re.MULTILINE
        )
        return int(found[1]) if found else 0

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop or kill it."""
        if self.process:
            self.process.send_signal(how)
            self.process.wait(DEADLINE)
            self.process = None


@pytest.fixture(scope="module")
def postgres() -> Iterator[Cluster]:
    """A real PostgreSQL with the settings of the local stack."""
    # Not below pytest's folder: that is closed to the user PostgreSQL runs as when root runs the tests.
    root = Path(tempfile.mkdtemp(prefix="robin-collector-"))
    root.chmod(0o755)
    cluster = place(State(root), free_port())
    cluster.initialise("password")
    service = cluster.service()
    process = subprocess.Popen(
        service.command, cwd=service.directory, user=service.user, stderr=subprocess.DEVNULL, env={}
    )
    try:
        wait_for(lambda: _answers(cluster), "PostgreSQL answers")
        yield cluster
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE)
        shutil.rmtree(outside_home(State(root)), ignore_errors=True)
        shutil.rmtree(root)


def _answers(cluster: Cluster) -> bool:
    try:
        _connect(cluster).close()
    except psycopg2.OperationalError:
        return False
    return True


def _connect(cluster: Cluster) -> Any:
    connection = psycopg2.connect(database_url(cluster.port, "password"))
    connection.autocommit = True
    return connection


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """What stands behind the collector."""
    with _running_sink() as running:
        yield running


@pytest.fixture(scope="module")
def collector(postgres: Cluster, sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A running collector that reads the real PostgreSQL's log."""
    running = Collector(
        binary("otelcol"),
        tmp_path_factory.mktemp("collector"),
        str(postgres.logs / "*.json"),
        sink.http_port,
        sink.traces_port,
    )
    running.start()
    yield running
    running.end()


def access_line(message: str, **changes: Any) -> str:
    """Return a line as nginx writes it."""
    line = {
        "timestamp": 1795564149.894,
        "level": "INFO",
        "service": "nginx",
        "correlation_id": CORRELATION_ID,
        "log_message": message,
        "context_data": {
            "client_id": "acme",
            "method": "PUT",
            "path": "/clients/acme/upload-document",
            "status": 200,
            "duration": 0.012,
            "bytes_received": 321,
            "bytes_sent": 555,
            "upstream": "127.0.0.1:8000",
            "upstream_status": "200",
            "upstream_duration": "0.011",
        },
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
    }
    return json.dumps(line | changes) + "\n"


def append(path: Path, *lines: str) -> None:
    """Append lines as a program does that keeps its log open."""
    with path.open("a") as stream:
        stream.writelines(lines)


def one_record(sink: Sink, service: str, wanted: Callable[[Record], bool]) -> Record:
    """Wait for the one record of a service that is wanted."""
    found = wait_for(
        lambda: [record for record in sink.records_of(service) if wanted(record)], "the record arrives"
    )
    assert len(found) == 1
    return found[0]


def of_statement(postgres_pid: int, body: str) -> Callable[[Record], bool]:
    """Return what picks the record of one session with one body."""
    return lambda record: record.body == body and record.attributes["context_data.pid"] == postgres_pid


def run_and_tell_pid(postgres: Cluster, statement: str) -> int:
    """Run a statement that may fail in a session of its own, and return the session's process id."""
    with closing(_connect(postgres)) as connection, connection.cursor() as cursor:
        pid = int(connection.info.backend_pid)
        try:
            cursor.execute(statement)
        except psycopg2.Error:
            return pid
    return pid


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


def test_slow_statement_loses_its_text_and_keeps_its_duration(
    collector: Collector, sink: Sink, postgres: Cluster
) -> None:
    """psycopg2 wrote the values into the text; the ids come out of the comment."""
    pid = run_and_tell_pid(postgres, f"SELECT pg_sleep(0.3), '{SECRET}' {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "slow statement"))
    assert (record.level, record.trace_id, record.span_id) == ("WARNING", TRACE_ID, SPAN_ID)
    assert 0.3 <= record.attributes.pop("context_data.duration") < DEADLINE
    assert record.time == pytest.approx(time.time(), abs=DEADLINE)
    assert record.attributes == {
        "correlation_id": CORRELATION_ID,
        "logger": "postgresql",
        "context_data.pid": pid,
        "db.system.name": "postgresql",
        "db.namespace": "robin",
        "db.operation.name": "SELECT",
    }
    assert SECRET not in sink.everything()


AHEAD = pytest.mark.parametrize(
    "ahead",
    [
        "",
        "BEGIN; ",
        "BEGIN; SET LOCAL robin.client_id = 'acme'; ",
        "SET LOCAL robin.client_id = 'acme'; SET LOCAL synchronous_commit = off; ",
    ],
)


@AHEAD
def test_slow_statement_that_begins_with_a_subquery_has_its_operation(
    collector: Collector, sink: Sink, postgres: Cluster, ahead: str
) -> None:
    """As a read that is audited does, which takes the tenant of its transaction along."""
    select = "WITH one AS \n(SELECT coalesce(1, (2)) AS a)\n SELECT pg_sleep(0.3), a FROM one"
    pid = run_and_tell_pid(postgres, f"{ahead}{select} {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "slow statement"))
    assert record.attributes["db.operation.name"] == "SELECT"
    assert (record.attributes["correlation_id"], record.trace_id) == (CORRELATION_ID, TRACE_ID)


@AHEAD
def test_a_statement_that_writes_first_has_that_as_its_operation(
    collector: Collector, sink: Sink, postgres: Cluster, ahead: str
) -> None:
    """The one that stores a document ends in a SELECT of what it stored."""
    insert = (
        "WITH client AS (INSERT INTO nowhere (a, b) SELECT 1, coalesce(2, 3) RETURNING a),"
        " audit AS (INSERT INTO nowhere (a) SELECT a FROM client) SELECT a FROM client"
    )
    pid = run_and_tell_pid(postgres, f"{ahead}{insert} {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "statement failed"))
    assert record.attributes["db.operation.name"] == "INSERT"
    assert (record.attributes["correlation_id"], record.trace_id) == (CORRELATION_ID, TRACE_ID)


def test_failed_statement_keeps_its_code_and_loses_every_text(
    collector: Collector, sink: Sink, postgres: Cluster
) -> None:
    """PostgreSQL's message quotes the value that it did not like."""
    pid = run_and_tell_pid(postgres, f"SELECT '{SECRET}'::int {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "statement failed"))
    assert (record.level, record.trace_id) == ("ERROR", TRACE_ID)
    assert record.attributes["db.response.status_code"] == "22P02"
    assert record.attributes["correlation_id"] == CORRELATION_ID
    assert SECRET not in sink.everything()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("warning", ("WARNING", "statement raised a notice")), ("log", ("INFO", "statement logged"))],
)
def test_message_raised_by_a_statement_loses_its_text(
    collector: Collector, sink: Sink, postgres: Cluster, kind: str, expected: tuple[str, str]
) -> None:
    """What a statement says of itself may hold values too."""
    pid = run_and_tell_pid(postgres, f"DO $$ BEGIN RAISE {kind} '{SECRET}'; END $$ {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, expected[1]))
    assert record.level == expected[0]
    assert SECRET not in sink.everything()


def test_comment_inside_a_value_is_not_believed(collector: Collector, sink: Sink, postgres: Cluster) -> None:
    """A client may upload a text that looks like our comment."""
    forged = SQL_COMMENT.replace(CORRELATION_ID, "f" * 36)
    pid = run_and_tell_pid(postgres, f"SELECT pg_sleep(0.3), $t${forged}\n{forged}$t$ {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "slow statement"))
    assert record.attributes["correlation_id"] == CORRELATION_ID


def test_server_message_without_a_statement_is_kept(collector: Collector, sink: Sink) -> None:
    """What PostgreSQL says of itself is worth reading."""
    record = one_record(sink, "postgresql", lambda record: "ready to accept connections" in record.body)
    assert (record.level, record.trace_id) == ("INFO", "")


def test_unreadable_line_of_postgresql_is_dropped(
    collector: Collector, sink: Sink, postgres: Cluster
) -> None:
    """What cannot be read cannot be cleared of values."""
    append(postgres.logs / "unreadable.json", f'{{"message": "{SECRET}\n')
    pid = run_and_tell_pid(postgres, "SELECT 1/0")
    one_record(sink, "postgresql", of_statement(pid, "statement failed"))
    wait_for(
        lambda: "expected" in collector.own_log and "drop" in collector.own_log,
        "the collector says that it dropped",
    )
    assert SECRET not in sink.everything() + collector.own_log


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


def test_nothing_is_lost_or_doubled_when_store_and_collector_die(tmp_path: Path) -> None:
    """Lines read while the store is away lie on disk, also for the collector that comes after a kill -9."""
    collector = Collector(binary("otelcol"), tmp_path, str(tmp_path / "no.json"), free_port(), free_port())
    append(collector.access_log, *(access_line(f"before {i}") for i in range(50)))
    try:
        collector.start()
        append(collector.access_log, *(access_line(f"during {i}") for i in range(50)))
        wait_for(lambda: collector.accepted_lines() == 100, "the collector takes what is there")
        collector.end(signal.SIGKILL)
        append(collector.access_log, *(access_line(f"after {i}") for i in range(50)))
        with _running_sink(collector.http_port) as sink:
            collector.start()
            wait_for(lambda: len(sink.records()) >= 150, "all lines arrive")
            append(collector.access_log, access_line("last"))
            one_record(sink, "nginx", lambda record: record.body == "last")
            bodies = [record.body for record in sink.records()]
            collector.end()
    finally:
        collector.end(signal.SIGKILL)
    expected = [f"{when} {i}" for when in ("before", "during", "after") for i in range(50)]
    assert sorted(bodies) == sorted([*expected, "last"])

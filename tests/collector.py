"""A real collector with the project's configuration, and what stands behind it: a sink that speaks OTLP."""

import gzip
import json
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import grpc  # type: ignore[import-untyped, unused-ignore]
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

from local_stack.back_ends import COLLECTOR_GATE
from tests.ports import free_port
from tests.waiting import eventually

CONFIG = Path(__file__).parents[1] / "otel-collector-config.yaml"
TAIL_CONFIG = CONFIG.with_name("otel-collector-tail.yaml")
DEADLINE = 30
wait_for = partial(eventually, seconds=DEADLINE)
CORRELATION_ID = "0b6e8d9e-6f2f-4d5a-9d2c-0d4f1c2a3b4c"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"


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
def running_sink(http_port: int = 0) -> Iterator[Sink]:
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
    configs: tuple[Path | str, ...] = (CONFIG,)
    grpc_port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

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
            "NGINX_ACCESS_LOG": f"{self.access_log}*",  # as the local stack has it
            "POSTGRES_LOG": self.postgres_log,
            "DEPLOYMENT_ENVIRONMENT": "test",
            **self.environment,
        }
        with (self.folder / "collector.log").open("ab") as log:
            options = [word for config in self.configs for word in ("--config", config)]
            command = [self.binary, COLLECTOR_GATE, *options]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
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

"""`python -m document_api` as a process: what it sends, how it ends, and what uvicorn's flags are for."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.otlp import receiving
from tests.ports import free_port
from tests.telemetry_spy import Tree
from tests.waiting import until_up

CHECKOUT: Final = Path(__file__).parents[2]
SECONDS: Final = 30
KEPT: Final = "0f8fad5b-d9cb-469f-a165-70867728950e"
HOUR: Final = "3600000"
UPLOAD: Final = "/clients/acme/upload-document"


class Sink(
    trace_service_pb2_grpc.TraceServiceServicer,
    metrics_service_pb2_grpc.MetricsServiceServicer,
    logs_service_pb2_grpc.LogsServiceServicer,
):
    """A collector that keeps what it gets; `gate` holds its answers back while it is closed."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.spans: list[tuple[str, Any]] = []
        self.lines: list[tuple[str, Any]] = []
        self.metrics: set[tuple[str, str]] = set()

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802  gRPC's signature
        """Keep one batch of any signal."""
        self.gate.wait()
        if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
            for resource in request.resource_spans:
                service = attributes_of(resource.resource)["service.name"]
                self.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
            return trace_service_pb2.ExportTraceServiceResponse()
        if isinstance(request, logs_service_pb2.ExportLogsServiceRequest):
            for resource in request.resource_logs:
                service = attributes_of(resource.resource)["service.name"]
                self.lines += [(service, line) for scope in resource.scope_logs for line in scope.log_records]
            return logs_service_pb2.ExportLogsServiceResponse()
        for resource in request.resource_metrics:
            service = attributes_of(resource.resource)["service.name"]
            self.metrics |= {(service, m.name) for scope in resource.scope_metrics for m in scope.metrics}
        return metrics_service_pb2.ExportMetricsServiceResponse()


def attributes_of(message: Any) -> dict[str, Any]:
    """Return the attributes of a protobuf message as plain values."""
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
        for pair in message.attributes
    }


@pytest.fixture
def sink() -> Iterator[tuple[Sink, str]]:
    """A collector, and the endpoint at which it listens."""
    sink = Sink()
    with receiving(sink, threads=8) as endpoint:
        yield sink, endpoint
        sink.gate.set()


@contextmanager
def running(module: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a service, and lend process and URL once it answers."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "PORT": str(port), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until_up(process, lambda: _answers(url), seconds=SECONDS)
        yield process, url
    finally:
        process.kill()
        process.communicate()


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return bool(httpx.get(f"{url}/health", timeout=10).status_code)
    return False


def stopped(process: subprocess.Popen[str]) -> str:
    """Stop a service as its supervisor does, and return what it wrote."""
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=SECONDS)[0]


def slow(endpoint: str) -> dict[str, str]:
    """Send telemetry there, but not within the hour: what arrives was flushed at the end."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": HOUR,
        "OTEL_BLRP_SCHEDULE_DELAY": HOUR,
        "OTEL_METRIC_EXPORT_INTERVAL": HOUR,
    }


def put(url: str, content: bytes = b"Hello. This is a text.") -> httpx.Response:
    """Upload a document."""
    return httpx.put(
        f"{url}{UPLOAD}",
        files={"file": ("a.txt", content, "text/plain")},
        headers={"X-Correlation-ID": KEPT},
        timeout=SECONDS,
    )


def tree_of(spans: list[tuple[str, Any]], parent: bytes = b"") -> Tree:
    """Return the spans below one, named by service and name, in the order of their start."""
    below = sorted(
        (found for found in spans if found[1].parent_span_id == parent),
        key=lambda found: found[1].start_time_unix_nano,
    )
    return {f"{service} {span.name}": tree_of(spans, span.span_id) for service, span in below}


def test_sigterm_flushes_one_trace_of_both_services(
    database_url: str, tmp_path: Path, sink: tuple[Sink, str]
) -> None:
    """The whole contract through real OTLP: tree, log lines and metrics, all of one correlation ID."""
    collector, endpoint = sink
    with (
        running("data_store", DATABASE_URL=database_url, **slow(endpoint)) as (store, store_url),
        running("document_api", DATA_STORE_URL=store_url, UPLOAD_DIR=str(tmp_path), **slow(endpoint)) as (
            api,
            url,
        ),
    ):
        assert put(url).status_code == 200
        assert collector.spans == []
        outputs = [stopped(api), stopped(store)]

    assert tree_of(collector.spans) == {
        "document-api PUT /clients/{client_id}/upload-document": {
            "document-api upload_document": {
                "document-api file_processing": {"document-api file_read": {}, "document-api file_save": {}},
                "document-api llm_summarization": {},
                "document-api store_metadata": {
                    "document-api POST": {
                        "data-store POST /clients/{client_id}/documents": {
                            "data-store database_connection": {},
                            "data-store sql_execution": {},
                            "data-store transaction_commit": {},
                        }
                    }
                },
            }
        }
    }
    assert {attributes_of(span)["correlation_id"] for _, span in collector.spans} == {KEPT}
    assert len({span.trace_id for _, span in collector.spans}) == 1
    lines = [(name, line) for name, line in collector.lines if line.trace_id]
    assert {(service, attributes_of(line)["correlation_id"]) for service, line in lines} == {
        ("document-api", KEPT),
        ("data-store", KEPT),
    }
    assert {
        ("document-api", "documents_uploaded"),
        ("data-store", "database_operations"),
    } <= collector.metrics
    assert {("document-api", "event_loop_lag"), ("document-api", "process.memory.usage")} <= collector.metrics
    assert all("Traceback" not in output for output in outputs)


def test_without_a_collector_requests_are_served_and_sigterm_ends_in_time(tmp_path: Path) -> None:
    """A collector that is away costs no request anything, and its absence does not hold the end up."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    with running(
        "document_api",
        UPLOAD_DIR=str(tmp_path),
        OTEL_EXPORTER_OTLP_ENDPOINT=nowhere,
        DATA_STORE_URL=nowhere,
        DATA_STORE_DEADLINE_SECONDS="0.1",
    ) as (process, url):
        begun = time.monotonic()
        assert put(url).status_code == 503
        assert time.monotonic() - begun < 2
        begun = time.monotonic()
        stopped(process)
        assert time.monotonic() - begun < 10


def test_a_collector_that_hangs_does_not_hold_the_end_up(tmp_path: Path, sink: tuple[Sink, str]) -> None:
    """It takes the connection and never answers: the end is bounded, and says what was lost."""
    collector, endpoint = sink
    collector.gate.clear()
    with running("document_api", UPLOAD_DIR=str(tmp_path), DATA_STORE_URL=endpoint, **slow(endpoint)) as (
        process,
        url,
    ):
        httpx.get(f"{url}/nowhere")
        begun = time.monotonic()
        output = stopped(process)
        assert time.monotonic() - begun < 10
    assert "Telemetry not flushed within" in output


def test_with_telemetry_disabled_the_service_serves(tmp_path: Path) -> None:
    """OTEL_SDK_DISABLED is the standard's switch; IDs and logs stay."""
    with running("document_api", UPLOAD_DIR=str(tmp_path), OTEL_SDK_DISABLED="true") as (process, url):
        answer = httpx.get(f"{url}/nowhere", headers={"X-Correlation-ID": KEPT})
        output = stopped(process)

    assert answer.json()["correlation_id"] == KEPT
    assert "traceresponse" not in answer.headers
    assert KEPT in output
    assert "Traceback" not in output


def pipelined(url: str, count: int) -> list[dict[str, str]]:
    """Send requests without waiting for answers, on one connection; return what each answer's headers say."""
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 100_000
    body += b"\r\n--b--\r\n"
    head = (
        f"PUT {UPLOAD} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    ).encode()
    host, port = url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        sender = threading.Thread(target=connection.sendall, args=((head + body) * count,))
        sender.start()
        while received.count(b'"correlation_id"') < count:
            data = connection.recv(65536)
            assert data, received
            received += data
        sender.join()
    return [
        {"id": id_.decode(), "trace": trace.decode()}
        for id_, trace in re.findall(
            rb"x-correlation-id: (\S+)\r\n.*?traceresponse: 00-(\w+)", received, re.IGNORECASE | re.DOTALL
        )
    ]


def test_requests_on_one_connection_do_not_share_their_context(tmp_path: Path) -> None:
    """Large bodies, pipelined: each has an ID and a trace of its own."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    with running(
        "document_api",
        UPLOAD_DIR=str(tmp_path),
        OTEL_EXPORTER_OTLP_ENDPOINT=nowhere,
        DATA_STORE_URL=nowhere,
        DATA_STORE_DEADLINE_SECONDS="0.1",
    ) as (_, url):
        answers = pipelined(url, 5)

    assert len(answers) == 5
    assert len({answer["id"] for answer in answers}) == 5
    assert len({answer["trace"] for answer in answers}) == 5


REMEMBERS: Final = """
from contextvars import ContextVar
from observability.service import ServiceSettings, serve
seen = ContextVar("seen", default=0)
def app():
    async def answer(scope, receive, send):
        if scope["type"] != "http":
            return
        if scope["path"] == "/set":
            while (await receive()).get("more_body"):
                pass
        body = str(seen.get()).encode()
        seen.set(seen.get() + 1)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    return answer
if __name__ == "__main__":
    serve("remembers:app", ServiceSettings())
"""


def test_services_are_served_with_a_fresh_context_for_each_request(tmp_path: Path) -> None:
    """What one request puts into a context variable, the next on its connection does not see."""
    (tmp_path / "remembers.py").write_text(REMEMBERS)
    with running("remembers", PYTHONPATH=f"{tmp_path}:{CHECKOUT}") as (_, url):
        host, port = url.removeprefix("http://").split(":")
        received = b""
        with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
            request = b"PUT /set HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
            sender = threading.Thread(target=connection.sendall, args=(request * 20,))
            sender.start()
            while len(re.findall(rb"\r\n\r\n\d", received)) < 20:
                data = connection.recv(65536)
                assert data, received
                received += data
            sender.join()

    assert set(re.findall(rb"\r\n\r\n(\d)", received)) == {b"0"}


def test_a_port_that_is_taken_ends_the_start_without_a_stack_trace(tmp_path: Path) -> None:
    """The line says which address is in use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "document_api"],
            cwd=CHECKOUT,
            env={
                "PATH": os.environ["PATH"],
                "PORT": port,
                "UPLOAD_DIR": str(tmp_path),
                "OTEL_SDK_DISABLED": "true",
            },
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    assert done.returncode == 2
    assert done.stderr == f"HOST, PORT: cannot listen on 127.0.0.1:{port}: Address already in use\n"

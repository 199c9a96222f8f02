"""`python -m data_store` as a process: how it starts, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
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

from tests.integration.conftest import OWNER, PostgreSQL
from tests.otlp import receiving
from tests.ports import free_port
from tests.records import DOCUMENT, DOCUMENTS
from tests.waiting import until_up

CHECKOUT: Final = Path(__file__).parents[2]
SECONDS: Final = 30


class Collector(
    trace_service_pb2_grpc.TraceServiceServicer,
    metrics_service_pb2_grpc.MetricsServiceServicer,
    logs_service_pb2_grpc.LogsServiceServicer,
):
    """Takes OTLP over gRPC and keeps it as text."""

    def __init__(self) -> None:
        self.received: dict[str, str] = {"traces": "", "metrics": "", "logs": ""}
        self._lock = threading.Lock()

    def _keep(self, signal_name: str, request: object) -> None:
        with self._lock:
            self.received[signal_name] += str(request)

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802  gRPC's signature
        """Keep one batch of any signal."""
        if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
            self._keep("traces", request)
            return trace_service_pb2.ExportTraceServiceResponse()
        if isinstance(request, metrics_service_pb2.ExportMetricsServiceRequest):
            self._keep("metrics", request)
            return metrics_service_pb2.ExportMetricsServiceResponse()
        self._keep("logs", request)
        return logs_service_pb2.ExportLogsServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    """A collector, and the endpoint at which it listens."""
    collector = Collector()
    with receiving(collector, threads=3) as endpoint:
        yield collector, endpoint


def environment(**variables: str) -> dict[str, str]:
    """Return an environment with nothing of robin but these variables; telemetry is off unless they turn it on."""
    return {"PATH": os.environ["PATH"], "OTEL_SDK_DISABLED": "true", **variables}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m data_store` to its end."""
    command = [sys.executable, "-m", "data_store", *arguments]
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@contextmanager
def serving(port: int, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run `python -m data_store`, and lend it once it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "data_store"],
        cwd=CHECKOUT,
        env=environment(PORT=str(port), **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until_up(process, lambda: _answers(port), seconds=SECONDS)
        yield process
    finally:
        process.kill()
        process.communicate()


def _answers(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    return False


def test_the_command_migrate_migrates_and_ends(postgresql: PostgreSQL) -> None:
    """Exit 0, the tables are there, and the log says what was done."""
    database = postgresql.create_database()
    done = run("migrate", DATABASE_URL=postgresql.owner_url(database))
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert any(line["log_message"].startswith("Running upgrade") for line in lines)
    assert postgresql.count(database, "document_metadata") == 0


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({}, "DATABASE_URL: Field required\n"),
        ({"DATABASE_URL": "postgresql://127.0.0.1/robin", "PORT": "many"}, "PORT: Input should be"),
    ],
)
def test_a_bad_configuration_ends_the_start_with_one_line(variables: dict[str, str], line: str) -> None:
    """Exit 2, and stderr names the variable."""
    done = run(**variables)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_a_database_that_stays_away_ends_the_start_with_one_line(postgresql: PostgreSQL) -> None:
    """Exit 1, no stack trace, so that the supervisor can try again."""
    done = run(DATABASE_URL=postgresql.url("not_there"), DATABASE_WAIT_SECONDS="0")
    assert done.returncode == 1
    assert [json.loads(line)["level"] for line in done.stdout.splitlines()] == ["CRITICAL"]
    assert done.stderr.startswith("The database accepts no connection (waited 0 s): ")
    assert done.stderr.count("\n") == 1


def test_a_role_that_the_policies_do_not_hold_is_warned_of(postgresql: PostgreSQL) -> None:
    """A developer's own database needs no second role: the service starts, and says what does not hold."""
    database, port = postgresql.create_database(), free_port()
    with serving(port, DATABASE_URL=postgresql.owner_url(database)) as process:
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=SECONDS)[0]
    (warning,) = (line for line in map(json.loads, output.splitlines()) if line["level"] == "WARNING")
    assert warning["log_message"].startswith("DATABASE_URL: its role owns the tables, and row-level security")


@pytest.mark.parametrize(
    "variables",
    [
        {"AUTH_MODE": "required"},
        {"AUTH_MODE": "required", "ENVIRONMENT": "production", "API_KEY_PEPPER": "p" * 32},
    ],
    ids=["required", "production"],
)
@pytest.mark.parametrize(
    ("role", "power"),
    [(OWNER, "owns the tables"), ("postgres", "is a superuser"), ("bypasser", "has BYPASSRLS")],
)
def test_a_role_that_the_policies_do_not_hold_is_refused_where_they_must(
    postgresql: PostgreSQL, database: str, role: str, power: str, variables: dict[str, str]
) -> None:
    """Exit 2, one line that names the variable and says what to do."""
    if role == "bypasser":
        postgresql.execute("DROP ROLE IF EXISTS bypasser")
        postgresql.execute("CREATE ROLE bypasser LOGIN BYPASSRLS")
    done = run(
        DATABASE_URL=postgresql.url(database, role),
        MIGRATION_DATABASE_URL=postgresql.owner_url(database),
        SERVICE_TOKEN="t" * 32,
        **variables,
    )
    if role == "bypasser":
        postgresql.execute("DROP OWNED BY bypasser", database=database)
        postgresql.execute("DROP ROLE bypasser")
    assert done.returncode == 2
    assert done.stderr.startswith(f"DATABASE_URL: its role {power}, and row-level security does not hold")
    assert "MIGRATION_DATABASE_URL" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_service_role_starts_in_production(postgresql: PostgreSQL, database_url: str) -> None:
    """Without the owner's password: there is nothing to migrate."""
    with serving(
        free_port(),
        DATABASE_URL=database_url,
        ENVIRONMENT="production",
        AUTH_MODE="required",
        SERVICE_TOKEN="t" * 32,
        API_KEY_PEPPER="p" * 32,
    ) as process:
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=SECONDS)[0]
    levels = {json.loads(line)["level"] for line in output.splitlines()}
    assert levels <= {"INFO"}


def test_the_service_role_alone_does_not_migrate(postgresql: PostgreSQL) -> None:
    """Exit 1, one line that says which variable is missing."""
    done = run(DATABASE_URL=postgresql.url(postgresql.create_database()))
    assert done.returncode == 1
    assert done.stderr == (
        "The database could not be migrated: permission denied for schema public."
        " Set MIGRATION_DATABASE_URL to that of the tables' owner.\n"
    )


def test_an_unknown_command_is_a_usage_error() -> None:
    """Exit 2 and the usage."""
    done = run("migrat")
    assert done.returncode == 2
    assert "usage: python -m data_store" in done.stderr


def test_the_service_migrates_serves_and_sends_all_its_telemetry_when_it_is_stopped(
    postgresql: PostgreSQL, collector: tuple[Collector, str]
) -> None:
    """With exports an hour apart, only the flush on SIGTERM can have delivered what the collector has."""
    kept, endpoint = collector
    database, port, correlation_id = postgresql.create_database(), free_port(), str(uuid.uuid4())
    hour = "3600000"
    with serving(
        port,
        DATABASE_URL=postgresql.url(database),
        MIGRATION_DATABASE_URL=postgresql.owner_url(database),
        OTEL_SDK_DISABLED="false",
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        OTEL_BSP_SCHEDULE_DELAY=hour,
        OTEL_BLRP_SCHEDULE_DELAY=hour,
        OTEL_METRIC_EXPORT_INTERVAL=hour,
    ) as process:
        answer = httpx.post(
            f"http://127.0.0.1:{port}{DOCUMENTS}", json=DOCUMENT, headers={"X-Correlation-ID": correlation_id}
        )
        assert answer.status_code == 201
        assert correlation_id not in str(kept.received)
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=SECONDS)[0]
    assert "Traceback" not in output
    assert kept.received["traces"].count(correlation_id) == 4
    assert kept.received["logs"].count(correlation_id) == 1
    assert 'name: "database_operations"' in kept.received["metrics"]
    assert correlation_id in output


def test_workers_share_the_port_and_each_answers(postgresql: PostgreSQL, database_url: str) -> None:
    """WORKERS=2 serves as one, and stops as one."""
    port = free_port()
    with serving(port, DATABASE_URL=database_url, WORKERS="2") as process:
        answers = [httpx.post(f"http://127.0.0.1:{port}{DOCUMENTS}", json=DOCUMENT) for _ in range(10)]
        assert [answer.status_code for answer in answers] == [201] * 10
        process.send_signal(signal.SIGTERM)
        assert "Traceback" not in process.communicate(timeout=SECONDS)[0]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/health")

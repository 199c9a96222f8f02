"""The collector's configuration in a real collector, between real senders and a sink that speaks OTLP."""

import logging
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
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

from local_stack.postgres import Cluster, database_url, outside_home, place
from local_stack.state import State
from observability.signals import METRICS, SERVICE_NAMESPACE
from observability_checks.contract.attributes import RECORD_ATTRIBUTES, SPAN_ATTRIBUTES
from observability_checks.contract.sources import IDENTITY
from telemetry_queries.sources import SERVICES
from tests.collector import (
    CONFIG,
    CORRELATION_ID,
    DEADLINE,
    SPAN_ID,
    TRACE_ID,
    Collector,
    Record,
    Sink,
    access_line,
    append,
    one_record,
    running_sink,
    wait_for,
)
from tests.ports import free_port
from tests.programs import binary

SECRET = "s3cr3t-value"
SQL_COMMENT = f"/*correlation_id='{CORRELATION_ID}',traceparent='00-{TRACE_ID}-{SPAN_ID}-03'*/"


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
    with running_sink() as running:
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
        "BEGIN; SET LOCAL robin.client_id = 'acme'; SET LOCAL synchronous_commit = off; ",
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
    assert record.attributes.get("client_id") == ("acme" if "acme" in ahead else None)


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
    assert record.attributes.get("client_id") == ("acme" if "acme" in ahead else None)


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


def test_addresses_in_a_server_message_are_masked(collector: Collector, sink: Sink) -> None:
    """PostgreSQL says where it listens, and who may not connect."""
    record = one_record(sink, "postgresql", lambda record: "listening on IPv4" in record.body)
    assert record.body.startswith('listening on IPv4 address "****", port ')


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_sleep(0.3), 'SET LOCAL robin.client_id = ''victim''; '",
        "SET LOCAL robin.client_id = 'a b'; SELECT pg_sleep(0.3)",
    ],
)
def test_a_tenant_is_read_where_no_value_can_stand(
    collector: Collector, sink: Sink, postgres: Cluster, statement: str
) -> None:
    """A client may upload a text that looks like the setting."""
    pid = run_and_tell_pid(postgres, f"{statement} {SQL_COMMENT}")
    record = one_record(sink, "postgresql", of_statement(pid, "slow statement"))
    assert "client_id" not in record.attributes


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


def test_lines_that_are_written_while_it_is_killed_again_and_again_all_arrive(tmp_path: Path) -> None:
    """None counts as sent before it lies in the queue; of those that were just read, some may come twice."""
    written: list[str] = []
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.005):
            append(collector.access_log, access_line(f"line {len(written)}"))
            written.append(f"line {len(written)}")

    with running_sink() as sink:
        collector = Collector(
            binary("otelcol"), tmp_path, str(tmp_path / "no.json"), sink.http_port, sink.traces_port
        )
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(5):
                collector.start()
                until = len(written) + 100
                wait_for(lambda until=until: len(written) > until, "more is written")
                collector.end(signal.SIGKILL)
        finally:
            over.set()
            writer.join()
        collector.start()
        arrived = wait_for(
            lambda: {record.body for record in sink.records()} >= set(written),
            lambda: f"lost: {len(set(written) - {record.body for record in sink.records()})}",
        )
        collector.end()
    assert arrived


def test_the_rest_of_a_file_that_is_rotated_while_the_collector_is_away_arrives(tmp_path: Path) -> None:
    """As supervisor does it: the file gets another name, and a new one begins."""
    with running_sink() as sink:
        collector = Collector(
            binary("otelcol"), tmp_path, str(tmp_path / "no.json"), sink.http_port, sink.traces_port
        )
        append(collector.access_log, access_line("before"))
        collector.start()
        one_record(sink, "nginx", lambda record: record.body == "before")
        collector.end()
        append(collector.access_log, access_line("away"))
        collector.access_log.rename(f"{collector.access_log}.1")
        append(collector.access_log, access_line("after"))
        collector.start()
        wait_for(lambda: len(sink.records()) >= 3, "all lines arrive")
        collector.end()
        assert sorted(record.body for record in sink.records()) == ["after", "away", "before"]


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
        with running_sink(collector.http_port) as sink:
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

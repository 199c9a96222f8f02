"""Live telemetry of a whole stack held against observability/signals.py, in both directions."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.semconv.attributes import (
    db_attributes,
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)

from observability import signals
from observability.signals import Attribute, MetricSpec, Span
from observability_checks.api import Api, Exchange, sample_text
from observability_checks.backends.jaeger import Jaeger
from observability_checks.backends.log_store import LogStore, detect
from observability_checks.backends.prometheus import Prometheus
from observability_checks.contract import DOCUMENT_ROUTE, HEALTH_ROUTE, RECORDS_ROUTE, UPLOAD_ROUTE, Service
from observability_checks.models import LogRecord, SpanRecord
from observability_checks.polling import Deadline, wait_until_none
from tests.e2e.conftest import RunningStack
from tests.records import LINE_FIELDS

SECONDS = 20
SERVICES = f'job=~"{signals.SERVICE_NAMESPACE}/({Service.DOCUMENT_API}|{Service.DATA_STORE})"'
# Of the resource: who sent it.
RESOURCE_LABELS = {"job", "instance", "service_name", "service_version", "deployment_environment_name"}
RESOURCE = {
    "service.name",
    "service.namespace",
    "service.version",
    "service.instance.id",
    "deployment.environment.name",
}
# Metrics that this traffic does not make: a model, and things that go wrong.
SILENT = {
    signals.GEN_AI_OPERATION_DURATION,
    signals.GEN_AI_TOKEN_USAGE,
    signals.DATABASE_POOL_EXHAUSTED,
    signals.TELEMETRY_DROPPED,
}
PROCESS_METRIC = re.compile(r"process_[a-z_]+|target_info")
ROUTES = {UPLOAD_ROUTE, DOCUMENT_ROUTE, RECORDS_ROUTE, HEALTH_ROUTE, signals.UNMATCHED_ROUTE}
SEMANTIC_CONVENTIONS = {
    value
    for module in (
        db_attributes,
        error_attributes,
        http_attributes,
        network_attributes,
        server_attributes,
        url_attributes,
        user_agent_attributes,
    )
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}
# Jaeger's own words for a span's kind, status and scope.
JAEGERS = {"span.kind", "otel.scope.name", "otel.scope.version", "otel.status_code", "error"}
HTTP_SPANS = {
    f"PUT {UPLOAD_ROUTE}",
    f"GET {DOCUMENT_ROUTE}",
    f"POST {RECORDS_ROUTE}",
    "GET",
    "POST",
}


@pytest.fixture(scope="module")
def exchanges(stack: RunningStack, http: httpx.Client) -> list[Exchange]:
    """An upload, a retrieval, a document that is not there, a form without a file, and a health request."""
    api = Api(http, stack.endpoints["nginx"])
    document = api.upload("contract", "live.txt", sample_text(2, 2))
    found = api.document("contract", document.document_id)
    missing = api.document("contract", 2**60)
    refused = api.send("PUT", "/clients/contract/upload-document", files={"other": b"x"})
    healthy = api.send("GET", "/health")
    assert [each.status for each in (document.exchange, found, missing, refused, healthy)] == [
        200,
        200,
        404,
        422,
        200,
    ]
    return [document.exchange, found, missing, refused]


@pytest.fixture(scope="module")
def spans(stack: RunningStack, http: httpx.Client, exchanges: list[Exchange]) -> list[SpanRecord]:
    """All spans of these requests."""
    jaeger = Jaeger(http, stack.endpoints["jaeger"])

    def stored() -> Iterator[SpanRecord]:
        for exchange in exchanges:
            for trace in jaeger.find(exchange.correlation_id, Service.DOCUMENT_API):
                yield from trace.spans

    expected = set(Span) | HTTP_SPANS
    missing = wait_until_none(lambda: sorted(expected - {span.name for span in stored()}), Deadline(SECONDS))
    assert missing == [], "spans of the contract that this traffic must make"
    return list(stored())


@pytest.fixture(scope="module")
def records(stack: RunningStack, http: httpx.Client, exchanges: list[Exchange]) -> list[LogRecord]:
    """All log records of these requests in the log store, once as many are there as were written."""
    store: LogStore = detect(http, [stack.endpoints["logs"]])
    since = time.time() - 600
    ids = {exchange.correlation_id for exchange in exchanges}

    def stored() -> list[LogRecord]:
        return [record for each in ids for record in store.find(each, since=since)]

    def late() -> list[str]:
        missing = len(written(stack, ids)) - len(stored())
        return [f"{missing} lines are not in the log store"] if missing > 0 else []

    assert wait_until_none(late, Deadline(SECONDS)) == []
    return stored()


def written(stack: RunningStack, ids: set[str]) -> list[dict[str, Any]]:
    """What nginx and the services wrote of these requests."""
    files = [*stack.state.glob("logs/document_api-*.log"), *stack.state.glob("logs/data_store.log")]
    lines = [line for file in [*files, stack.state / "logs" / "access.json"] for line in json_lines(file)]
    return [line for line in lines if line["correlation_id"] in ids]


def test_every_span_has_a_name_of_the_contract(spans: list[SpanRecord]):
    """No receive and send spans, no connect span, no health request."""
    assert {span.name for span in spans} <= set(Span) | HTTP_SPANS


def test_every_span_attribute_is_of_the_contract_or_a_semantic_convention(spans: list[SpanRecord]):
    """A name that was typed by hand somewhere is found here."""
    known = set(Attribute) | SEMANTIC_CONVENTIONS | JAEGERS
    unknown = {(span.name, key) for span in spans for key in span.attributes if key not in known}
    assert unknown == set()


def test_every_span_carries_the_requests_identity(spans: list[SpanRecord], exchanges: list[Exchange]):
    """Correlation ID and tenant, whatever the span and however the request ended."""
    assert {span.attributes.get(Attribute.CORRELATION_ID) for span in spans} == {
        each.correlation_id for each in exchanges
    }
    assert {span.attributes.get(Attribute.CLIENT_ID) for span in spans} == {"contract"}


def test_every_span_has_the_resource_of_the_contract(spans: list[SpanRecord]):
    """Jaeger keeps the name apart from the rest."""
    for span in spans:
        assert RESOURCE - {"service.name"} <= set(span.resource)


def series_of(stack: RunningStack, http: httpx.Client) -> list[Mapping[str, str]]:
    """Label sets of everything that both services have sent to Prometheus."""
    return [
        sample.labels for sample in Prometheus(http, stack.endpoints["prometheus"]).query(f"{{{SERVICES}}}")
    ]


@pytest.fixture(scope="module")
def series(stack: RunningStack, http: httpx.Client, exchanges: list[Exchange]) -> list[Mapping[str, str]]:
    """The same, once every metric that this traffic makes is there."""
    assert exchanges
    expected = {name for metric in signals.METRICS if metric not in SILENT for name in stored_names(metric)}

    def missing() -> list[str]:
        return sorted(expected - {labels["__name__"] for labels in series_of(stack, http)})

    assert wait_until_none(missing, Deadline(SECONDS)) == [], (
        "metrics of the contract that this traffic must make"
    )
    return series_of(stack, http)


def stored_names(metric: MetricSpec) -> set[str]:
    """Names under which Prometheus stores a metric."""
    name = metric.prometheus_name
    return {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if metric.kind == "histogram" else {name}


def test_every_metric_is_of_the_contract(series: list[Mapping[str, str]]):
    """A name, unit or kind that differs from signals.py makes another name in Prometheus."""
    known = {name for metric in signals.METRICS for name in stored_names(metric)}
    found = {labels["__name__"] for labels in series}
    assert {name for name in found - known if not PROCESS_METRIC.fullmatch(name)} == set()


@pytest.mark.parametrize(
    "metric", [metric for metric in signals.METRICS if metric not in SILENT], ids=lambda metric: metric.name
)
def test_a_metric_has_exactly_the_labels_of_the_contract(metric: MetricSpec, series: list[Mapping[str, str]]):
    """Not one more, above all no ID: a label of its own for every request would make a series for every request."""
    expected = RESOURCE_LABELS | {label.replace(".", "_") for label in metric.labels}
    for labels in series:
        if labels["__name__"] in stored_names(metric):
            assert set(labels) - {"__name__", "le"} == expected


def test_paths_are_route_templates(series: list[Mapping[str, str]]):
    """Never the raw path, which would be a series for every document."""
    assert {labels["path"] for labels in series if "path" in labels} <= ROUTES


def test_buckets_are_those_of_the_contract(series: list[Mapping[str, str]]):
    """The SDK's defaults are useless for seconds."""
    for metric in signals.METRICS:
        bounds = {
            labels["le"] for labels in series if labels["__name__"] == f"{metric.prometheus_name}_bucket"
        }
        if bounds:
            assert metric.buckets is not None
            assert {float(bound) for bound in bounds} == {*map(float, metric.buckets), float("inf")}


def test_every_line_on_stdout_has_the_fields_of_the_contract(stack: RunningStack, exchanges: list[Exchange]):
    """Of both services, requests or not; each is one JSON object."""
    assert exchanges
    files = [*stack.state.glob("logs/document_api-*.log"), *stack.state.glob("logs/data_store.log")]
    assert len(files) == 3
    for file in files:
        for line in json_lines(file):
            assert set(line) == LINE_FIELDS
            assert isinstance(line["timestamp"], float)
            assert isinstance(line["context_data"], dict)
            assert line["level"] in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}


def test_a_line_that_was_written_is_the_record_in_the_log_store(
    stack: RunningStack, records: list[LogRecord], exchanges: list[Exchange]
):
    """Same message, level and IDs, each once: four lines of the upload, three of a GET, two of a refusal."""
    lines = [
        (line["service"], line["log_message"], line["level"], line["trace_id"], line["span_id"])
        for line in written(stack, {exchange.correlation_id for exchange in exchanges})
    ]
    stored = [
        (record.service, record.message, record.level, record.trace_id, record.span_id)
        for record in records
        if record.service in set(Service)  # PostgreSQL writes slow statements in its own form
    ]
    assert sorted(lines) == sorted(stored)
    assert len(lines) >= 12


def test_every_stored_record_has_the_attributes_of_the_contract(records: list[LogRecord]):
    """nginx's too: the collector brings its lines into the same form."""
    for record in records:
        assert record.trace_id
        assert record.span_id
        resource = {name.replace(".", "_") for name in RESOURCE - {"service.name"}}
        for name in ("client_id", "logger", *resource):
            assert record.fields.get(name), f"{record.service}: {record.message} has no {name}"
    requests = [record for record in records if "context_data_status" in record.fields]
    assert {record.service for record in requests} == set(Service)
    for record in requests:
        assert {"context_data_method", "context_data_path", "context_data_duration"} <= set(record.fields)


def test_nginxs_line_has_the_fields_of_the_contract(stack: RunningStack):
    """Before the collector has touched it."""
    for line in json_lines(stack.state / "logs" / "access.json"):
        assert set(line) == LINE_FIELDS - {"logger"}
        assert {"client_id", "method", "path", "status", "duration", "upstream"} <= set(line["context_data"])


def json_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Lines of a log, each as its object."""
    return (json.loads(line) for line in file.read_text().splitlines())

"""The contract's lists are those of the code, and its instruments are what they are said to be."""

import re
from typing import Any

import pytest
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.sdk.metrics.export import Histogram, Metric, Sum

from data_store.app import create_app as create_data_store
from data_store.health import CONNECTION_POOL, DATABASE, TABLES
from data_store.settings import DataStoreSettings
from document_api.app import create_app as create_document_api
from document_api.labels import BoundedLabel
from document_api.settings import DocumentApiSettings
from document_api.summaries import SummarySource
from document_api.summaries.chat import LlmFailure
from document_api.summaries.writer import SUMMARIZER_FAILED
from document_api.text import Unreadable
from observability import signals
from observability import telemetry as module
from observability.problems import _ERROR_TYPES
from observability.signals import METRICS, Attribute, ErrorType, InstrumentKind, MetricSpec, Span
from observability_checks.contract.attributes import RECORD_ATTRIBUTES, SPAN_ATTRIBUTES
from observability_checks.contract.expected import (
    ExpectedSpan,
    Facts,
    refusal_lines,
    retrieval_lines,
    retrieval_spans,
    upload_lines,
    upload_spans,
)
from observability_checks.contract.records import RECORDS
from observability_checks.contract.spans import CALL_SPAN, CHAT_SPAN, ENDPOINTS, REQUEST_SPAN, SPANS
from telemetry_queries.sources import Source
from tests.conformance import record_spec
from tests.telemetry_spy import TelemetrySpy

FACTS = Facts("3f0c8d52-9a41-4e0b-8a55-5f2d4a1c7e90", "acme", 243, 349, "report.txt")


def bound(metric: MetricSpec, label: str) -> Any:
    """Return the values that a label may have."""
    return metric.labels[label]


def test_every_span_and_every_attribute_of_the_enumerations_is_in_the_contract() -> None:
    """And every attribute that a span or record may have has its type there."""
    assert {spec.name for spec in SPANS} == {*Span, REQUEST_SPAN, CALL_SPAN, CHAT_SPAN}
    on_spans = set[str]().union(*(spec.required | spec.optional for spec in SPANS))
    on_records = set[str]().union(*(spec.required | spec.optional for spec in RECORDS))
    assert on_spans == SPAN_ATTRIBUTES.keys()
    assert on_records == RECORD_ATTRIBUTES.keys()
    assert set(Attribute) <= on_spans


def test_parents_are_spans_of_the_contract() -> None:
    """A name of which nobody is the span would let nothing hang there."""
    assert {parent for spec in SPANS for parent in spec.parents} <= {spec.name for spec in SPANS}


@pytest.mark.parametrize("tree", [upload_spans(FACTS), retrieval_spans(FACTS)], ids=["upload", "retrieval"])
def test_what_a_request_must_leave_is_known_by_attributes_that_its_spans_have(tree: ExpectedSpan) -> None:
    """A value that no span of the contract may carry would be missed in every request."""
    expected = [tree]
    for span in expected:
        expected.extend(span.children)
        assert span.equals.keys() <= span.spec.required | span.spec.on_success, span.name


def test_lines_that_a_request_must_leave_are_records_of_the_contract() -> None:
    """With their sender and level."""
    refusal = refusal_lines("GET", "/clients/acme/documents/x", signals.DOCUMENT_ROUTE, 422)
    for line in (*upload_lines(FACTS), *retrieval_lines(FACTS), *refusal):
        record = {"service.name": line.service, "severity_text": line.level, "_msg": line.message}
        spec = record_spec(record)
        assert spec is not None, line
        assert spec.name in {"request", "document uploaded", "edge"}, line


def test_routes_of_the_contract_are_those_that_are_served(telemetry: TelemetrySpy) -> None:
    """With their methods; health makes no span, and FastAPI's own pages are no endpoints of ours."""
    settings = DataStoreSettings(database_url="postgresql://robin:x@127.0.0.1:1/robin")  # type: ignore[arg-type]
    apps = {
        Source.DOCUMENT_API: create_document_api(DocumentApiSettings(), telemetry.telemetry),
        Source.DATA_STORE: create_data_store(settings, telemetry.telemetry),
    }
    served = {
        (source, method, path)
        for source, app in apps.items()
        for path, methods in app.openapi()["paths"].items()
        for method in map(str.upper, methods)
    }
    assert {each for each in served if each[2] != signals.HEALTH_ROUTE} == ENDPOINTS
    assert {path for _, _, path in served} < signals.ROUTES


def test_lists_of_values_are_those_of_the_code() -> None:
    """What the code may say is what the contract lets it say."""
    reasons = {*LlmFailure, *Unreadable, SUMMARIZER_FAILED}
    assert reasons == signals.SUMMARY_REASONS
    assert set(Unreadable) == signals.TEXT_FAILURES
    assert set(SummarySource) == signals.SUMMARY_SOURCES
    document_api = {"overall", "file_system", "object_store", "data_store", "virus_scanner"}
    components = {*document_api, DATABASE, CONNECTION_POOL, *TABLES}
    assert components == bound(signals.HEALTH_CHECKS, "component")
    assert set(TABLES) < bound(signals.DATABASE_OPERATIONS, "table")
    assert {str(status) for status in _ERROR_TYPES} < signals.STATUSES
    assert set(_ERROR_TYPES.values()) < set(ErrorType)


def test_labels_that_clients_choose_are_as_few_as_the_contract_says() -> None:
    """However many clients and media types come."""
    label = BoundedLabel()
    assert len({label.of(f"client-{number}") for number in range(1000)}) == bound(
        signals.DOCUMENTS_UPLOADED, "client"
    )


def test_units_are_ucum() -> None:
    """As the semantic conventions write them; what Prometheus makes of any other, nobody has tried."""
    for metric in METRICS:
        assert re.fullmatch(r"s|By|\{[a-z_]+\}|", metric.unit), metric.name


def kind_of(metric: Metric) -> InstrumentKind:
    """Return the kind of instrument that made such data."""
    if isinstance(metric.data, Sum):
        return "counter" if metric.data.is_monotonic else "updowncounter"
    return "histogram" if isinstance(metric.data, Histogram) else "gauge"


def test_every_metric_is_sent_with_the_unit_and_the_kind_of_the_contract(telemetry: TelemetrySpy) -> None:
    """Ours and those of the instrumentor: Prometheus keeps neither, but makes names of them."""
    metrics = telemetry.telemetry.metrics
    for name, record in vars(metrics).items():
        if not name.startswith("_"):
            record(1)
    for gauge in (
        signals.EVENT_LOOP_LAG,
        signals.DATABASE_POOL,
        signals.DOCUMENT_STORAGE,
        signals.LAST_BACKUP,
        signals.DATA_STORE_CIRCUIT,
    ):
        metrics.observe(gauge, lambda: [(1.0, {})])
    module._measure_process(telemetry.telemetry, workers=1)
    try:
        sent = {metric.name: (metric.unit, kind_of(metric)) for metric in telemetry.metrics()}
    finally:
        SystemMetricsInstrumentor().uninstrument()

    assert sent == {metric.name: (metric.unit, metric.kind) for metric in METRICS}

"""The checks of live telemetry find what is wrong, and nothing in what is right."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from observability import signals
from observability_checks.contract.records import RECORDS
from observability_checks.contract.sources import RESOURCES
from observability_checks.contract.spans import SPANS
from telemetry_queries.sources import Source
from tests.conformance import (
    SILENT_RECORDS,
    StoredSpan,
    bucket_faults,
    cardinality_faults,
    exemplar_faults,
    faults_of,
    missing_metrics,
    missing_records,
    missing_spans,
    record_faults,
    series_faults,
    span_faults,
    time_faults,
)

RESOURCE = RESOURCES[Source.DATA_STORE]
IDENTITY = {"correlation_id": ("string", "0f8fad5b"), "client_id": ("string", "acme")}
REQUEST = StoredSpan(
    service="data-store",
    name="GET /clients/{client_id}/documents/{doc_id}",
    kind="server",
    seconds=0.5,
    attributes={
        **IDENTITY,
        "http.request.method": ("string", "GET"),
        "http.route": ("string", signals.DOCUMENT_ROUTE),
    },
    resource=RESOURCE,
)
SPAN = StoredSpan(
    service="data-store",
    name="database_connection",
    kind="internal",
    seconds=0.4,
    attributes={
        **IDENTITY,
        "connection_pool.wait": ("float64", 0.39),
        "pool.in_use": ("int64", 1),
        "pool.size": ("int64", 8),
        "span.kind": ("string", "internal"),
    },
    resource=RESOURCE,
    parent=REQUEST,
)
RECORD = {
    **dict.fromkeys(RESOURCE, "x"),
    "_msg": "Slow statement",
    "_time": "2026-11-25T03:00:46.752Z",
    "service.name": "data-store",
    "severity_text": "WARNING",
    "logger": "observability.database",
    "correlation_id": "0f8fad5b",
    "trace_id": "0a",
    "span_id": "0b",
    "context_data.operation": "SELECT",
    "context_data.table": "document_metadata",
    "context_data.duration": "0.4",
}
RESOURCE_LABELS = {
    "job": "robin/data-store",
    "instance": "vm:8001",
    "service_name": "data-store",
    "service_version": "1.0.0",
    "deployment_environment_name": "test",
}
SERIES = {
    **RESOURCE_LABELS,
    "__name__": "database_operation_duration_seconds_bucket",
    "operation": "SELECT",
    "table": "users",
    "le": "0.1",
}
NO_RULES: frozenset[str] = frozenset()


def changed(things: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a mapping with `__` in the changes' names as dots; None removes."""
    new = {**things, **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: value for name, value in new.items() if value is not None}


def with_attributes(**changes: Any) -> StoredSpan:
    """Return the span with other attributes."""
    return replace(SPAN, attributes=changed(SPAN.attributes, **changes))


def only(faults: Iterable[str]) -> str:
    """Return the only fault."""
    (fault,) = faults
    return fault


def test_what_is_right_has_no_fault() -> None:
    """Else every other test here could be seeing something else."""
    assert list(span_faults(SPAN)) == []
    assert list(record_faults(RECORD)) == []
    assert list(time_faults(RECORD, SPAN)) == []
    assert list(series_faults(SERIES, NO_RULES)) == []


@pytest.mark.parametrize(
    ("span", "fault"),
    [
        (replace(SPAN, name="connect"), "is not in the contract"),
        (replace(SPAN, kind="client"), "is not in the contract"),
        (replace(SPAN, service="document-api"), "is not in the contract"),
        (replace(SPAN, parent=None), "is below 'nothing'"),
        (replace(SPAN, parent=replace(SPAN)), "is below 'database_connection'"),
        (replace(SPAN, resource=RESOURCE - {"service.version"}), "has another resource"),
        (replace(SPAN, resource=RESOURCE | {"host.name"}), "has another resource"),
        (replace(SPAN, events=(frozenset({"event", "message"}),)), "has another event"),
        (with_attributes(pool__size=None), "lacks pool.size"),
        (with_attributes(client_id=None), "lacks client_id"),
        (with_attributes(document__id=("int64", 7)), "has an unlisted document.id"),
        (with_attributes(pool__size=("string", "8")), "pool.size is a string, not a int"),
        (with_attributes(connection_pool__wait=("int64", 0)), "is a int64, not a double"),
        (with_attributes(connection_pool__wait=("float64", 390.0)), "is 390.0, in a span of 0.4 s"),
        (with_attributes(connection_pool__wait=("float64", 0.0065)), "is 0.0065, in a span of 0.4 s"),
        (with_attributes(connection_pool__wait=("float64", -0.1)), "is -0.1, in a span of 0.4 s"),
    ],
)
def test_a_span_that_differs_is_found(span: StoredSpan, fault: str) -> None:
    """Name, kind, service, parent, resource, events; attributes with type and unit."""
    assert fault in only(span_faults(span))


def test_a_value_outside_of_a_closed_list_is_found() -> None:
    """An outcome that nobody has heard of."""
    attributes = {**IDENTITY, "success_status": ("string", "perhaps")}
    span = replace(SPAN, name="transaction_commit", attributes=attributes)
    assert "'perhaps', none of" in only(span_faults(span))


def test_a_span_whose_parent_is_not_stored_has_no_wrong_parent() -> None:
    """It may have been lost with a process that was killed."""
    assert list(span_faults(replace(SPAN, parent=None, orphan=True))) == []


def test_a_span_or_attribute_that_nobody_makes_is_missed() -> None:
    """All others of the contract are, too."""
    missed = list(missing_spans([with_attributes(pool__size=None)]))
    assert len(missed) == len(SPANS)
    assert "data-store: no span database_connection with pool.size" in missed


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"service.name": "sshd"}, "is not in the contract"),
        ({"severity_text": "WARN"}, "is not in the contract"),
        ({"logger": None}, "lacks logger"),
        ({"logger": ""}, "lacks logger"),
        ({"context_data.table": None}, "lacks context_data.table"),
        ({"service.version": None}, "lacks service.version"),
        ({"color_message": "x"}, "has an unlisted color_message"),
        ({"context_data.duration": "0.4 s"}, "is '0.4 s', not a double"),
        ({"context_data.operation": "select"}, "is 'select', none of"),
    ],
)
def test_a_log_record_that_differs_is_found(changes: dict[str, Any], fault: str) -> None:
    """Source, level, attributes with type and value, resource."""
    assert fault in only(record_faults(changed(RECORD, **changes)))


def test_a_log_record_or_attribute_that_nobody_writes_is_missed() -> None:
    """All others of the contract are, too."""
    missed = list(missing_records([RECORD]))
    assert len(missed) == len(RECORDS) - len(SILENT_RECORDS)
    assert "no record slow statement with client_id" in missed


@pytest.mark.parametrize("duration", ["400", "0.007"])
def test_a_duration_in_another_unit_is_found(duration: str) -> None:
    """Milliseconds, minutes."""
    span = replace(SPAN, seconds=0.4)
    assert f"is {duration}, in a span" in only(
        time_faults({**RECORD, "context_data.duration": duration}, span)
    )


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"__name__": "database_operation_duration_milliseconds_bucket"}, "is not in the contract"),
        ({"__name__": "documents_uploaded_total"}, "is not in the contract"),
        ({"job": "robin/cache"}, "nothing sends, scrapes or computes it"),
        ({"job": None}, "nothing sends, scrapes or computes it"),
        ({"table": None}, "lacks table"),
        ({"correlation_id": "0f8fad5b"}, "has an unlisted correlation_id"),
        ({"operation": "TRUNCATE"}, "has operation='TRUNCATE', none of"),
        ({"__name__": "target_info"}, "has another resource"),
    ],
)
def test_a_series_that_differs_is_found(changes: dict[str, Any], fault: str) -> None:
    """Name, which tells kind and unit, sender, labels, values."""
    new = {name: value for name, value in {**SERIES, **changes}.items() if value is not None}
    assert fault in only(series_faults(new, NO_RULES))


@pytest.mark.parametrize(
    "labels",
    [
        {"__name__": "up", "job": "jaeger"},
        {"__name__": "probe_success", "job": "probe"},
        {"__name__": "ALERTS", "alertname": "A"},
        {"__name__": "slo:error_ratio:rate5m", "slo": "latency"},
    ],
)
def test_what_is_scraped_or_computed_is_not_the_services(labels: dict[str, str]) -> None:
    """Its job or its name is listed."""
    assert list(series_faults(labels, frozenset({"slo:error_ratio:rate5m"}))) == []


def uploads(number: int, instance: str = "vm:8000") -> list[dict[str, str]]:
    """Return a series for each of so many clients."""
    own = {"job": "robin/document-api", "instance": instance, "__name__": "documents_uploaded_total"}
    return [{**own, "client": f"client-{index}", "file_type": "text/plain"} for index in range(number)]


def test_a_label_with_too_many_values_is_found() -> None:
    """Counted for each instance on its own."""
    assert list(cardinality_faults([*uploads(51), *uploads(51, "vm:8010")])) == []
    assert only(cardinality_faults(uploads(52))) == (
        "vm:8000 documents_uploaded_total client has 52 values, more than 51"
    )


def test_an_instance_with_too_many_series_is_found() -> None:
    """Whatever its labels are."""
    series = [{**SERIES, "le": str(number)} for number in range(signals.SERIES_PER_INSTANCE + 1)]
    assert only(cardinality_faults(series)) == "robin/data-store vm:8001 has 2001 series, more than 2000"


def test_other_buckets_are_found() -> None:
    """One that is missing, one too many."""
    bounds = [*map(str, signals.STATEMENT_SECONDS), "+Inf"]
    right = [{**SERIES, "le": bound} for bound in bounds]
    assert list(bucket_faults(right)) == []
    assert only(bucket_faults(right[1:])).startswith("database_operation_duration_seconds has the buckets")
    assert only(bucket_faults([*right, {**SERIES, "le": "7"}]))


@pytest.mark.parametrize(
    ("name", "exemplar", "fault"),
    [
        ("database_operation_duration_seconds_bucket", {"trace_id", "span_id", "correlation_id"}, ""),
        ("database_operation_duration_seconds_bucket", {"trace_id", "span_id"}, "has an exemplar with"),
        ("database_connection_pool", {"trace_id", "span_id", "correlation_id"}, "has an exemplar"),
    ],
)
def test_an_exemplar_that_leads_nowhere_is_found(name: str, exemplar: set[str], fault: str) -> None:
    """With all three IDs, on the metrics that have them."""
    found = list(exemplar_faults({**SERIES, "__name__": name}, dict.fromkeys(exemplar, "x")))
    assert len(found) == bool(fault)
    assert fault in "".join(found)


def test_a_metric_that_nobody_sends_is_missed() -> None:
    """Of each source, unless it has no reason to speak."""
    missed = list(missing_metrics([SERIES], [signals.TELEMETRY_DROPPED]))
    assert "data-store: no database_operation_duration_seconds_count" in missed
    assert "data-store: no database_operation_duration_seconds_bucket" not in missed
    assert "host: no system_memory_usage_bytes" in missed
    assert not [each for each in missed if "telemetry_dropped" in each]


def test_a_fault_of_many_is_told_once() -> None:
    """A thousand spans of one kind have one thing wrong."""
    assert len(faults_of([replace(SPAN, name="connect")] * 1000, span_faults)) == 1

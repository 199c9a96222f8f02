"""The contract's metrics: their names in Prometheus, their labels, and that every one can be recorded."""

from typing import Any

import pytest
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor

from observability import signals
from observability import telemetry as module
from observability.memory import memory_share
from observability.signals import METRICS, PROCESS_MEMORY_LIMIT, MetricSpec
from tests.telemetry_spy import TelemetrySpy

NAMES = {
    "http_requests_total",
    "http_request_duration_seconds",
    "http_errors_total",
    "http_requests_in_progress",
    "database_operations_total",
    "database_operation_duration_seconds",
    "database_connection_pool",
    "database_connection_pool_wait_seconds",
    "database_connection_pool_exhausted_total",
    "health_check_total",
    "health_check_duration_seconds",
    "tenant_requests_total",
    "requests_shed_total",
    "tenant_limit_exceeded_total",
    "data_store_retries_total",
    "data_store_refusals_total",
    "data_store_circuit",
    "documents_uploaded_total",
    "document_size_bytes",
    "virus_scan_duration_seconds",
    "text_extraction_duration_seconds",
    "summaries_total",
    "later_summaries_total",
    "later_summary_delay_seconds",
    "gen_ai_client_operation_duration_seconds",
    "gen_ai_client_token_usage",
    "telemetry_dropped_total",
    "event_loop_lag_seconds",
    "document_storage_bytes",
    "last_backup_timestamp_seconds",
    "storage_leftovers_total",
    "contents_removed_total",
    "document_changes_total",
    "documents_downloaded_total",
    "process_memory_limit_bytes",
    "process_cpu_time_seconds_total",
    "process_memory_usage_bytes",
    "process_memory_virtual_bytes",
    "process_open_file_descriptor_count",
    "process_thread_count",
    "cpython_gc_collections_total",
    "cpython_gc_collected_objects_total",
    "cpython_gc_uncollectable_objects_total",
}
RECORDED = [metric for metric in METRICS if metric.kind != "gauge" and metric not in signals.PROCESS_METRICS]


def test_prometheus_stores_the_metrics_under_the_contracts_names() -> None:
    """Dashboards and rules are written with these."""
    assert {metric.prometheus_name for metric in METRICS} == NAMES


def test_no_name_stands_twice() -> None:
    """Two instruments of one name would merge into one series."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_no_metric_has_an_id_for_a_label(metric: MetricSpec) -> None:
    """An ID would make a time series for each request."""
    assert not {"correlation_id", "client_id", "trace_id", "document_id"} & set(metric.labels)
    assert metric.description


def test_request_buckets_hold_the_thresholds() -> None:
    """0.1, 0.25, 1 and 2 seconds are what alerts and checks ask for."""
    assert {0.1, 0.25, 1.0, 2.0} <= set(signals.HTTP_REQUEST_DURATION.buckets or ())


@pytest.mark.parametrize("metric", [m for m in METRICS if m.kind == "histogram"], ids=lambda m: m.name)
def test_histograms_have_rising_buckets_of_their_own(metric: MetricSpec) -> None:
    """The SDK's default is useless for seconds."""
    assert metric.buckets
    assert sorted(set(metric.buckets)) == list(metric.buckets)


INSTRUMENTS = {
    signals.HTTP_IN_PROGRESS.name: "http_in_progress",
    signals.DATABASE_POOL_WAIT.name: "database_pool_wait",
    signals.DATABASE_POOL_EXHAUSTED.name: "database_pool_exhausted",
    signals.HEALTH_CHECKS.name: "health_checks",
    signals.GEN_AI_OPERATION_DURATION.name: "gen_ai_operation_duration",
    signals.GEN_AI_TOKEN_USAGE.name: "gen_ai_token_usage",
}


@pytest.mark.parametrize("metric", RECORDED, ids=lambda metric: metric.name)
def test_every_metric_is_recorded_with_its_labels_and_buckets(
    telemetry: TelemetrySpy, metric: MetricSpec
) -> None:
    """Through the instrument that the services use, read back from the SDK."""
    record = getattr(telemetry.telemetry.metrics, INSTRUMENTS.get(metric.name, metric.name))

    record(1, **dict.fromkeys(metric.labels, "x"))

    point: Any
    (point,) = telemetry.points(metric)
    assert set(point.attributes) == set(metric.labels)
    if metric.kind == "histogram":
        assert point.explicit_bounds == tuple(metric.buckets or ())


def test_a_gauge_is_read_when_metrics_are_collected(telemetry: TelemetrySpy) -> None:
    """Not pushed: the value is the one of the moment."""
    values = iter([1.0, 2.0])
    telemetry.telemetry.metrics.observe(signals.EVENT_LOOP_LAG, lambda: [(next(values), {})])

    assert telemetry.series(signals.EVENT_LOOP_LAG) == {(): 1.0}
    assert telemetry.series(signals.EVENT_LOOP_LAG) == {(): 2.0}


def test_the_process_is_measured_as_the_contract_says(telemetry: TelemetrySpy) -> None:
    """Every metric of the instrumentor, with these labels only, and the limit beside them."""
    instrumentor = SystemMetricsInstrumentor()
    module._measure_process(telemetry.telemetry, workers=2)
    try:
        collected = telemetry.collected()
    finally:
        instrumentor.uninstrument()

    assert collected.keys() == {metric.name for metric in (*signals.PROCESS_METRICS, PROCESS_MEMORY_LIMIT)}
    for metric in signals.PROCESS_METRICS:
        assert {tuple(point.attributes or ()) for point in collected[metric.name]} == {tuple(metric.labels)}
    assert telemetry.series(PROCESS_MEMORY_LIMIT) == {(): memory_share(2)}

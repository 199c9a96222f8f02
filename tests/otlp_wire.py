"""Reads OTLP requests back, with OpenTelemetry's generated classes, into what the SDK would have handed over."""

from collections.abc import Collection
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags


def spans_of(request: bytes) -> list[ReadableSpan]:
    """Return the spans of an ExportTraceServiceRequest."""
    return [
        _span(span, Resource(attributes(sent.resource.attributes)))
        for sent in ExportTraceServiceRequest.FromString(request).resource_spans
        for scope in sent.scope_spans
        for span in scope.spans
    ]


def log_records_of(request: bytes) -> list[ReadableLogRecord]:
    """Return the records of an ExportLogsServiceRequest."""
    return [
        ReadableLogRecord(_log_record(record), Resource(attributes(sent.resource.attributes)))
        for sent in ExportLogsServiceRequest.FromString(request).resource_logs
        for scope in sent.scope_logs
        for record in scope.log_records
    ]


def attributes(pairs: Collection[KeyValue]) -> dict[str, Any]:
    """Return attributes by their names."""
    found = {pair.key: _value(pair.value) for pair in pairs}
    assert len(found) == len(list(pairs)), "each name stands once"
    return found


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    return getattr(value, kind) if kind else None


def _span(span: trace_pb2.Span, resource: Resource) -> ReadableSpan:
    trace_id = int.from_bytes(span.trace_id, "big")
    parent_id = int.from_bytes(span.parent_span_id, "big")
    remote = bool(span.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
    flags = TraceFlags(TraceFlags.SAMPLED)
    return ReadableSpan(
        span.name,
        SpanContext(trace_id, int.from_bytes(span.span_id, "big"), is_remote=False, trace_flags=flags),
        SpanContext(trace_id, parent_id, is_remote=remote, trace_flags=flags) if parent_id else None,
        resource,
        attributes(span.attributes),
        [Event(event.name, attributes(event.attributes), event.time_unix_nano) for event in span.events],
        [_link(link) for link in span.links],
        kind=SpanKind(span.kind - 1),
        status=Status(StatusCode(span.status.code), span.status.message or None),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
    )


def _link(link: trace_pb2.Span.Link) -> Link:
    ids = (int.from_bytes(each, "big") for each in (link.trace_id, link.span_id))
    return Link(SpanContext(*ids, is_remote=True), attributes(link.attributes))


def _log_record(record: logs_pb2.LogRecord) -> LogRecord:
    return LogRecord(
        timestamp=record.time_unix_nano,
        observed_timestamp=record.observed_time_unix_nano,
        trace_id=int.from_bytes(record.trace_id, "big"),
        span_id=int.from_bytes(record.span_id, "big"),
        trace_flags=TraceFlags(record.flags),
        severity_text=record.severity_text,
        severity_number=SeverityNumber(record.severity_number),
        body=_value(record.body),
        attributes=attributes(record.attributes),
    )

"""What is written by hand is what OpenTelemetry's generated classes read."""

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span
from opentelemetry.sdk.resources import Resource

from observability import otlp
from tests.otlp_wire import attributes

TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
SPAN_ID = 0x00F067AA0BA902B7  # its first byte is zero


def a_span(**fields: Any) -> Span:
    """Write a span, and read it back."""
    values: dict[str, Any] = {
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "parent_id": None,
        "parent_is_remote": False,
        "name": "GET",
        "kind": 2,
        "start_ns": 1,
        "end_ns": 2,
        "attributes": (),
        "rest": b"",
    }
    (found,) = ScopeSpans.FromString(otlp.span(**{**values, **fields})).spans
    return found


def read_back(value: object) -> Any:
    """Write an attribute of a span, and read its value back."""
    (pair,) = a_span(attributes=[otlp.span_attribute("key", value)]).attributes
    return attributes([pair])["key"]


@pytest.mark.parametrize(
    "value",
    [
        *("", "text", "中文 🙂", "x" * 127, "x" * 128, "x" * 16_384),
        *(True, False, 0, 1, 127, 128, 16_383, 16_384, 2**63 - 1, -1, -(2**63)),
        *(0.0, 1.5, float("inf")),
        *((), ("a", "b"), (1, 2)),
        None,
    ],
)
def test_every_value_is_read_as_it_was_written(value: object) -> None:
    """With its type."""
    found = read_back(value)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2**63, "9223372036854775808"), (b"x", "b'x'"), ("\ud800", "?"), (ValueError, "<class 'ValueError'>")],
)
def test_what_otlp_has_no_type_for_is_text(value: object, text: str) -> None:
    """A strange value costs no span."""
    assert read_back(value) == text


def test_a_text_that_is_too_long_is_cut() -> None:
    """A collector takes messages of 4 MiB, and nobody reads a stack of endless recursion to its end."""
    assert read_back("x" * 100_000) == "x" * 16_384


def test_equal_values_of_different_types_are_not_mixed_up() -> None:
    """1, True and 1.0 are one key of a dictionary."""
    assert [read_back(value) for value in (1, True, 1.0)] == [1, True, 1.0]
    assert type(read_back(True)) is bool


def test_a_cache_that_is_full_forgets_and_stays_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of clients do not fill the memory."""
    monkeypatch.setattr(otlp, "_MOST_CACHED", 2)

    assert [read_back(value) for value in ("a", "b", "c", "a", "c")] == ["a", "b", "c", "a", "c"]


def test_a_span_has_every_field() -> None:
    """IDs keep their leading zeros, times their nanoseconds."""
    found = a_span(
        parent_id=1,
        parent_is_remote=True,
        name="PUT /é",
        kind=3,
        start_ns=1_700_000_000_123_456_789,
        end_ns=1_700_000_001_000_000_000,
        attributes=[otlp.span_attribute("a", 1), otlp.span_attribute("b", "2")],
        rest=otlp.event("exception", 5, {"exception.type": "E"}) + otlp.status(2, "why"),
    )

    assert found.trace_id == TRACE_ID.to_bytes(16, "big")
    assert found.span_id == SPAN_ID.to_bytes(8, "big")
    assert found.parent_span_id == (1).to_bytes(8, "big")
    assert (found.name, found.kind) == ("PUT /é", 3)
    assert found.start_time_unix_nano == 1_700_000_000_123_456_789
    assert found.end_time_unix_nano == 1_700_000_001_000_000_000
    assert attributes(found.attributes) == {"a": 1, "b": "2"}
    (event,) = found.events
    assert (event.name, event.time_unix_nano) == ("exception", 5)
    assert attributes(event.attributes) == {"exception.type": "E"}
    assert (found.status.code, found.status.message) == (2, "why")
    assert found.flags == 0x300


def test_a_root_has_no_parent_and_no_status() -> None:
    """Nothing is there that was not said."""
    found = a_span()

    assert found.parent_span_id == b""
    assert not found.HasField("status")
    assert found.flags == 0x100


def a_record(**fields: Any) -> Any:
    """Write a log record, and read it back."""
    values: dict[str, Any] = {
        "time_ns": 7,
        "severity_number": 9,
        "severity_text": "INFO",
        "body": "Stored",
        "attributes": [otlp.log_attribute("logger", "robin")],
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "trace_flags": 1,
    }
    (found,) = ScopeLogs.FromString(otlp.log_record(**{**values, **fields})).log_records
    return found


def test_a_log_record_has_every_field() -> None:
    """Both times are the one it was written at."""
    found = a_record()

    assert (found.time_unix_nano, found.observed_time_unix_nano) == (7, 7)
    assert (found.severity_number, found.severity_text) == (9, "INFO")
    assert found.body.string_value == "Stored"
    assert attributes(found.attributes) == {"logger": "robin"}
    assert (found.trace_id, found.span_id) == (TRACE_ID.to_bytes(16, "big"), SPAN_ID.to_bytes(8, "big"))
    assert found.flags == 1


def test_a_record_outside_of_a_trace_has_no_ids() -> None:
    """Zeros would look like a trace."""
    found = a_record(trace_id=0, span_id=0, trace_flags=0)

    assert (found.trace_id, found.span_id, found.flags) == (b"", b"", 0)


def test_nested_mappings_become_dotted_names() -> None:
    """As the log store shows them."""
    assert dict(otlp.flattened({"a": 1, "b": {"c": 2}}, "context_data.")) == {
        "context_data.a": 1,
        "context_data.b.c": 2,
    }


def test_an_envelope_names_who_sends_around_many_spans() -> None:
    """One resource and one scope for all, and lengths of more than one byte."""
    envelope = otlp.Envelope(Resource({"service.name": "s", "service.port": 1}), "robin.s", "1.0")
    one = otlp.span(
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
        parent_id=None,
        parent_is_remote=False,
        name="GET",
        kind=1,
        start_ns=1,
        end_ns=2,
        attributes=(),
        rest=b"",
    )

    (sent,) = ExportTraceServiceRequest.FromString(envelope.around([one] * 1000)).resource_spans

    assert attributes(sent.resource.attributes) == {"service.name": "s", "service.port": 1}
    (scope,) = sent.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("robin.s", "1.0")
    assert len(scope.spans) == 1000


def test_the_generated_encoding_is_the_same_bytes() -> None:
    """Protobuf's own encoding of an attribute is the one written here."""
    pair = KeyValue(key="key")
    pair.value.string_value = "value"

    assert (
        otlp.span_attribute("key", "value") == b"\x4a" + bytes([pair.ByteSize()]) + pair.SerializeToString()
    )

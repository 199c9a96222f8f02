"""OTLP as bytes: spans and log records written field by field, as opentelemetry-proto 1.x numbers them.

The generated classes need 45 to 90 microseconds a span, this a tenth of it (docs/adr/0009). test_otlp reads every
message back with the generated classes.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.resources import Resource

# What repeats, such as a method or a route, is encoded once. A cache that is full starts again: what repeats comes back,
# and what does not, such as a path, is gone.
_MOST_CACHED: Final = 1024
_LONGEST_CACHED: Final = 256  # bytes
# Of a text that is an attribute's value: longer ones are cut, as a stack of endless recursion.
_MOST_CHARS: Final = 16_384
_ONE_BYTE: Final = 0x80
_TWO_BYTES: Final = 0x4000
_VARINTS: Final = tuple(
    bytes((n,)) if n < _ONE_BYTE else bytes((n & 0x7F | 0x80, n >> 7)) for n in range(_TWO_BYTES)
)
_UINT64: Final = 1 << 64
_INT64: Final = 1 << 63
_double: Final = struct.Struct("<d").pack
_fixed64: Final = struct.Struct("<Q").pack
_fixed32: Final = struct.Struct("<I").pack

# Tags: field number << 3 | wire type (0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes).
_TRACE_ID: Final = b"\x0a\x10"
_SPAN_ID: Final = b"\x12\x08"
_PARENT_SPAN_ID: Final = b"\x22\x08"
_NAME: Final = b"\x2a"
_KIND: Final = b"\x30"
_TIMES: Final = struct.Struct("<cQcQ").pack  # start 0x39, end 0x41
_EVENT: Final = b"\x5a"
_LINK: Final = b"\x6a"
_STATUS: Final = b"\x7a"
_FLAGS: Final = b"\x85\x01"
# SpanFlags: whether the parent is in another process is known.
_PARENT_LOCAL: Final = _FLAGS + _fixed32(0x100)
_PARENT_REMOTE: Final = _FLAGS + _fixed32(0x300)


def varint(number: int) -> bytes:
    """Return an unsigned number in protobuf's variable length."""
    if number < _TWO_BYTES:
        return _VARINTS[number]
    encoded = bytearray()
    while number >= _ONE_BYTE:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def delimited(tag: bytes, content: bytes) -> bytes:
    """Return a field of bytes, text or a message."""
    return tag + varint(len(content)) + content


def _text(tag: bytes, text: str) -> bytes:
    return delimited(tag, text.encode("utf-8", "replace"))


def _int(value: int) -> bytes:
    # An int64 in two's complement: what is larger is no number there.
    return b"\x18" + varint(value % _UINT64) if -_INT64 <= value < _INT64 else _text(b"\x0a", str(value))


# By the exact type, which is the quickest question there is; what is derived from one of these asks once more.
_VALUES: Final[Mapping[type, Callable[[Any], bytes]]] = {
    str: lambda value: _text(b"\x0a", value[:_MOST_CHARS]),
    bool: lambda value: b"\x10\x01" if value else b"\x10\x00",
    int: _int,
    float: lambda value: b"\x21" + _double(value),
    type(None): lambda _: b"",
    **dict.fromkeys(
        (list, tuple),
        lambda values: delimited(b"\x2a", b"".join(delimited(b"\x0a", any_value(each)) for each in values)),
    ),
}


def any_value(value: object) -> bytes:
    """Return an AnyValue; what OTLP knows no type for is written as text."""
    encode = _VALUES.get(type(value))
    if encode is None:
        base = next((known for known in _VALUES if isinstance(value, known)), None)
        return _VALUES[base](value) if base else _text(b"\x0a", str(value))
    return encode(value)


def _remember(cache: dict[Any, bytes], what: object, encoded: bytes) -> None:
    if len(encoded) > _LONGEST_CACHED:
        return
    if len(cache) >= _MOST_CACHED:
        cache.clear()
    cache[what] = encoded


def _pairs(tag: bytes) -> Callable[[str, object], bytes]:
    """Return a function that writes an attribute under this tag, and remembers those of text."""
    texts: dict[tuple[str, str], bytes] = {}
    keys: dict[str, bytes] = {}

    def pair(key: str, value: object) -> bytes:
        if not isinstance(value, str):
            return written(key, value)
        known = texts.get((key, value))
        if known is None:
            known = written(key, value)
            _remember(texts, (key, value), known)
        return known

    def written(key: str, value: object) -> bytes:
        name = keys.get(key)
        if name is None:
            name = _text(b"\x0a", key)
            _remember(keys, key, name)
        content = name + delimited(b"\x12", any_value(value))
        return tag + varint(len(content)) + content

    return pair


_attribute: Final = _pairs(b"\x0a")  # of a resource
_event_attribute: Final = _pairs(b"\x1a")
_link_attribute: Final = _pairs(b"\x22")
span_attribute: Final = _pairs(b"\x4a")
log_attribute: Final = _pairs(b"\x32")


def event(name: str, time_ns: int, attributes: Mapping[str, object]) -> bytes:
    """Return a span's event."""
    pairs = b"".join(_event_attribute(key, value) for key, value in attributes.items())
    return delimited(_EVENT, b"\x09" + _fixed64(time_ns) + _text(b"\x12", name) + pairs)


def link(trace_id: int, span_id: int, attributes: Mapping[str, object]) -> bytes:
    """Return a span's link to another one."""
    ids = _TRACE_ID + trace_id.to_bytes(16, "big") + _SPAN_ID + span_id.to_bytes(8, "big")
    pairs = b"".join(_link_attribute(key, value) for key, value in attributes.items())
    return delimited(_LINK, ids + pairs)


def status(code: int, message: str | None) -> bytes:
    """Return a span's status; nothing for one that is unset."""
    if not code:
        return b""
    return delimited(_STATUS, (_text(b"\x12", message) if message else b"") + b"\x18" + varint(code))


def span(
    *,
    trace_id: int,
    span_id: int,
    parent_id: int | None,
    parent_is_remote: bool,
    name: str,
    kind: int,
    start_ns: int,
    end_ns: int,
    attributes: Iterable[bytes],
    rest: bytes,
) -> bytes:
    """Return one span of a ScopeSpans; `attributes` and `rest` (events, links, status) are encoded already, times are Unix ns."""
    return delimited(
        b"\x12",
        b"".join(
            (
                _TRACE_ID,
                trace_id.to_bytes(16, "big"),
                _SPAN_ID,
                span_id.to_bytes(8, "big"),
                _PARENT_SPAN_ID + parent_id.to_bytes(8, "big") if parent_id else b"",
                _text(_NAME, name),
                _KIND,
                _VARINTS[kind],
                _TIMES(b"\x39", start_ns, b"\x41", end_ns),
                *attributes,
                rest,
                _PARENT_REMOTE if parent_is_remote else _PARENT_LOCAL,
            )
        ),
    )


def log_record(
    *,
    time_ns: int,
    severity_number: int,
    severity_text: str,
    body: str,
    attributes: Iterable[bytes],
    trace_id: int,
    span_id: int,
    trace_flags: int,
) -> bytes:
    """Return one record of a ScopeLogs; `attributes` are encoded already, IDs of 0 are none, the time is Unix ns."""
    text = body.encode("utf-8", "replace")
    return delimited(
        b"\x12",
        b"".join(
            (
                _TIMES(b"\x09", time_ns, b"\x59", time_ns),
                b"\x10",
                _VARINTS[severity_number],
                _text(b"\x1a", severity_text),
                delimited(b"\x2a", delimited(b"\x0a", text)),
                *attributes,
                b"\x45" + _fixed32(trace_flags) if trace_id else b"",
                b"\x4a\x10" + trace_id.to_bytes(16, "big") if trace_id else b"",
                b"\x52\x08" + span_id.to_bytes(8, "big") if trace_id else b"",
            )
        ),
    )


class Envelope:
    """What stands around the spans or log records of one process: its resource and its scope, encoded once.

    ExportTraceServiceRequest and ExportLogsServiceRequest have the same field numbers.
    """

    def __init__(self, resource: Resource, scope_name: str, scope_version: str) -> None:
        attributes = b"".join(_attribute(key, value) for key, value in resource.attributes.items())
        self._resource = delimited(b"\x0a", attributes)
        self._scope = delimited(b"\x0a", _text(b"\x0a", scope_name) + _text(b"\x12", scope_version))

    def around(self, items: Sequence[bytes]) -> bytes:
        """Return the request that exports these spans or records."""
        scoped = delimited(b"\x12", b"".join((self._scope, *items)))
        return delimited(b"\x0a", self._resource + scoped)


def flattened(values: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, object]]:
    """Yield nested mappings as one level of dotted names."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

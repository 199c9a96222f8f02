"""Telemetry as it is stored, held against the contract: each function yields in words what is wrong."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE

from observability import signals
from observability.signals import SERIES_PER_INSTANCE, SERVICE_NAMESPACE, Attribute, Bound, MetricSpec, Span
from observability_checks.contract.attributes import (
    EXCEPTION,
    RECORD_ATTRIBUTES,
    SPAN_ATTRIBUTES,
    AttributeSpec,
    Type,
)
from observability_checks.contract.records import RECORDS, RecordSpec
from observability_checks.contract.series import HOST_METRICS, SCRAPED_JOBS
from observability_checks.contract.sources import RESOURCES
from observability_checks.contract.spans import SPANS, Kind, SpanSpec
from telemetry_queries.sources import SERVICES, Source

# Jaeger's words for an attribute's type, and what it adds of its own: kind, status and scope.
# What no quiet system writes, none whose object store answers, and none that has lost nothing.
SILENT_RECORDS: Final = frozenset(
    {"overloaded", "bytes that stayed", "bytes that could not be swept", "bytes brought back"}
)
JAEGER_TYPES: Final = {
    "string": Type.STRING,
    "int64": Type.INT,
    "float64": Type.DOUBLE,
    "bool": Type.BOOLEAN,
}
JAEGER_TAGS: Final = frozenset(
    {
        *("span.kind", "error", "otel.status_code", "otel.status_description"),
        *("otel.scope.name", "otel.scope.version"),
    }
)
JAEGER_EVENT: Final = frozenset({"event", "exception.escaped"})
# A duration of a step cannot be longer than its span, and of a long one it is the greater part.
LONG_SECONDS: Final = 0.2
TOLERANCE_SECONDS: Final = 0.05

# VictoriaLogs' own fields, and those of a record that are no attributes.
LOG_STORE_FIELDS: Final = frozenset(
    {
        *("_time", "_msg", "_stream", "_stream_id", "severity_text", "severity_number"),
        *("scope.name", "scope.version"),
    }
)
NUMBERS: Final = {
    Type.INT: re.compile(r"-?\d+"),
    Type.DOUBLE: re.compile(r"-?\d+(\.\d+)?(e-?\d+)?"),
}

# What Prometheus makes of the resource.
RESOURCE_LABELS: Final = frozenset({"job", "instance", "service_name", "deployment_environment_name"})
TARGET_INFO: Final = "target_info"
ALERTS: Final = frozenset({"ALERTS", "ALERTS_FOR_STATE"})

READABLE: Final = 50


# ---- spans


@dataclass(frozen=True)
class StoredSpan:
    """A span out of Jaeger: attributes with their type, events as the names of their attributes."""

    service: str
    name: str
    kind: str
    seconds: float
    attributes: Mapping[str, tuple[str, Any]]
    resource: frozenset[str]
    events: tuple[frozenset[str], ...] = ()
    parent: "StoredSpan | None" = None
    orphan: bool = False  # its parent is not stored
    span_id: str = ""
    started: float = 0.0


def span_spec(span: StoredSpan) -> SpanSpec | None:
    """Return the contract's entry for a span."""
    values = {name: value for name, (_, value) in span.attributes.items()}
    return next(
        (
            spec
            for spec in SPANS
            if (spec.service, spec.kind, spec.named(values)) == (span.service, span.kind, span.name)
        ),
        None,
    )


def span_faults(span: StoredSpan) -> Iterator[str]:
    """Say what of a span is not as the contract has it."""
    spec = span_spec(span)
    where = f"{span.service}: {span.kind} span {span.name!r}"
    if spec is None:
        yield f"{where} is not in the contract"
        return
    yield from (f"{where} {fault}" for fault in _parent_faults(span, spec))
    own = span.attributes.keys() - JAEGER_TAGS
    yield from (f"{where} lacks {name}" for name in sorted(spec.required - own))
    if Attribute.CLIENT_ID not in own | spec.required and _is_of_a_tenant(span):
        yield f"{where} lacks {Attribute.CLIENT_ID}"
    yield from (f"{where} has an unlisted {name}" for name in sorted(own - spec.required - spec.optional))
    for name in sorted(own & SPAN_ATTRIBUTES.keys()):
        yield from (f"{where}: {name} {fault}" for fault in _value_faults(span, name))
    if span.resource | {"service.name"} != RESOURCES[spec.service]:
        yield f"{where} has another resource: {sorted(span.resource)}"
    for event in span.events:
        if event - JAEGER_EVENT != EXCEPTION:
            yield f"{where} has another event: {sorted(event)}"


def _is_of_a_tenant(span: StoredSpan) -> bool:
    """Whether the tenant was known already: the span is of a tenant's request, and not of finding out whose it is."""
    step: StoredSpan | None = span
    while step is not None and step.name != Span.AUTHENTICATE:
        if step.kind == Kind.SERVER:
            return step is not span and Attribute.CLIENT_ID in step.attributes
        step = step.parent
    return False


# Not every step fails, wherever failing is foreseen; where all traces are kept, none is marked; and a request waits only in a
# service that has too much in hand.
SILENT_ATTRIBUTES: Final = frozenset(
    {ERROR_TYPE, Attribute.EXEMPLAR_KEEP, Attribute.ADMISSION_WAIT, "context_data.waited"}
)


def missing_spans(spans: Collection[StoredSpan]) -> Iterator[str]:
    """Say which span of the contract nobody made, and which attribute nobody set."""
    for spec in SPANS:
        mine = [span for span in spans if span_spec(span) is spec]
        if not mine:
            yield f"{spec.service}: no span {spec.name}"
            continue
        seen = set[str]().union(*(span.attributes for span in mine))
        unseen = (spec.required | spec.optional) - seen - SILENT_ATTRIBUTES
        yield from (f"{spec.service}: no span {spec.name} with {name}" for name in sorted(unseen))


def _parent_faults(span: StoredSpan, spec: SpanSpec) -> Iterator[str]:
    if span.orphan:
        return
    parent = span_spec(span.parent) if span.parent else None
    if not spec.is_below(parent):
        yield f"is below {span.parent.name if span.parent else 'nothing'!r}"


def _value_faults(span: StoredSpan, name: str) -> Iterator[str]:
    stored_type, value = span.attributes[name]
    spec = SPAN_ATTRIBUTES[name]
    if _jaeger_type(stored_type, value) != spec.type:
        yield f"is a {stored_type}, not a {spec.type}"
    elif spec.unit == "s" and not _is_time_of(value, span.seconds):
        yield f"is {value}, in a span of {span.seconds} s"
    elif spec.unit == "By" and value < 0:
        yield f"is {value}"
    elif spec.values is not None and value not in spec.values:
        yield f"is {value!r}, none of {sorted(spec.values)}"


def _jaeger_type(stored: str, value: Any) -> object:
    """Return an attribute's type; Jaeger stores a list as its JSON."""
    if stored == "string" and str(value).startswith("["):
        return Type.STRINGS
    return JAEGER_TYPES.get(stored)


def _is_time_of(value: float, seconds: float) -> bool:
    if not 0 <= value <= seconds + TOLERANCE_SECONDS:
        return False
    return seconds < LONG_SECONDS or value >= seconds / 2


# ---- log records


def record_spec(fields: Mapping[str, str]) -> RecordSpec | None:
    """Return the contract's entry for a log record."""
    return next(
        (
            spec
            for spec in RECORDS
            if fields.get("service.name") in spec.sources
            and fields.get("severity_text") in spec.levels
            and spec.message.fullmatch(fields.get("_msg", ""))
        ),
        None,
    )


def record_faults(fields: Mapping[str, str]) -> Iterator[str]:
    """Say what of a log record is not as the contract has it."""
    where = f"{fields.get('service.name')}: {fields.get('severity_text')} {fields.get('_msg')!r}"
    spec = record_spec(fields)
    if spec is None:
        yield f"{where} is not in the contract"
        return
    resource = RESOURCES[Source(fields["service.name"])]
    own = {name for name, value in fields.items() if value != ""} - LOG_STORE_FIELDS
    yield from (f"{where} lacks {name}" for name in sorted((spec.required | resource) - own))
    unlisted = own - spec.required - spec.optional - resource
    yield from (f"{where} has an unlisted {name}" for name in sorted(unlisted))
    for name in sorted(own & RECORD_ATTRIBUTES.keys()):
        yield from (
            f"{where}: {name} {fault}" for fault in _text_faults(fields[name], RECORD_ATTRIBUTES[name])
        )


def missing_records(records: Collection[Mapping[str, str]]) -> Iterator[str]:
    """Say which log record of the contract nobody wrote, and which attribute nobody set."""
    for spec in (spec for spec in RECORDS if spec.name not in SILENT_RECORDS):
        mine = [record for record in records if record_spec(record) is spec]
        seen = set[str]().union(*mine)
        if not mine:
            yield f"no record {spec.name}"
        else:
            unseen = (spec.required | spec.optional) - seen - SILENT_ATTRIBUTES
            yield from (f"no record {spec.name} with {name}" for name in sorted(unseen))


def _text_faults(value: str, spec: AttributeSpec) -> Iterator[str]:
    """Say why a text cannot be such a value; the log store keeps everything as text."""
    number = NUMBERS.get(spec.type)
    if number is not None and not number.fullmatch(value):
        yield f"is {value!r}, not a {spec.type}"
    if spec.values is not None and value not in spec.values:
        yield f"is {value!r}, none of {sorted(spec.values)}"


def time_faults(record: Mapping[str, str], span: StoredSpan) -> Iterator[str]:
    """Say whether the duration that a record tells is none of its span, in seconds."""
    for name in RECORD_ATTRIBUTES.keys() & record.keys():
        if RECORD_ATTRIBUTES[name].unit == "s" and not _is_about(float(record[name]), span.seconds):
            yield f"{record['service.name']}: {record['_msg']!r}: {name} is {record[name]}, in a span of {span.seconds} s"


_WAITED_SECONDS: Final = 0.5


def _is_about(value: float, seconds: float) -> bool:
    # On a busy machine a request waits at the service's socket: nginx counts that, and no span has begun. A wrong unit is
    # a thousand times too much, and some spans of each source take longer than a second.
    least, most = seconds / 2 - 2 * TOLERANCE_SECONDS, seconds * 1.5 + _WAITED_SECONDS
    return least <= value <= most


# ---- series


def stored_names(metric: MetricSpec) -> set[str]:
    """Return the names under which Prometheus stores a metric."""
    name = metric.prometheus_name
    return {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if metric.kind == "histogram" else {name}


METRICS_OF: Final = {
    Source.DOCUMENT_API: (*signals.SERVICE_METRICS, *signals.DOCUMENT_METRICS),
    Source.DATA_STORE: (*signals.SERVICE_METRICS, *signals.DATABASE_METRICS),
    Source.HOST: HOST_METRICS,
}
_SPECS: Final = {
    source: {name: metric for metric in metrics for name in stored_names(metric)}
    for source, metrics in METRICS_OF.items()
}
_JOBS: Final = {f"{SERVICE_NAMESPACE}/{source}": source for source in METRICS_OF}


def metric_spec(labels: Mapping[str, str]) -> MetricSpec | None:
    """Return the contract's entry for a series that was sent, None for any other series."""
    source = _JOBS.get(labels.get("job", ""))
    return _SPECS[source].get(labels["__name__"]) if source else None


def series_faults(labels: Mapping[str, str], recorded: frozenset[str]) -> Iterator[str]:
    """Say what of a series is not as the contract has it; `recorded` are the names of the recording rules."""
    name, job = labels["__name__"], labels.get("job", "")
    if name in recorded | ALERTS or job in SCRAPED_JOBS:
        return
    source = _JOBS.get(job)
    if source is None:
        yield f"{name} of job {job!r}: nothing sends, scrapes or computes it"
    elif name == TARGET_INFO:
        yield from _resource_faults(labels, source)
    elif (metric := metric_spec(labels)) is None:
        yield f"{source}: {name} is not in the contract"
    else:
        yield from (f"{source}: {name} {fault}" for fault in _label_faults(labels, metric, source))


def _resource_faults(labels: Mapping[str, str], source: Source) -> Iterator[str]:
    found = labels.keys() - {"__name__", "job", "instance"}
    if found != {name.replace(".", "_") for name in RESOURCES[source]}:
        yield f"{source} has another resource: {sorted(found)}"


def _label_faults(labels: Mapping[str, str], metric: MetricSpec, source: Source) -> Iterator[str]:
    own = (
        labels.keys()
        - {"__name__", "le"}
        - RESOURCE_LABELS
        - ({"service_version"} if source in SERVICES else set())
    )
    listed = metric.prometheus_labels.keys()
    sometimes = {label.replace(".", "_") for label in metric.sometimes}
    yield from (f"lacks {label}" for label in sorted(listed - own - sometimes))
    yield from (f"has an unlisted {label}" for label in sorted(own - listed))
    for label in sorted(own & listed):
        bound = metric.prometheus_labels[label]
        if not isinstance(bound, int) and labels[label] not in bound:
            yield f"has {label}={labels[label]!r}, none of {sorted(bound)}"


def cardinality_faults(series: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Say which instance has more series, and which label more values, than the contract allows."""
    count: dict[tuple[str, str], int] = defaultdict(int)
    values: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    bounds: dict[tuple[str, str, str], Bound] = {}
    for labels in series:
        if (metric := metric_spec(labels)) is None:
            continue
        count[labels["job"], labels["instance"]] += 1
        for label, bound in metric.prometheus_labels.items():
            key = (labels["instance"], metric.prometheus_name, label)
            values[key].add(labels.get(label, ""))
            bounds[key] = bound
    for (job, instance), number in count.items():
        if number > SERIES_PER_INSTANCE:
            yield f"{job} {instance} has {number} series, more than {SERIES_PER_INSTANCE}"
    for key, found in values.items():
        bound = bounds[key]
        if isinstance(bound, int) and len(found) > bound:
            yield f"{' '.join(key)} has {len(found)} values, more than {bound}"


def bucket_faults(series: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Say which histogram has other bounds than the contract's."""
    bounds: dict[str, set[float]] = defaultdict(set)
    specs: dict[str, MetricSpec] = {}
    for labels in series:
        metric = metric_spec(labels)
        if metric is not None and "le" in labels:
            bounds[metric.prometheus_name].add(float(labels["le"]))
            specs[metric.prometheus_name] = metric
    for name, found in bounds.items():
        if found != {*map(float, specs[name].buckets or ()), float("inf")}:
            yield f"{name} has the buckets {sorted(found)}"


def exemplar_faults(labels: Mapping[str, str], exemplar: Mapping[str, str]) -> Iterator[str]:
    """Say what of an exemplar is not as the contract has it: it belongs to a request, and tells which."""
    metric = metric_spec(labels)
    if metric is None or not metric.exemplars:
        yield f"{labels['__name__']} has an exemplar"
    elif exemplar.keys() != {"trace_id", "span_id", "correlation_id"}:
        yield f"{labels['__name__']} has an exemplar with {sorted(exemplar)}"


def faults_of(things: Iterable[Any], faults: Callable[[Any], Iterator[str]]) -> list[str]:
    """Return every fault once, however many things have it, and no more of them than one can read."""
    return sorted({fault for thing in things for fault in faults(thing)})[:READABLE]


def missing_metrics(series: Iterable[Mapping[str, str]], silent: Collection[MetricSpec]) -> Iterator[str]:
    """Say which metric of the contract nobody sends, but for those that have no reason to speak."""
    found = {(labels.get("job"), labels["__name__"]) for labels in series}
    for job, source in _JOBS.items():
        wanted = {
            name for metric in METRICS_OF[source] if metric not in silent for name in stored_names(metric)
        }
        yield from (f"{source}: no {name}" for name in sorted(wanted) if (job, name) not in found)

"""Holds what was stored against what was expected. Pure; every function returns its findings, one line each."""

import re
from collections.abc import Iterable, Iterator, Sequence

from opentelemetry.semconv.attributes.http_attributes import HTTP_REQUEST_RESEND_COUNT

from observability.signals import PRINCIPAL_BY_KEY_ROUTE, PRINCIPAL_BY_SUBJECT_ROUTE, Attribute
from observability.signals import Span as SpanName
from observability_checks.contract.expected import ExpectedLine, ExpectedSpan, Facts
from telemetry_queries.models import LogRecord, SpanRecord, Trace
from telemetry_queries.sources import Source

_SLOW = " (slow)"
_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_BEFORE_THE_TENANT = (PRINCIPAL_BY_KEY_ROUTE, PRINCIPAL_BY_SUBJECT_ROUTE)


def trace_problems(traces: Sequence[Trace], expected: ExpectedSpan, facts: Facts) -> list[str]:
    """Compare the stored trace of a request with the tree it must have."""
    if len(traces) != 1:
        return [f"expected 1 trace, found {len(traces)}"]
    lasting = traces[0].without(
        [span for failed in _made_again(traces[0]) for span in traces[0].below(failed)]
    )
    asking = [span for asked in lasting.named(SpanName.AUTHENTICATE) for span in lasting.below(asked)]
    trace = lasting.without(asking)
    trace = trace.without(list(_lost_attempts(trace)))
    return [
        *_asking_problems(asking, facts),
        *_root_problems(trace, expected),
        *_correlation_problems(trace, facts),
        *_parameter_problems(trace, facts),
        *(
            f"{span.name}: status is ERROR though the request succeeded"
            for span in trace.spans
            if span.failed
        ),
    ]


def _made_again(trace: Trace) -> list[SpanRecord]:
    """Attempts of a call that failed and were followed by another one: they are the trace's, and no fault of it."""
    return [
        span
        for again in trace.spans
        if again.attributes.get(HTTP_REQUEST_RESEND_COUNT)
        for span in trace.children(again.parent_id)
        if span.failed and span.name == again.name and _resends(span) < _resends(again)
    ]


def _resends(span: SpanRecord) -> int:
    return int(str(span.attributes.get(HTTP_REQUEST_RESEND_COUNT, 0)))


def _lost_attempts(trace: Trace) -> Iterator[SpanRecord]:
    """What data-store did on a connection that it lost, and then did again on another: a restarted database is no defect."""
    for parent in {span.parent_id for span in trace.named(SpanName.DATABASE_CONNECTION)}:
        steps = list(trace.children(parent))
        *_, last = (span for span in steps if span.name == SpanName.DATABASE_CONNECTION)
        before = [span for span in steps if span.start_us < last.start_us]
        if any(span.failed and span.name == SpanName.SQL_EXECUTION for span in before):
            yield from before


def _asking_problems(asking: Sequence[SpanRecord], facts: Facts) -> Iterator[str]:
    """Who sends a request is asked once where it is asked at all; the tenant is not known before."""
    asked = [span for span in asking if span.name == SpanName.AUTHENTICATE]
    if len(asked) != facts.authenticated:
        yield f"'{SpanName.AUTHENTICATE}' is {len(asked)} times there, expected {int(facts.authenticated)}"
    for span in asking:
        if span.failed:
            yield f"{span.name}: status is ERROR though the request succeeded"
        if span.attributes.get(Attribute.CORRELATION_ID) != facts.correlation_id:
            yield f"{span.name}: correlation_id is {span.attributes.get(Attribute.CORRELATION_ID)!r}"


def _root_problems(trace: Trace, expected: ExpectedSpan) -> Iterator[str]:
    """The tree hangs at the trace's root, or under nginx's span where nginx makes one."""
    roots = [span for span in trace.roots() if span.service != Source.NGINX]
    under_nginx = [
        child
        for span in trace.spans
        if span.service == Source.NGINX
        for child in trace.children(span.span_id)
        if child.service != Source.NGINX
    ]
    yield from _siblings_problems(trace, roots + under_nginx, (expected,), "the trace's root")


def _siblings_problems(
    trace: Trace, found: Sequence[SpanRecord], expected: Sequence[ExpectedSpan], parent: str
) -> Iterator[str]:
    """Pair the children of one span with those it must have, and go down."""
    left = list(found)
    for wanted in expected:
        matches = [span for span in left if wanted.fits(span)]
        left = [span for span in left if span not in matches]
        yield from _count_problems(trace, wanted, matches, parent)
        for span in matches[:1]:
            yield from _span_problems(span, wanted)
            yield from _siblings_problems(
                trace, list(trace.children(span.span_id)), wanted.children, span.name
            )
    yield from (f"unexpected span {span.name!r} ({span.service}) under {parent}" for span in left)


def _count_problems(
    trace: Trace, wanted: ExpectedSpan, matches: Sequence[SpanRecord], parent: str
) -> Iterator[str]:
    if len(matches) > 1 and not wanted.optional:
        yield f"'{wanted.name}' is {len(matches)} times under {parent}"
    if matches or wanted.optional:
        return
    elsewhere = [_parent_name(trace, span) for span in trace.named(wanted.name)]
    hint = f": found under {', '.join(elsewhere)}" if elsewhere else ""
    yield f"no span '{wanted.name}' under {parent}{hint}"


def _parent_name(trace: Trace, span: SpanRecord) -> str:
    parent = next((each.name for each in trace.spans if each.span_id == span.parent_id), None)
    return repr(parent) if parent else "no stored parent"


def _span_problems(span: SpanRecord, wanted: ExpectedSpan) -> Iterator[str]:
    if span.service != wanted.spec.service:
        yield f"{span.name}: service is {span.service}, expected {wanted.spec.service}"
    if span.kind != wanted.spec.kind:
        yield f"{span.name}: kind is {span.kind}, expected {wanted.spec.kind}"
    yield from (
        f"{span.name}: no attribute {key}" for key in sorted(wanted.has) if key not in span.attributes
    )
    for key, value in wanted.equals.items():
        if span.attributes.get(key) != value:
            yield f"{span.name}: {key} is {span.attributes.get(key)!r}, expected {_shown(value)}"


def _shown(value: object) -> str:
    """A value as its plain type shows it, enumerations too."""
    return repr(str(value)) if isinstance(value, str) else repr(value)


def _correlation_problems(trace: Trace, facts: Facts) -> Iterator[str]:
    expected = {Attribute.CORRELATION_ID: facts.correlation_id, Attribute.CLIENT_ID: facts.client_id}
    for span in trace.spans:
        for key, value in expected.items():
            if span.attributes.get(key) != value:
                yield f"{span.name}: {key} is {span.attributes.get(key)!r}, expected {_shown(value)}"


def _parameter_problems(trace: Trace, facts: Facts) -> Iterator[str]:
    """No value that a client sent may stand in what is kept of a statement."""
    sent = {text for text in (facts.client_id, facts.filename) if text}
    for span in trace.named(SpanName.SQL_EXECUTION):
        for key, value in span.attributes.items():
            shown = key.startswith("db.") and not sent.isdisjoint(_literals(str(value)))
            if shown or key.startswith("db.query.parameter"):
                yield f"{span.name}: {key} shows a statement's parameters"


def _literals(statement: str) -> Iterator[str]:
    """The texts that stand in a statement as values: a client may have the name of a column."""
    return (literal.replace("''", "'") for literal in _LITERAL.findall(statement))


def line_problems(
    records: Sequence[LogRecord], expected: Iterable[ExpectedLine], facts: Facts, trace_id: str | None
) -> list[str]:
    """Compare the stored log lines of a request with those it must have."""
    return [
        *_missing_lines(records, expected),
        *(problem for record in records for problem in _record_problems(record, facts, trace_id)),
    ]


def _missing_lines(records: Sequence[LogRecord], expected: Iterable[ExpectedLine]) -> Iterator[str]:
    for line in expected:
        found = [record for record in records if record.service == line.service and _says(record, line)]
        if len(found) != 1:
            yield f"expected 1 line {line.message!r} of {line.service}, found {len(found)}"
        yield from (
            f"{record.message!r} of {line.service}: level is {record.level}, expected {_level(record, line)}"
            for record in found
            if record.level != _level(record, line)
        )


def _says(record: LogRecord, line: ExpectedLine) -> bool:
    return record.message.removesuffix(_SLOW) == line.message


def _level(record: LogRecord, line: ExpectedLine) -> str:
    """A slow request is a warning, and its line says so."""
    return "WARNING" if record.message.endswith(_SLOW) else line.level


def _record_problems(record: LogRecord, facts: Facts, trace_id: str | None) -> Iterator[str]:
    where = f"{record.message!r} of {record.service}"
    if record.correlation_id != facts.correlation_id:
        yield f"{where}: correlation_id is {record.correlation_id!r}, expected {facts.correlation_id!r}"
    if trace_id and record.trace_id != trace_id:
        yield f"{where}: trace_id is {record.trace_id!r}, expected {trace_id!r}"
    # PostgreSQL knows of a request only what stands in the statement's comment.
    if (
        facts.client_id
        and record.service != Source.POSTGRESQL
        and not any(route in record.message for route in _BEFORE_THE_TENANT)
        and record.fields.get(Attribute.CLIENT_ID) != facts.client_id
    ):
        yield f"{where}: client_id is {record.fields.get(Attribute.CLIENT_ID)!r}, expected {facts.client_id!r}"


def refusal_problems(traces: Sequence[Trace], status: int) -> list[str]:
    """Spans of a refused request: there is a trace, it knows the status, and nothing in it is marked as an error."""
    if len(traces) != 1:
        return [f"expected 1 trace, found {len(traces)}"]
    spans = traces[0].spans
    codes = [span.attributes.get("http.response.status_code") for span in spans if span.kind == "server"]
    return [
        *([] if status in codes else [f"no server span has status {status}, found {codes}"]),
        *(f"{span.name}: status is ERROR for a {status}" for span in spans if span.failed),
    ]

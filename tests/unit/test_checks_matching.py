"""The checks of spans and log lines, on recordings of a real request; each is seen to fail on what it must find."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from observability.signals import Attribute, Span
from observability_checks.contract.expected import (
    Facts,
    retrieval_lines,
    retrieval_spans,
    upload_lines,
    upload_spans,
)
from observability_checks.matching import line_problems, refusal_problems, trace_problems
from telemetry_queries.jaeger import parse_trace
from telemetry_queries.models import LogRecord, SpanRecord, Trace
from telemetry_queries.victorialogs import parse

RECORDED = Path(__file__).parent / "recorded"
UPLOAD = Facts("3f0c8d52-9a41-4e0b-8a55-5f2d4a1c7e90", "acme", 243, 349, "report.txt")
RETRIEVAL = Facts("8c1b7a64-2d3f-4b6e-9c77-0a9e1d2f3b45", "acme", 243)


def trace_of(name: str) -> Trace:
    """A trace as Jaeger answered it."""
    return parse_trace(json.loads((RECORDED / f"{name}_trace.json").read_text()))


def lines_of(name: str) -> list[LogRecord]:
    """Log records as VictoriaLogs answered them."""
    return list(parse((RECORDED / f"{name}_log_lines.jsonl").read_text()))


def upload_problems(*spans: SpanRecord) -> list[str]:
    """Problems of an upload's trace with these spans."""
    return trace_problems([Trace("t", spans)], upload_spans(UPLOAD), UPLOAD)


def changed(name: str, change: Callable[[SpanRecord], SpanRecord]) -> list[str]:
    """Problems of the recorded upload when the spans of one name are changed."""
    return upload_problems(
        *(change(span) if span.name == name else span for span in trace_of("upload").spans)
    )


def having(span: SpanRecord, **attributes: object) -> SpanRecord:
    """A span with other attributes."""
    return replace(span, attributes={**span.attributes, **attributes})


def lacking(span: SpanRecord, key: str) -> SpanRecord:
    """A span without one attribute."""
    return replace(span, attributes={name: value for name, value in span.attributes.items() if name != key})


def test_the_recorded_upload_is_as_the_contract_says():
    """Twelve spans over both services, and no problem."""
    assert trace_problems([trace_of("upload")], upload_spans(UPLOAD), UPLOAD) == []
    assert len(trace_of("upload").spans) == 12


def test_the_recorded_retrieval_is_as_the_contract_says():
    """A GET has no commit: it is one statement."""
    assert trace_problems([trace_of("retrieval")], retrieval_spans(RETRIEVAL), RETRIEVAL) == []


@pytest.mark.parametrize("name", sorted({span.name for span in trace_of("upload").spans}))
def test_every_span_that_is_missing_is_found(name: str):
    """Take any one away and the check fails, naming it."""
    problems = upload_problems(*(span for span in trace_of("upload").spans if span.name != name))
    assert any(f"no span {name!r}" in problem for problem in problems)


def test_a_wrong_parent_is_found_and_named():
    """file_read beside file_processing, instead of in it, says where it was found."""
    spans = {span.name: span for span in trace_of("upload").spans}
    parent = spans[Span.UPLOAD_DOCUMENT].span_id
    problems = changed(Span.FILE_READ, lambda span: replace(span, parent_id=parent))
    assert problems == [
        "no span 'file_read' under file_processing: found under 'upload_document'",
        "unexpected span 'file_read' (document-api) under upload_document",
    ]


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        (
            Span.SQL_EXECUTION,
            lambda span: replace(span, kind="internal"),
            "sql_execution: kind is internal, expected client",
        ),
        (
            Span.FILE_SAVE,
            lambda span: replace(span, service="data-store"),
            "file_save: service is data-store, expected document-api",
        ),
        (
            Span.UPLOAD_DOCUMENT,
            lambda span: having(span, **{"document.id": 7}),
            "upload_document: document.id is 7, expected 243",
        ),
        (
            Span.FILE_PROCESSING,
            lambda span: having(span, file_size=1),
            "file_processing: file_size is 1, expected 349",
        ),
        (
            Span.LLM_SUMMARIZATION,
            lambda span: lacking(span, Attribute.SUMMARY_SOURCE),
            "llm_summarization: no attribute summary.source",
        ),
        (
            Span.TRANSACTION_COMMIT,
            lambda span: having(span, success_status="rolled_back"),
            "transaction_commit: success_status is 'rolled_back', expected 'committed'",
        ),
        (
            Span.DATABASE_CONNECTION,
            lambda span: lacking(span, "correlation_id"),
            f"database_connection: correlation_id is None, expected {UPLOAD.correlation_id!r}",
        ),
        (
            "POST",
            lambda span: having(span, client_id="other"),
            "POST: client_id is 'other', expected 'acme'",
        ),
        (
            Span.FILE_READ,
            lambda span: replace(span, failed=True),
            "file_read: status is ERROR though the request succeeded",
        ),
        (
            Span.SQL_EXECUTION,
            lambda span: having(span, **{"db.query.parameter.0": "x"}),
            "sql_execution: db.query.parameter.0 shows a statement's parameters",
        ),
        (
            Span.SQL_EXECUTION,
            lambda span: having(span, **{"db.query.text": "INSERT ... VALUES ('report.txt')"}),
            "sql_execution: db.query.text shows a statement's parameters",
        ),
    ],
    ids=[
        "kind",
        "service",
        "document",
        "size",
        "attribute",
        "commit",
        "correlation",
        "client",
        "status",
        "parameter",
        "value",
    ],
)
def test_a_wrong_span_is_found(name: str, change: Callable[[SpanRecord], SpanRecord], problem: str):
    """Each thing that the contract says of a span is looked at."""
    assert changed(name, change) == [problem]


def test_a_span_that_is_there_twice_is_found():
    """Two instrumentations of the same call, for example."""
    spans = trace_of("upload").spans
    again = [replace(span, span_id="again") for span in spans if span.name == Span.SQL_EXECUTION]
    assert upload_problems(*spans, *again) == [
        "'sql_execution' is 2 times under POST /clients/{client_id}/documents"
    ]


@pytest.mark.parametrize("client", ["a", "b", "documents", "document_metadata", "INSERT"])
def test_a_client_may_have_the_name_of_anything_in_a_statement(client: str):
    """Only a whole value shows what was sent: `a` is in every statement."""
    facts = replace(UPLOAD, client_id=client)
    spans = [having(span, client_id=client) for span in trace_of("upload").spans]
    assert trace_problems([Trace("t", spans)], upload_spans(facts), facts) == []

    shown = [
        having(span, **{"db.query.text": f"... VALUES ('{client}', 1)"})
        if span.name == Span.SQL_EXECUTION
        else span
        for span in spans
    ]
    assert trace_problems([Trace("t", shown)], upload_spans(facts), facts) == [
        "sql_execution: db.query.text shows a statement's parameters"
    ]


STEPS = (Span.DATABASE_CONNECTION, Span.SQL_EXECUTION, Span.TRANSACTION_COMMIT)


def attempt_before(spans: Sequence[SpanRecord], *, failed: bool) -> list[SpanRecord]:
    """The steps in the database, once more and before they begin; the statement may have failed."""
    return [
        replace(
            span,
            span_id=f"lost-{span.span_id}",
            start_us=span.start_us - 1_000_000,
            failed=failed and span.name == Span.SQL_EXECUTION,
        )
        for span in spans
        if span.name in STEPS
    ]


def test_an_attempt_on_a_connection_that_was_lost_is_no_defect():
    """PostgreSQL was restarted: what data-store did once more is as it must be."""
    spans = trace_of("upload").spans
    assert upload_problems(*attempt_before(spans, failed=True), *spans) == []


def test_two_attempts_of_which_none_failed_are_found():
    """Nothing is done twice without a reason."""
    spans = trace_of("upload").spans
    assert upload_problems(*attempt_before(spans, failed=False), *spans) == [
        f"'{step}' is 2 times under POST /clients/{{client_id}}/documents" for step in STEPS
    ]


def with_an_attempt_before(**changes: object) -> list[SpanRecord]:
    """The recorded upload's spans when its call was made twice, the first time in vain."""
    spans = trace_of("upload").spans
    (call,) = (span for span in spans if span.name == "POST")
    first = replace(call, span_id="f" * 16, **{"failed": True, **changes})
    below = SpanRecord(
        **{**fields_of(spans[0]), "span_id": "e" * 16, "parent_id": first.span_id, "failed": True}
    )
    again = having(call, **{"http.request.resend_count": 1})
    return [*(again if span is call else span for span in spans), first, below]


def fields_of(span: SpanRecord) -> dict[str, Any]:
    """A span's fields."""
    return {field.name: getattr(span, field.name) for field in fields(span)}


def test_a_call_that_was_made_again_is_judged_by_its_last_attempt():
    """What failed before, and the request below it, are no fault of a request that succeeded."""
    assert upload_problems(*with_an_attempt_before()) == []


def test_an_attempt_that_was_answered_is_no_reason_to_call_again():
    """Twice the same call, of which the first had succeeded, is found."""
    assert "'POST' is 2 times under store_metadata" in upload_problems(*with_an_attempt_before(failed=False))


def test_a_span_that_the_contract_does_not_know_is_found():
    """A connect span on every checkout, for example."""
    spans = trace_of("upload").spans
    parent = next(span for span in spans if span.name == Span.STORE_METADATA).span_id
    more = replace(spans[0], name="connect", span_id="more", parent_id=parent)
    assert upload_problems(*spans, more) == ["unexpected span 'connect' (document-api) under store_metadata"]


def test_the_models_span_may_be_there():
    """With a model there is a CLIENT span of its call; without there is none."""
    spans = trace_of("upload").spans
    parent = next(span for span in spans if span.name == Span.LLM_SUMMARIZATION).span_id
    model = having(
        replace(spans[0], name="chat some-model", span_id="more", parent_id=parent, kind="client"),
        **{
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "some-model",
            "gen_ai.request.max_tokens": 500,
            "gen_ai.request.temperature": 0.0,
            "server.address": "model",
            "server.port": 443,
        },
    )
    assert upload_problems(*spans, model) == []
    assert upload_problems(*spans, model, replace(model, span_id="another part")) == []
    assert upload_problems(*spans, lacking(model, "server.address")) == [
        "chat some-model: no attribute server.address"
    ]


def test_the_tree_may_hang_under_nginxs_span():
    """Where nginx has the OTel module, the trace begins there."""
    first, *others = trace_of("upload").spans
    edge = replace(first, name="edge", service="nginx", span_id="edge")
    assert upload_problems(edge, replace(first, parent_id="edge"), *others) == []


@pytest.mark.parametrize("count", [0, 2])
def test_there_must_be_one_trace(count: int):
    """None is a trace that was lost; two are a context that was."""
    traces = [trace_of("upload")] * count
    assert trace_problems(traces, upload_spans(UPLOAD), UPLOAD) == [f"expected 1 trace, found {count}"]


def upload_line_problems(records: list[LogRecord]) -> list[str]:
    """Problems of an upload's log lines."""
    return line_problems(records, upload_lines(UPLOAD), UPLOAD, trace_of("upload").trace_id)


def test_the_recorded_lines_are_as_the_contract_says():
    """nginx's, both services', and the business event."""
    assert upload_line_problems(lines_of("upload")) == []
    trace_id = trace_of("retrieval").trace_id
    assert line_problems(lines_of("retrieval"), retrieval_lines(RETRIEVAL), RETRIEVAL, trace_id) == []


@pytest.mark.parametrize("number", range(4))
def test_every_line_that_is_missing_is_found(number: int):
    """Take any one away and the check fails, naming it and its service."""
    records = lines_of("upload")
    gone = records.pop(number)
    assert upload_line_problems(records) == [f"expected 1 line {gone.message!r} of {gone.service}, found 0"]


def test_a_line_that_is_there_twice_is_found():
    """Two handlers, for example."""
    records = lines_of("upload")
    assert "found 2" in upload_line_problems([*records, records[0]])[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"level": "ERROR"}, "level is ERROR, expected INFO"),
        ({"trace_id": "0" * 32}, "trace_id is '00000000000000000000000000000000'"),
        ({"correlation_id": ""}, "correlation_id is ''"),
        ({"fields": {}}, "client_id is None, expected 'acme'"),
    ],
    ids=["level", "trace", "correlation", "client"],
)
def test_a_wrong_line_is_found(change: dict[str, object], problem: str):
    """Each thing that the contract says of a line is looked at."""
    first, *others = lines_of("upload")
    (found,) = upload_line_problems([replace(first, **change), *others])  # type: ignore[arg-type]
    assert problem in found


def test_a_line_of_postgresql_needs_no_tenant_but_the_requests_ids():
    """It knows what stands in the statement's comment: correlation ID and trace."""
    first, *others = lines_of("upload")
    slow = replace(first, service="postgresql", message="duration: 300 ms", fields={})
    assert upload_line_problems([slow, first, *others]) == []
    assert upload_line_problems([replace(slow, trace_id=""), first, *others]) != []


def test_a_slow_request_is_a_warning_that_says_so():
    """Its line counts as the request's line; at INFO it would be wrong."""
    first, *others = lines_of("upload")
    slow = replace(first, message=f"{first.message} (slow)", level="WARNING")
    assert upload_line_problems([slow, *others]) == []
    assert upload_line_problems([replace(slow, level="INFO"), *others]) != []


def test_a_refused_request_has_a_trace_without_errors():
    """A 4xx is the client's mistake."""
    refused = [
        having(span, **{"http.response.status_code": 404}) if span.kind == "server" else span
        for span in trace_of("retrieval").spans
    ]
    assert refusal_problems([Trace("t", tuple(refused))], 404) == []
    marked = [replace(refused[0], failed=True), *refused[1:]]
    assert refusal_problems([Trace("t", tuple(marked))], 404) == [
        f"{refused[0].name}: status is ERROR for a 404"
    ]
    assert refusal_problems([trace_of("retrieval")], 404) == [
        "no server span has status 404, found [200, 200]"
    ]
    assert refusal_problems([], 404) == ["expected 1 trace, found 0"]

"""The story of one request: joined from recordings of the three back ends, then shown."""

import io
import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from observability_checks.story_view import render
from telemetry_queries.jaeger import parse_trace
from telemetry_queries.story import MetricPoint, Story, join, unsettled
from telemetry_queries.victorialogs import parse

RECORDED = Path(__file__).parent / "recorded"
ID = "3f0c8d52-9a41-4e0b-8a55-5f2d4a1c7e90"
TRACE = parse_trace(json.loads((RECORDED / "upload_trace.json").read_text()))
RECORDS = list(parse((RECORDED / "upload_log_lines.jsonl").read_text()))
POINT = MetricPoint("http_requests_total", {"status": "200"}, 1.0, 1.0)
LINKS = {"trace": "http://jaeger/trace/1"}


def shown(story: Story) -> str:
    """The story as a file gets it."""
    output = io.StringIO()
    render(story, Console(file=output, width=40))
    return output.getvalue()


def test_spans_stand_in_the_order_of_the_tree_with_times_from_the_begin():
    """Each below its parent, deeper by one."""
    story = join(ID, [TRACE], RECORDS, [POINT], LINKS)
    assert [(span.depth, span.name) for span in story.spans] == [
        (0, "PUT /clients/{client_id}/upload-document"),
        (1, "upload_document"),
        (2, "file_processing"),
        (3, "file_read"),
        (3, "file_save"),
        (2, "llm_summarization"),
        (2, "store_metadata"),
        (3, "POST"),
        (4, "POST /clients/{client_id}/documents"),
        (5, "database_connection"),
        (5, "sql_execution"),
        (5, "transaction_commit"),
    ]
    assert story.spans[0].offset_ms == 0
    assert all(span.offset_ms >= 0 for span in story.spans)


def test_what_was_done_after_a_request_comes_after_it():
    """Whatever Jaeger answers first: a summary may be written a minute later, in a trace of its own."""
    spans = tuple(replace(span, start_us=span.start_us + 60_000_000) for span in TRACE.spans)
    story = join(ID, [replace(TRACE, trace_id="later", spans=spans), TRACE], RECORDS, [POINT], LINKS)
    assert story.trace_ids == (TRACE.trace_id, "later")
    assert [span.offset_ms for span in story.spans if span.depth == 0] == [0, 60_000]


def test_lines_of_all_services_stand_in_the_order_of_time():
    """The data store ends first, nginx last or nearly so."""
    story = join(ID, [TRACE], list(reversed(RECORDS)), [POINT], LINKS)
    assert [line.time for line in story.lines] == sorted(line.time for line in story.lines)
    assert story.lines[0].service == "data-store"
    assert len(story.lines) == 4


def test_a_statement_has_the_text_of_its_span():
    """With placeholders, as the data store recorded it; None where it recorded none."""
    (statement,) = join(ID, [TRACE], RECORDS, [POINT], LINKS).statements
    assert (statement.summary, statement.service) == ("INSERT document_metadata", "data-store")
    assert statement.text is not None
    assert "INSERT INTO document_metadata" in statement.text
    span = next(TRACE.named("sql_execution"))
    attributes = {name: value for name, value in span.attributes.items() if name != "db.query.text"}
    untold = replace(span, attributes=attributes)
    trace = replace(TRACE, spans=tuple(untold if each is span else each for each in TRACE.spans))
    (statement,) = join(ID, [trace], RECORDS, [POINT], LINKS).statements
    assert statement.text is None


def test_a_story_is_settled_when_every_service_of_its_trace_has_been_heard():
    """Neither spans without a line nor a line with a trace but no spans is the whole story."""
    assert unsettled(join(ID, [TRACE], RECORDS, [], LINKS)) == []
    for service in ("data-store", "nginx"):
        without = [record for record in RECORDS if record.service != service]
        assert unsettled(join(ID, [TRACE], without, [], LINKS)) == [f"no line of {service} yet"]
    assert unsettled(join(ID, [], RECORDS, [], LINKS)) == ["no spans yet"]
    untraced = [replace(record, trace_id=None) for record in RECORDS]
    assert unsettled(join(ID, [], untraced, [], LINKS)) == []
    assert unsettled(join(ID, [], [], [], LINKS)) == ["no back end knows it"]


def test_what_was_not_found_is_said():
    """Each back end that knows nothing is a gap of its own; a story without spans and lines is none."""
    assert join(ID, [TRACE], RECORDS, [POINT], LINKS).gaps == ()
    assert len(join(ID, [TRACE], RECORDS, [], LINKS).gaps) == 1
    nothing = join(ID, [], [], [], {})
    assert len(nothing.gaps) == 3
    assert not nothing.found
    assert join(ID, [], RECORDS, [], {}).found


def test_a_span_whose_parent_is_not_stored_is_still_shown():
    """Half a trace is better than none: it becomes a root of its own."""
    spans = tuple(span for span in TRACE.spans if span.name != "store_metadata")
    story = join(ID, [replace(TRACE, spans=spans)], [], [], {})
    assert len(story.spans) == 11
    assert (0, "POST") in [(span.depth, span.name) for span in story.spans]


def test_everything_is_shown_however_narrow_the_output_is():
    """Lines are not cut or wrapped: they are to be searched and copied."""
    text = shown(join(ID, [TRACE], RECORDS, [POINT], LINKS))
    for line in (
        f"Request {ID}",
        "transaction_commit [data-store internal] success_status=committed",
        "nginx        PUT /clients/acme/upload-document 200",
        "[data-store] WITH client AS (INSERT INTO clients (id) VALUES (%(of_client)s)",
        "document_metadata.upload_timestamp /*correlation_id=",
        "http_requests_total{status=200} 1",
        "trace: http://jaeger/trace/1",
    ):
        assert line in text


def test_a_failed_span_is_marked():
    """In words, for output without colours."""
    spans = (replace(TRACE.spans[0], failed=True),)
    assert "[document-api server] ERROR" in shown(join(ID, [replace(TRACE, spans=spans)], [], [], {}))


def test_the_story_is_ready_for_json():
    """The same structure feeds a page later."""
    content = json.loads(json.dumps(join(ID, [TRACE], RECORDS, [POINT], LINKS).as_dict()))
    assert content["found"] is True
    assert len(content["spans"]) == 12


def test_a_log_store_that_answers_no_queries_is_the_gap_and_is_not_waited_for():
    """No line will ever arrive there: the reason is told in place of "no log line"."""
    story = join(ID, [TRACE], [], [POINT], LINKS, log_silence="answers 501")
    assert story.gaps == ("answers 501",)
    assert unsettled(story) == []

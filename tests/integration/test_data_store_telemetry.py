"""What a request to the data store leaves behind: spans, metrics, log lines, and PostgreSQL's own log."""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from observability.signals import (
    DATABASE_OPERATION_DURATION,
    DATABASE_OPERATIONS,
    DATABASE_POOL,
    DATABASE_POOL_EXHAUSTED,
    DATABASE_POOL_WAIT,
    HTTP_ERRORS,
    HTTP_IN_PROGRESS,
    HTTP_REQUEST_DURATION,
    HTTP_REQUESTS,
)
from tests.integration.conftest import PostgreSQL
from tests.records import DOCUMENT, DOCUMENTS
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

ADD: Final = "POST /clients/{client_id}/documents"
GET: Final = "GET /clients/{client_id}/documents/{doc_id}"
CORRELATION_ID: Final = str(uuid.uuid4())
TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
CALLER: Final = "b7ad6b7169203331"
HEADERS: Final = {"X-Correlation-ID": CORRELATION_ID, "traceparent": f"00-{TRACE}-{CALLER}-01"}


@contextmanager
def statements_logged(postgresql: PostgreSQL, database: str) -> Iterator[None]:
    """Make PostgreSQL log every statement on new connections to a database."""
    postgresql.execute(f"ALTER DATABASE {database} SET log_statement = 'all'")
    yield
    postgresql.execute(f"ALTER DATABASE {database} RESET log_statement")


def ended(telemetry: TelemetrySpy, server_span: str) -> Mapping[str, Any]:
    """Wait for the request's last span, which ends after the answer; return its attributes."""
    return eventually(lambda: telemetry.spans(server_span))[0].attributes or {}


def test_storing_a_document_is_a_span_with_connection_statement_and_commit(
    data_store: httpx.Client, telemetry: TelemetrySpy
) -> None:
    """The tree of the contract, in the order in which it happens, and nothing else."""
    data_store.post(DOCUMENTS, json=DOCUMENT, headers=HEADERS)
    ended(telemetry, ADD)
    assert telemetry.tree() == {
        ADD: {"database_connection": {}, "sql_execution": {}, "transaction_commit": {}}
    }
    assert list(telemetry.tree()[ADD]) == ["database_connection", "sql_execution", "transaction_commit"]


def test_reading_a_document_is_a_span_with_connection_and_statement(
    data_store: httpx.Client, telemetry: TelemetrySpy
) -> None:
    """A read has no transaction to commit; that the document is not there is no error of the server."""
    data_store.get(f"{DOCUMENTS}/1", headers=HEADERS)
    attributes = ended(telemetry, GET)
    assert telemetry.tree() == {GET: {"database_connection": {}, "sql_execution": {}}}
    assert (attributes["http.response.status_code"], attributes["error.type"]) == (404, "not_found")
    assert {span.status.status_code for span in telemetry.spans()} == {StatusCode.UNSET}


def test_every_span_continues_the_callers_trace_with_its_id_and_tenant(
    data_store: httpx.Client, telemetry: TelemetrySpy
) -> None:
    """One trace, whose root here is the caller's child; correlation_id and client_id are on all of it."""
    data_store.post(DOCUMENTS, json=DOCUMENT, headers=HEADERS)
    ended(telemetry, ADD)
    server = telemetry.span(ADD)
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == CALLER
    for span in telemetry.spans():
        assert f"{span.context.trace_id:032x}" == TRACE
        assert (span.attributes or {})["correlation_id"] == CORRELATION_ID
        assert (span.attributes or {})["client_id"] == "acme"


def test_the_spans_of_the_database_say_what_the_contract_asks(
    data_store: httpx.Client, telemetry: TelemetrySpy
) -> None:
    """Kinds and attributes; the statement's text has placeholders, its parameters are nowhere."""
    data_store.post(DOCUMENTS, json=DOCUMENT, headers=HEADERS)
    ended(telemetry, ADD)
    connection = telemetry.attributes("database_connection")
    assert 0 < connection.pop("connection_pool.wait") < 5
    identity = {"correlation_id": CORRELATION_ID, "client_id": "acme"}
    assert connection == {"pool.in_use": 1, "pool.size": 8, **identity}
    statement = telemetry.attributes("sql_execution")
    assert 0 < statement.pop("query_timing") < 5
    assert "%(new_filename)s" in statement.pop("db.query.text")
    assert DOCUMENT["filename"] not in str([dict(span.attributes or {}) for span in telemetry.spans()])
    assert statement == {
        "db.system.name": "postgresql",
        "db.operation.name": "INSERT",
        "db.collection.name": "document_metadata",
        "db.query.summary": "INSERT document_metadata",
        **identity,
    }
    assert telemetry.attributes("transaction_commit") == {
        "success_status": "committed",
        **identity,
    }
    assert telemetry.span(ADD).kind is SpanKind.SERVER
    assert telemetry.span("sql_execution").kind is SpanKind.CLIENT
    assert telemetry.span("database_connection").kind is SpanKind.INTERNAL


def test_metrics_count_each_request_and_each_statement_once(
    data_store: httpx.Client, telemetry: TelemetrySpy
) -> None:
    """Labels are the contract's: a route's template, an operation, a table; never an ID."""
    for _ in range(3):
        data_store.post(DOCUMENTS, json=DOCUMENT)
    data_store.get(f"{DOCUMENTS}/1")
    data_store.get(f"{DOCUMENTS}/99")
    posted = ("POST", "/clients/{client_id}/documents", "201")
    read, missed = (("GET", "/clients/{client_id}/documents/{doc_id}", status) for status in ("200", "404"))
    expected = {posted: 3, read: 1, missed: 1}
    eventually(lambda: telemetry.series(HTTP_REQUESTS) == expected)
    assert telemetry.series(HTTP_REQUEST_DURATION) == expected
    assert telemetry.series(HTTP_ERRORS) == {(*missed, "not_found"): 1}
    eventually(lambda: telemetry.series(HTTP_IN_PROGRESS) == {("POST",): 0, ("GET",): 0})
    insert, select = ("INSERT", "document_metadata"), ("SELECT", "document_metadata")
    assert telemetry.series(DATABASE_OPERATIONS) == {(*insert, "true"): 3, (*select, "true"): 2}
    assert telemetry.series(DATABASE_OPERATION_DURATION) == {insert: 3, select: 2}
    assert telemetry.series(DATABASE_POOL_WAIT) == {(): 5}
    assert telemetry.series(DATABASE_POOL_EXHAUSTED) == {}


def test_the_pool_is_read_when_metrics_are_collected(
    data_store: httpx.Client, telemetry: TelemetrySpy
) -> None:
    """After one request one connection is idle; the limit is what requests may have, whatever health asks."""
    data_store.get(f"{DOCUMENTS}/1")
    data_store.get("/health")
    assert telemetry.series(DATABASE_POOL) == {("in_use",): 0, ("idle",): 1, ("overflow",): 0, ("max",): 8}


def test_a_metric_leads_back_to_the_request_by_its_exemplar(
    data_store: httpx.Client, telemetry: TelemetrySpy
) -> None:
    """The exemplar holds the trace and, as its only label, the correlation ID."""
    data_store.post(DOCUMENTS, json=DOCUMENT, headers=HEADERS)
    ended(telemetry, ADD)
    collected = telemetry.collected()
    for metric in (DATABASE_OPERATIONS, DATABASE_OPERATION_DURATION, DATABASE_POOL_WAIT, HTTP_REQUESTS):
        (point,) = collected[metric.name]
        (exemplar,) = point.exemplars
        assert f"{exemplar.trace_id:032x}" == TRACE
        assert dict(exemplar.filtered_attributes or {}) == {"correlation_id": CORRELATION_ID}


def test_a_request_is_one_line_with_its_identity(data_store: httpx.Client, telemetry: TelemetrySpy) -> None:
    """INFO has one line for each request, at its end, inside its trace."""
    data_store.post(DOCUMENTS, json=DOCUMENT, headers=HEADERS)

    def mine() -> list[Any]:
        records = [record.log_record for record in telemetry.logs()]
        return [record for record in records if record.trace_id == int(TRACE, 16)]

    (line,) = eventually(mine)
    assert (line.severity_text, line.body) == ("INFO", f"{ADD} 201")
    assert line.attributes["correlation_id"] == CORRELATION_ID
    assert line.attributes["client_id"] == "acme"
    assert line.attributes["context_data.status"] == 201


def test_a_failed_statement_is_seen_in_span_metric_and_log(
    data_store: httpx.Client, telemetry: TelemetrySpy, postgresql: PostgreSQL, database: str
) -> None:
    """ERROR from the statement up to the request, the transaction rolled back, the exception recorded once."""
    postgresql.execute("ALTER TABLE document_metadata DROP COLUMN summary CASCADE", database=database)
    data_store.post(DOCUMENTS, json=DOCUMENT, headers=HEADERS)
    attributes = ended(telemetry, ADD)
    assert (attributes["http.response.status_code"], attributes["error.type"]) == (500, "internal_error")
    statement = telemetry.span("sql_execution")
    assert (statement.attributes or {})["error.type"] == "42703"
    assert (statement.attributes or {})["db.response.status_code"] == "42703"
    assert telemetry.attributes("transaction_commit")["success_status"] == "rolled_back"
    failed = {span.name for span in telemetry.spans() if span.status.status_code is StatusCode.ERROR}
    assert failed == {ADD, "sql_execution"}
    assert [span.name for span in telemetry.spans() for _ in span.events] == [ADD]
    assert telemetry.series(DATABASE_OPERATIONS) == {("INSERT", "document_metadata", "false"): 1}
    assert len(telemetry.logs("ERROR")) == 1


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_postgresqls_own_log_names_the_request_and_its_span(
    postgresql: PostgreSQL, database: str, data_store: httpx.Client, telemetry: TelemetrySpy, method: str
) -> None:
    """The statement that PostgreSQL received ends in the correlation ID and the traceparent of its span."""
    correlation_id = str(uuid.uuid4())
    headers = {**HEADERS, "X-Correlation-ID": correlation_id}
    with statements_logged(postgresql, database):
        if method == "POST":
            data_store.post(DOCUMENTS, json=DOCUMENT, headers=headers)
        else:
            data_store.get(f"{DOCUMENTS}/1", headers=headers)
    (span,) = eventually(lambda: telemetry.spans("sql_execution"))
    comment = re.compile(
        rf"/\*correlation_id='{correlation_id}',traceparent='00-{TRACE}-{span.context.span_id:016x}-0[13]'\*/$",
        re.MULTILINE,
    )
    assert len(eventually(lambda: comment.findall(postgresql.log.read_text()))) == 1


def test_a_read_is_one_round_trip_and_a_write_is_two(
    postgresql: PostgreSQL, database: str, data_store: httpx.Client
) -> None:
    """On a connection that is open, the tenant goes along with the statement; where it writes, BEGIN too, and COMMIT follows."""
    later, tenant = "SET LOCAL synchronous_commit = off; ", "SET LOCAL robin.client_id = 'acme'; "

    def sent(request: Callable[[], object]) -> list[str]:
        """Return how what PostgreSQL was sent while a request was served begins."""
        before = postgresql.log.stat().st_size
        request()
        new = postgresql.log.read_bytes()[before:].decode()
        return re.findall(r"statement: ((?:[^;\n]+; )*\w+)", new)

    with statements_logged(postgresql, database):
        data_store.get(f"{DOCUMENTS}/1")
        # Twice, in both orders: going over from one to the other must cost nothing either.
        for _ in range(2):
            assert sent(lambda: data_store.get(f"{DOCUMENTS}/1")) == [f"{tenant}SELECT"]
            assert sent(lambda: data_store.post(DOCUMENTS, json=DOCUMENT)) == [
                f"BEGIN; {tenant}{later}WITH",
                "COMMIT; SELECT",
            ]

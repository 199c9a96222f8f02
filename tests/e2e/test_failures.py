"""A server's failure on a whole stack: this, and not a client's mistake, is an error in all three signals."""

import time

import httpx

from observability.problems import PROBLEM_JSON
from observability.signals import DOCUMENT_ROUTE, ErrorType
from observability_checks.api import Api, Exchange, sample_text
from observability_checks.contract.expected import errors_series
from observability_checks.metering import Meter
from observability_checks.polling import Deadline, wait_until_none
from telemetry_queries.jaeger import Jaeger
from telemetry_queries.log_store import detect
from telemetry_queries.models import LogRecord, SpanRecord
from telemetry_queries.prometheus import Prometheus
from telemetry_queries.sources import Source
from tests.e2e.conftest import RunningStack
from tests.e2e.faults import held, restart

SECONDS = 20


def test_a_data_store_that_does_not_answer_is_an_error_in_all_three_signals(
    stack: RunningStack, http: httpx.Client
):
    """504 with a problem and its ID; the spans that wait are marked, the error is counted and logged once."""
    api = Api(http, stack.endpoints["nginx"])
    document = api.upload("failing", "a.txt", sample_text(3, 3))
    assert document.exchange.status == 200
    meter = Meter(Prometheus(http, stack.endpoints["prometheus"]), Deadline(SECONDS))
    with held(stack.endpoints["data_store"]):
        failed = api.document("failing", document.document_id)

    assert (failed.status, failed.headers["content-type"]) == (504, PROBLEM_JSON)
    assert failed.body["correlation_id"] == failed.answered_id == failed.correlation_id
    assert "Traceback" not in str(failed.body)
    counted = errors_series(Source.DOCUMENT_API, "GET", DOCUMENT_ROUTE, 504, ErrorType.TIMEOUT)
    assert (
        wait_until_none(lambda: [] if meter.risen()[counted] == 1 else ["not counted"], Deadline(SECONDS))
        == []
    )
    marked = {span.name for span in spans_of(stack, http, failed) if span.failed}
    assert marked == {f"GET {DOCUMENT_ROUTE}", "retrieve_document", "GET"}
    errors = errors_of(stack, http, failed)
    assert sorted(record.service for record in errors) == [Source.DOCUMENT_API, Source.NGINX]


def spans_of(stack: RunningStack, http: httpx.Client, exchange: Exchange) -> list[SpanRecord]:
    """Spans that document-api made of a request, once its SERVER span, the last to end, is there."""
    jaeger = Jaeger(http, stack.endpoints["jaeger"])

    def stored() -> list[SpanRecord]:
        traces = jaeger.find(exchange.correlation_id, Source.DOCUMENT_API)
        return [span for trace in traces for span in trace.spans if span.service == Source.DOCUMENT_API]

    def missing() -> list[str]:
        return [] if any(span.kind == "server" for span in stored()) else ["no SERVER span"]

    assert wait_until_none(missing, Deadline(SECONDS)) == []
    return stored()


def errors_of(stack: RunningStack, http: httpx.Client, exchange: Exchange) -> list[LogRecord]:
    """Log records of a request at ERROR, once nginx's line, the last to be written, is there."""
    store = detect(http, [stack.endpoints["logs"]])

    def stored() -> list[LogRecord]:
        return store.find(exchange.correlation_id, since=time.time() - 600)

    def missing() -> list[str]:
        return (
            []
            if {record.service for record in stored()} >= {Source.NGINX, Source.DOCUMENT_API}
            else ["not yet"]
        )

    assert wait_until_none(missing, Deadline(SECONDS)) == []
    return [record for record in stored() if record.level == "ERROR"]


def test_counters_are_right_after_a_restart(stack: RunningStack):
    """A new process counts from zero under the labels of the old one, whose last values are still to be read."""
    assert stack.check("--health", "--errors").returncode == 0
    for url in (*stack.endpoints["document_api"], stack.endpoints["data_store"]):
        restart(url)
    ended = stack.check("--health", "--errors")
    assert ended.returncode == 0, ended.stdout + ended.stderr

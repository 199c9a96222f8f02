"""What slips through at the source is masked in a real collector: values, by what they look like, whoever sends them."""

import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped, unused-ignore]
import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from local_stack.back_ends import CAPTURE_CONTENT
from observability import otlp
from tests.canaries import ADDRESS, ADDRESS_6, API_KEY, CARD, JWT, MAIL, PRIVATE_KEY
from tests.collector import Collector, Sink, access_line, append, one_record, running_sink, wait_for
from tests.programs import binary

# Whatever has a shape of its own; a person's name has none.
SHAPED = (MAIL, CARD, API_KEY, JWT, ADDRESS, ADDRESS_6, "MIICanary")
TEXT = f"of {MAIL}, {CARD}, {API_KEY}, {JWT}, {ADDRESS}, {ADDRESS_6} and {PRIVATE_KEY}"
MASKED = "of ****, ****, ****, ****, ****, **** and ****"


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """What stands behind the collector."""
    with running_sink() as running:
        yield running


@pytest.fixture(scope="module")
def collector(sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A running collector."""
    folder = tmp_path_factory.mktemp("collector")
    running = Collector(
        binary("otelcol"), folder, str(folder / "postgresql.json"), sink.http_port, sink.traces_port
    )
    running.start()
    yield running
    running.end()


def tracer_provider(collector: Collector, name: str) -> TracerProvider:
    """Return a stranger's: OpenTelemetry's own SDK."""
    provider = TracerProvider(resource=Resource({"service.name": name}))
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{collector.grpc_port}", insecure=True)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def assert_clean(sink: Sink) -> None:
    """Look for every canary in all that left the collector."""
    everything = sink.everything()
    assert [canary for canary in SHAPED if canary in everything] == []


def test_a_strangers_span_is_masked_in_every_place(collector: Collector, sink: Sink) -> None:
    """Also under names that our own spans have, where they are harmless; name, status and events, too."""
    provider = tracer_provider(collector, "span-stranger")
    parent = SpanContext(1, 2, True, TraceFlags(1), TraceState([("vendor", MAIL.replace("@", "_at_"))]))
    span = provider.get_tracer("instrumentation").start_span(
        f"GET /people/{MAIL}",
        set_span_in_context(NonRecordingSpan(parent)),
        attributes={
            "note": TEXT,
            "url.path": f"/people/{MAIL}",
            "url.full": f"https://user:word@people.example/{API_KEY}?name=Kowalska&q=1",
            "client_id": MAIL,
            "path": JWT,
            "card": int(CARD.replace(" ", "")),
            "mails": ["x", MAIL],
            "db.query.text": "SELECT * FROM people WHERE name = 'Kowalska'",
            "user_agent.original": "Kowalska's",
            "client.address": "Kowalska's",
            "http.request.header.referer": ["Kowalska's"],
            "url.query": "Kowalska",
            "enduser.id": "Kowalska",
            "user.email": "Kowalska",
            "gen_ai.prompt": "Kowalska",
            "gen_ai.input.messages": "Kowalska",
            "pin.secret": 1234,
            "count": 7,
            "ratio": 0.5,
            "http.route": "/people/{person}",
        },
    )
    span.add_event(f"read {MAIL}", {"line": TEXT, "file_type": MAIL})
    span.record_exception(ValueError(TEXT))
    span.set_status(Status(StatusCode.ERROR, f"no {MAIL}"))
    span.end()
    provider.shutdown()

    found = wait_for(lambda: sink.spans().get("GET /people/****"), "the span arrives")
    shown = {"service.name", "deployment.environment.name", "note", "url.path", "url.full", "mails.0"}
    # A user in an address looks like mail as well, and the patterns come in any order.
    assert found["url.full"] in {"https****people.example/********", "https://user:****/********"}
    assert {name: value for name, value in found.items() if value != "****" and name != "url.full"} == {
        "service.name": "span-stranger",
        "deployment.environment.name": "test",
        "note": MASKED,
        "url.path": "/people/****",
        "mails.0": "x",
        "count": 7,
        "ratio": 0.5,
        "http.route": "/people/{person}",
    }
    assert shown < found.keys()
    assert "mails.1" in found
    everything = sink.everything()
    assert "Kowalska" not in everything
    assert "1234" not in str(found["pin.secret"])
    assert "_at_" not in everything
    assert "any." not in everything
    assert 'name: "read ****"' in everything
    assert 'message: "no ****"' in everything
    assert_clean(sink)


def test_a_strangers_record_is_masked_in_every_place(collector: Collector, sink: Sink) -> None:
    """Body, exception, nested context; prompts of a model are dropped by the event's name."""
    provider = LoggerProvider(resource=Resource({"service.name": "log-stranger"}))
    exporter = OTLPLogExporter(endpoint=f"http://127.0.0.1:{collector.grpc_port}", insecure=True)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = logging.getLogger("stranger")
    logger.addHandler(LoggingHandler(logger_provider=provider))
    context = {"who": {"mail": MAIL, "all": [MAIL, 1]}, "path": MAIL, "size": 5}
    logger.error(TEXT, extra={"context_data": context}, exc_info=ValueError(MAIL))
    logger.handlers.clear()
    provider.get_logger("genai").emit(
        LogRecord(event_name="gen_ai.user.message", body={"content": "Kowalska"})
    )
    provider.shutdown()

    wait_for(lambda: len(sink.records_of("log-stranger")) == 2, "both records arrive")
    record, prompt = sink.records_of("log-stranger")
    assert record.body == MASKED
    assert record.attributes["context_data.path"] == "****"
    assert record.attributes["context_data.who.mail"] == "****"
    assert record.attributes["context_data.size"] == 5
    assert record.attributes["logger"] == "stranger"
    assert prompt.body == "****"
    assert "Kowalska" not in sink.everything()
    assert_clean(sink)


def test_a_strangers_labels_are_masked(collector: Collector, sink: Sink) -> None:
    """A series that is named after a person lives for ever."""
    exporter = OTLPMetricExporter(endpoint=f"http://127.0.0.1:{collector.grpc_port}", insecure=True)
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter)], Resource({"service.name": "metric-stranger"})
    )
    provider.get_meter("stranger").create_counter("visits").add(1, {"path": f"/{MAIL}", "mail": MAIL, "n": 5})
    provider.get_meter("stranger").create_histogram("waits").record(1, {"client_id": MAIL})
    provider.shutdown()

    wait_for(lambda: sink.metric_names("metric-stranger") == {"visits", "waits"}, "both metrics arrive")
    assert_clean(sink)
    assert "any." not in sink.everything()


def send_as_ours(
    collector: Collector, name: str, attributes: Mapping[str, object], event: Mapping[str, Any]
) -> None:
    """Send a span as document_api does."""
    now = time.time_ns()
    span = otlp.span(
        trace_id=1,
        span_id=2,
        parent_id=None,
        parent_is_remote=False,
        name=name,
        kind=1,
        start_ns=now,
        end_ns=now,
        attributes=[otlp.span_attribute(key, value) for key, value in attributes.items()],
        rest=otlp.event("exception", now, event) if event else b"",
    )
    _export(collector, "trace.v1.TraceService", span)


def _export(collector: Collector, service: str, item: bytes) -> None:
    envelope = otlp.Envelope(Resource({"service.name": "document-api"}), "robin.document-api", "1")
    with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}") as channel:
        channel.unary_unary(f"/opentelemetry.proto.collector.{service}/Export")(envelope.around([item]))


def test_what_slips_through_in_our_own_services_is_masked(collector: Collector, sink: Sink) -> None:
    """In everything but the names whose values nobody outside chooses; those stay as they are."""
    harmless = {
        "url.full": f"http://{ADDRESS}:8001/clients/acme",
        "server.address": "127.0.0.1",
        "client_id": "acme",
    }
    send_as_ours(
        collector, "of ours", {**harmless, "problem.detail": TEXT, "new": MAIL}, {"exception.message": TEXT}
    )

    found = wait_for(lambda: sink.spans().get("of ours"), "the span arrives")
    assert {name: found[name] for name in harmless} == harmless
    assert (found["problem.detail"], found["new"]) == (MASKED, "****")
    everything = sink.everything()
    assert MASKED in everything
    assert [canary for canary in SHAPED if canary in everything.replace(harmless["url.full"], "")] == []


QUESTION = {
    f"gen_ai.{name}": f"Kowalska, {MAIL}"
    for name in ("system_instructions", "input.messages", "output.messages")
}


def test_what_a_model_is_told_and_answers_does_not_pass(collector: Collector, sink: Sink) -> None:
    """Should a service send it that was not told to."""
    send_as_ours(collector, "chat", {**QUESTION, "gen_ai.usage.input_tokens": 7}, {})

    found = wait_for(lambda: sink.spans().get("chat"), "the span arrives")
    assert {found[name] for name in QUESTION} == {"****"}
    assert found["gen_ai.usage.input_tokens"] == 7


def test_where_it_may_pass_it_is_masked_by_its_looks(tmp_path: Path) -> None:
    """That of our services: a stranger was not told anything."""
    with running_sink() as sink:
        open_one = Collector(
            *(binary("otelcol"), tmp_path, str(tmp_path / "postgresql.json")),
            *(sink.http_port, sink.traces_port),
            environment={CAPTURE_CONTENT: "SPAN_ONLY"},
        )
        open_one.start()
        try:
            send_as_ours(open_one, "chat", QUESTION, {})
            provider = tracer_provider(open_one, "model-stranger")
            provider.get_tracer("instrumentation").start_span("chat elsewhere", attributes=QUESTION).end()
            provider.shutdown()
            spans = wait_for(lambda: len(sink.spans()) == 2 and sink.spans(), "both spans arrive")
        finally:
            open_one.end()

    assert {spans["chat"][name] for name in QUESTION} == {"Kowalska, ****"}
    assert {spans["chat elsewhere"][name] for name in QUESTION} == {"****"}


@pytest.mark.parametrize(
    "text",
    [
        "PUT /clients/{client_id}/upload-document 200",
        "GET unmatched 404 (slow)",
        "Document uploaded",
        "Started server process [4111]",
        "Unhealthy: data_store failed: OSError: ECONNREFUSED: Connection refused",
        'File "/app/document_api/app.py", line 1234, in create_app',
        "2026-11-27T07:22:23.123456Z took 0.000123 s of 1795564149.894",
        "document 9223372036854775807 of 2026, version 1.2.3",
        "0b6e8d9e-6f2f-4d5a-9d2c-0d4f1c2a3b4c",
        "4bf92f3577b34da6a3ce929d0e0e4736 16fe0e4736029d0e",
        "std::chrono of 00:11:22:33:44:55 at 12:30:45",
        "Are there secrets? None = none; a@b is no address",
        "basic understanding of the bearer",
    ],
)
def test_what_is_private_for_nobody_is_left_alone(collector: Collector, sink: Sink, text: str) -> None:
    """Masked times, versions and IDs would make the rest unreadable."""
    record = otlp.log_record(
        time_ns=time.time_ns(),
        severity_number=9,
        severity_text="INFO",
        body=text,
        attributes=[otlp.log_attribute("text", text)],
        trace_id=0,
        span_id=0,
        trace_flags=0,
    )
    _export(collector, "logs.v1.LogsService", record)

    found = one_record(sink, "document-api", lambda each: each.attributes.get("text") == text)
    assert found.body == text


PRIVATE = (
    MAIL,
    "Zoë.Ünal+tag@mail.example",
    "canary%40mail.example",
    CARD,
    "4111111111111111",
    "5500-0000-0000-0004",
    "3782 822463 10005",
    "30569309025904",
    "4111+1111+1111+1111",
    API_KEY,
    JWT,
    f"Bearer {'c' * 20}",
    "bearer canary-token",
    "Basic Y2FuYXJ5OmNhbmFyeQ==",
    "https://canary:word@host",
    "https://host/path?canary=1",
    ADDRESS,
    ADDRESS_6,
    "::1",
    "fe80::1ff:fe23:4567:890a",
    "::ffff:203.0.113.77",
    "2001:0db8:0000:0000:0000:ff00:0042:8329",
)


@pytest.mark.parametrize(("number", "private"), list(enumerate(PRIVATE)))
def test_every_shape_is_known(collector: Collector, sink: Sink, number: int, private: str) -> None:
    """In the middle of a text."""
    record = otlp.log_record(
        time_ns=time.time_ns(),
        severity_number=9,
        severity_text="INFO",
        body=f"<{private}> was sent",
        attributes=[otlp.log_attribute("case", number)],
        trace_id=0,
        span_id=0,
        trace_flags=0,
    )
    _export(collector, "logs.v1.LogsService", record)

    found = one_record(sink, "document-api", lambda each: each.attributes.get("case") == number)
    assert "****" in found.body
    assert not any(part in found.body for part in ("canary", "mail", "1111", "word", "113", "2001", "890a"))


def test_nginxs_line_is_asked_about(collector: Collector, sink: Sink) -> None:
    """Its path is the client's, whatever the template lets through; the address of a document_api is allowed by name."""
    context = {"path": f"/{MAIL}", "upstream": "127.0.0.1:8000", "client_id": "acme", "status": 404}
    append(collector.access_log, access_line(f"GET /{MAIL} 404", context_data=context))

    record = one_record(sink, "nginx", lambda record: record.body.endswith(" 404"))
    assert record.body == "GET /**** 404"
    assert record.attributes["context_data.path"] == "/****"
    assert record.attributes["context_data.upstream"] == "127.0.0.1:8000"
    assert record.attributes["context_data.status"] == 404

"""The identity of a request: which correlation IDs are kept, and what is told to the next service."""

import re
import uuid
from collections.abc import Iterator

import pytest
from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from observability import bind_client, current_correlation_id, outgoing_headers
from observability.context import RequestContext, accept_correlation_id, enter_request
from observability.propagation import incoming_context, traceparent
from tests.telemetry_spy import TelemetrySpy

KEPT = "0f8fad5b-d9cb-469f-a165-70867728950e"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def _own_request() -> Iterator[None]:
    """Leave no request behind for the next test."""
    yield
    enter_request(None)  # type: ignore[arg-type]


def test_a_uuid4_in_lower_case_is_kept() -> None:
    """What nginx minted goes through unchanged."""
    assert accept_correlation_id(KEPT) == KEPT


@pytest.mark.parametrize(
    "candidate",
    [
        None,
        "",
        "garbage",
        KEPT.upper(),
        KEPT.replace("-", ""),
        f"{{{KEPT}}}",
        f"urn:uuid:{KEPT}",
        f"{KEPT}\n",
        f" {KEPT}",
        f"{KEPT},{KEPT}",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        str(uuid.uuid5(uuid.NAMESPACE_DNS, "robin")),
        "0f8fad5b-d9cb-469f-7165-70867728950e",  # version 4, but not RFC 9562's variant
        "00000000-0000-0000-0000-000000000000",
        "٠f8fad5b-d9cb-469f-a165-70867728950e",  # noqa: RUF001  a digit, but not an ASCII one
    ],
)
def test_anything_else_is_replaced_by_a_new_uuid4(candidate: str | None) -> None:
    """A client cannot put its own text into logs, spans and SQL."""
    accepted = accept_correlation_id(candidate)

    assert accepted != candidate
    assert uuid.UUID(accepted).version == 4
    assert accepted == str(uuid.UUID(accepted))


def test_new_ids_differ() -> None:
    """Every request has its own."""
    assert accept_correlation_id(None) != accept_correlation_id(None)


def test_outside_of_a_request_there_is_no_correlation_id() -> None:
    """Start-up and background work belong to no request."""
    enter_request(None)  # type: ignore[arg-type]
    assert current_correlation_id() is None


def test_outgoing_headers_carry_the_request_and_its_trace(telemetry: TelemetrySpy) -> None:
    """The next service learns ID, tenant and parent span, the latter in W3C's form."""
    enter_request(RequestContext(KEPT))
    with telemetry.telemetry.step("calling") as _:
        bind_client("acme")
        headers = outgoing_headers()

    assert headers["X-Correlation-ID"] == KEPT
    context = telemetry.span("calling").context
    assert (
        headers["traceparent"]
        == (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-03"  # sampled, and of random bits (W3C Trace Context level 2)
        )
    )
    assert set(headers["baggage"].split(",")) == {f"correlation_id={KEPT}", "client_id=acme"}


def test_outgoing_headers_outside_of_request_and_trace_are_empty() -> None:
    """Nothing is invented."""
    enter_request(None)  # type: ignore[arg-type]
    assert outgoing_headers() == {}
    assert traceparent() is None


def test_the_traceparent_of_a_span_is_its_own(telemetry: TelemetrySpy) -> None:
    """The SQL comment names the statement's span."""
    with telemetry.telemetry.step("a"):
        found = traceparent()

    assert found is not None
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", found)
    assert f"{telemetry.span('a').context.span_id:016x}" in found


def test_a_strangers_trace_is_continued_and_its_baggage_dropped() -> None:
    """What a client claims in baggage reaches no service."""
    context = incoming_context({"traceparent": TRACEPARENT, "baggage": "client_id=victim"}, trusted=False)

    assert f"{trace.get_current_span(context).get_span_context().trace_id:032x}" == TRACEPARENT[3:35]
    assert baggage.get_all(context) == {}


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("header", [TRACEPARENT, "01" + TRACEPARENT[2:]])
def test_nobodys_tracestate_is_kept(header: str, *, trusted: bool) -> None:
    """It is free text, would be stored with every span, and sent on."""
    context = incoming_context({"traceparent": header, "tracestate": "mail=a@b.example"}, trusted=trusted)

    span = trace.get_current_span(context).get_span_context()
    assert span.is_valid
    assert len(span.trace_state) == 0


def test_our_own_services_baggage_is_kept() -> None:
    """The document API may tell the data store."""
    context = incoming_context({"traceparent": TRACEPARENT, "baggage": "client_id=acme"}, trusted=True)

    assert baggage.get_all(context) == {"client_id": "acme"}


@pytest.mark.parametrize(("trusted", "continued"), [(False, False), (True, True)])
def test_only_our_own_services_decide_that_a_trace_is_not_recorded(*, trusted: bool, continued: bool) -> None:
    """A client cannot hide its requests by a sampling flag of 00."""
    context = incoming_context({"traceparent": TRACEPARENT[:-2] + "00"}, trusted=trusted)

    assert trace.get_current_span(context).get_span_context().is_valid is continued


@pytest.mark.parametrize("header", ["", "x", "00-0-0-01", "00-" + "0" * 32 + "-b7ad6b7169203331-01"])
def test_a_malformed_traceparent_starts_a_new_trace(header: str) -> None:
    """Garbage is no parent."""
    context = incoming_context({"traceparent": header}, trusted=False)

    assert not trace.get_current_span(context).get_span_context().is_valid


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": TRACEPARENT},
        {"traceparent": TRACEPARENT[:-2] + "03"},
        {"traceparent": "01" + TRACEPARENT[2:] + "-more"},
        {"traceparent": "ff" + TRACEPARENT[2:]},
        {"traceparent": TRACEPARENT + "-more"},
        {"traceparent": f"  {TRACEPARENT}  "},
        {"baggage": "client_id=acme,correlation_id=0f8fad5b-d9cb-469f-a165-70867728950e"},
        {"baggage": "a=1;property=x,b=%20space"},
        {"baggage": "a=1, b=2"},
        {"baggage": "rubbish"},
        {},
    ],
)
def test_what_comes_in_is_read_as_opentelemetrys_own_propagators_read_it(headers: dict[str, str]) -> None:
    """The quick way is for speed only."""
    context = incoming_context(headers, trusted=True)

    own = W3CBaggagePropagator().extract(headers, TraceContextTextMapPropagator().extract(headers, Context()))
    found, expected = (trace.get_current_span(each).get_span_context() for each in (context, own))
    assert (found.trace_id, found.span_id, found.trace_flags, found.is_remote) == (
        expected.trace_id,
        expected.span_id,
        expected.trace_flags,
        expected.is_remote,
    )
    assert baggage.get_all(context) == baggage.get_all(own)

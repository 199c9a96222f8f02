"""Steps, the resource, and an end that is bounded."""

import asyncio
import logging
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.trace import StatusCode

from observability import Identity, NotFound, Unavailable, bind_client, signals
from observability import telemetry as module
from observability.context import RequestContext, enter_request
from tests.telemetry_spy import TelemetrySpy

KEPT = "0f8fad5b-d9cb-469f-a165-70867728950e"


def outcome_of(spy: TelemetrySpy, error: BaseException | None) -> tuple[Any, Any, StatusCode]:
    """Run a step that ends like this; return its outcome, error type and status."""
    ending = pytest.raises(type(error)) if error is not None else nullcontext()
    with ending, spy.telemetry.step("step", outcome=True):
        if error is not None:
            raise error
    span = spy.span("step")
    attributes = span.attributes or {}
    assert span.events == ()
    return attributes.get("outcome"), attributes.get("error.type"), span.status.status_code


@pytest.mark.parametrize(
    ("error", "outcome", "error_type", "status"),
    [
        (None, "success", None, StatusCode.UNSET),
        (NotFound("x"), "rejected", "not_found", StatusCode.UNSET),
        (Unavailable("x"), "failed", "unavailable", StatusCode.ERROR),
        (ZeroDivisionError(), "failed", "ZeroDivisionError", StatusCode.ERROR),
        (asyncio.CancelledError(), "cancelled", None, StatusCode.UNSET),
        (KeyboardInterrupt(), "cancelled", None, StatusCode.UNSET),
    ],
)
def test_a_step_says_how_it_ended(
    telemetry: TelemetrySpy, error: BaseException | None, outcome: str, error_type: str, status: StatusCode
) -> None:
    """Success, refusal, failure and cancellation; exceptions pass through, recorded where they are handled."""
    assert outcome_of(telemetry, error) == (outcome, error_type, status)


async def test_a_cancelled_task_ends_its_step(telemetry: TelemetrySpy) -> None:
    """A span that never ends is never sent."""

    async def work() -> None:
        with telemetry.telemetry.step("step", outcome=True):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (telemetry.span("step").attributes or {})["outcome"] == "cancelled"


def test_steps_are_nested_as_their_blocks(telemetry: TelemetrySpy) -> None:
    """The tree of spans is the tree of `with`."""
    with telemetry.telemetry.step("outer"):
        with telemetry.telemetry.step("first"):
            pass
        with telemetry.telemetry.step("second"):
            pass

    assert telemetry.tree() == {"outer": {"first": {}, "second": {}}}


def test_every_span_of_a_request_has_its_id_and_its_tenant(telemetry: TelemetrySpy) -> None:
    """From the span on in which the tenant became known."""
    enter_request(RequestContext(KEPT))
    try:
        with telemetry.telemetry.step("outer"):
            bind_client("acme")
            with telemetry.telemetry.step("inner"):
                pass
    finally:
        enter_request(None)  # type: ignore[arg-type]

    identity = {"correlation_id": KEPT, "client_id": "acme"}
    assert [dict(span.attributes or {}) for span in telemetry.spans()] == [identity, identity]


def test_a_step_takes_attributes_and_leaves_none_out(telemetry: TelemetrySpy) -> None:
    """None sets nothing: an attribute is there or it is not."""
    with telemetry.telemetry.step("step", {"a": 1}) as step:
        step.set("b", 2)
        step.set("c", None)

    assert dict(telemetry.span("step").attributes or {}) == {"a": 1, "b": 2}


def test_all_metrics_of_a_process_go_out_together(telemetry: TelemetrySpy) -> None:
    """Those that are counted here and those that the SDK reads, as the exporter encodes them."""
    telemetry.telemetry.metrics.http_requests(1, method="GET", path="/", status="200")
    telemetry.telemetry.metrics.observe(signals.EVENT_LOOP_LAG, lambda: [(0.0, {})])

    sent = encode_metrics(telemetry.metrics_data()).resource_metrics

    assert sorted(
        metric.name for resource in sent for scope in resource.scope_metrics for metric in scope.metrics
    ) == ["event_loop_lag", "http_requests"]


def test_the_resource_says_who_sends() -> None:
    """The five attributes of the contract."""
    attributes = Identity("document-api", "1.0.0", "host:8000", "production").resource().attributes

    assert {name: value for name, value in attributes.items() if not name.startswith("telemetry.sdk")} == {
        "service.name": "document-api",
        "service.namespace": "robin",
        "service.version": "1.0.0",
        "service.instance.id": "host:8000",
        "deployment.environment.name": "production",
    }


def test_the_standard_variable_adds_to_the_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_RESOURCE_ATTRIBUTES is for those who run it; our own names stay ours."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name=h1,service.name=impostor")

    attributes = Identity("document-api", "1.0.0", "host:8000", "production").resource().attributes

    assert attributes["host.name"] == "h1"
    assert attributes["service.name"] == "document-api"


class _Hanging:
    """A provider whose exporter never comes back."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def shutdown(self) -> None:
        self.released.wait()


class _Quick:
    """A provider that is done at once."""

    closed = False

    def shutdown(self) -> None:
        self.closed = True


def test_shutting_down_is_bounded_and_says_what_was_lost(
    telemetry: TelemetrySpy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two hanging exporters cost one deadline, not two, and the third signal is sent all the same."""
    monkeypatch.setattr(module, "SHUTDOWN_SECONDS", 0.1)
    traces, metrics, logs = _Hanging(), _Hanging(), _Quick()
    caplog.set_level(logging.WARNING)
    begun = time.monotonic()

    replace(telemetry.telemetry, providers={"traces": traces, "metrics": metrics, "logs": logs}).shutdown()

    assert time.monotonic() - begun < 1.0
    assert logs.closed
    assert "Telemetry not flushed within 0.1 s: traces, metrics" in telemetry.messages("WARN")
    traces.released.set()
    metrics.released.set()


def test_shutting_down_sends_what_is_buffered(telemetry: TelemetrySpy) -> None:
    """A quiet end, without a warning."""
    telemetry.telemetry.shutdown()

    assert telemetry.messages("WARN") == []

"""Where only some traces are kept, exemplars point to those alone."""

import random

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from observability import Identity, context
from observability.sampling import KeptTraces
from observability.signals import HTTP_REQUEST_DURATION, HTTP_REQUESTS, Attribute
from observability.telemetry import build
from tests.telemetry_spy import Kept, TelemetrySpy

LABELS = {"method": "GET", "path": "/x", "status": "200"}
IDENTITY = Identity("service-under-test", "1.0.0", "test:0", "test")


def spy(share: float) -> TelemetrySpy:
    """Return telemetry whose exemplars point to kept traces."""
    reader = InMemoryMetricReader()
    telemetry = build(IDENTITY, metric_reader=reader, spans=Kept, logs=Kept, kept=KeptTraces(share))
    return TelemetrySpy(telemetry, reader)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_share_of_all_traces_is_kept(share: float) -> None:
    """Chosen by their IDs, and so the same ones in every service."""
    ids = [random.Random(number).getrandbits(128) for number in range(20_000)]  # noqa: S311  IDs
    first, second = (
        {each for each in ids if KeptTraces(share).may_point_to(each, HTTP_REQUESTS, 1, LABELS)}
        for _ in range(2)
    )
    assert first == second
    assert len(first) / len(ids) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    ("seconds", "labels", "kept"),
    [
        (0.5, LABELS, False),
        (1.0, LABELS, True),
        (0.5, {**LABELS, "status": "503"}, True),
        (0.5, {**LABELS, "status": "404"}, False),
    ],
)
def test_what_is_slow_or_failed_is_kept_in_any_case(
    seconds: float, labels: dict[str, str], *, kept: bool
) -> None:
    """The exemplars that somebody will want to follow."""
    assert KeptTraces(0.0).may_point_to(1, HTTP_REQUEST_DURATION, seconds, labels) is kept


def test_every_exemplar_points_to_a_trace_that_is_marked() -> None:
    """And every other measurement has none, so that none points to a trace that is thrown away."""
    watched = spy(0.3)
    for number in range(200):
        context.enter_request(context.RequestContext(context.accept_correlation_id(None)))
        with watched.telemetry.step(f"request {number}"):
            watched.telemetry.metrics.http_request_duration(number / 100, **LABELS)
    (point,) = watched.points(HTTP_REQUEST_DURATION)
    spans = watched.spans()
    marked = {span.context.trace_id for span in spans if (span.attributes or {}).get(Attribute.EXEMPLAR_KEEP)}
    pointed = {exemplar.trace_id for exemplar in point.exemplars}
    assert point.count == len(spans) == 200
    assert pointed
    assert pointed <= marked
    assert 100 <= len(marked) < 200  # the slow half, and a share of the rest

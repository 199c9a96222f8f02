"""What is asked of answers: uploads, retrievals, refusals, health, and the thresholds of a load."""

from collections import Counter
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from observability.signals import DOCUMENT_ROUTE, UPLOAD_ROUTE, ErrorType
from observability_checks.api import Api, Document, Exchange
from observability_checks.checks import health, performance, retrieval, upload
from observability_checks.checks.errors import WrongRequest, answer_problems, is_correlation_id
from observability_checks.context import Group, id_problems
from observability_checks.contract.expected import requests_series
from observability_checks.credentials import Credentials
from observability_checks.figures import Figures
from observability_checks.load import Load, LoadResult
from observability_checks.options import Targets
from observability_checks.polling import Deadline
from observability_checks.results import Results
from telemetry_queries.back_ends import BackEnds
from telemetry_queries.log_store import LogStore
from telemetry_queries.loki import Loki, SilentLoki
from telemetry_queries.sources import Source

ID = "3f0c8d52-9a41-4e0b-8a55-5f2d4a1c7e90"
HEADERS = {
    "x-correlation-id": ID,
    "content-type": "application/problem+json",
    "traceresponse": f"00-{'a' * 32}-{'b' * 16}-01",
}
PROBLEM = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "no", "correlation_id": ID}
METADATA = {
    "id": 5,
    "client_id": "acme",
    "filename": "a.txt",
    "file_size": 4,
    "file_type": "text/plain",
    "upload_timestamp": "2025-08-20T08:10:48.108442Z",
    "summary": "s",
}
UPLOADED = {
    "message": "Document uploaded successfully",
    "client_id": "acme",
    "document_id": 5,
    "metadata": METADATA,
}


def exchange(body: Any, status: int = 200, headers: Mapping[str, str] = HEADERS) -> Exchange:
    """An answer."""
    return Exchange(ID, "GET", "/x", status, headers, body, 0.01)


def document(body: Any) -> Document:
    """An upload of four bytes with this answer."""
    return Document(exchange(body), "acme", "a.txt", b"text")


def wrong(status: int = 404) -> WrongRequest:
    """A mistake that must be answered with this status."""
    return WrongRequest("x", status, "GET", DOCUMENT_ROUTE, ErrorType.NOT_FOUND, lambda _api: exchange({}))


def test_a_good_problem_has_no_complaints():
    """Status, media type, five members, one ID."""
    assert answer_problems(wrong(), exchange(PROBLEM, 404)) == []


@pytest.mark.parametrize(
    ("body", "status", "headers", "complaint"),
    [
        (PROBLEM, 500, HEADERS, "status 500, expected 404"),
        (PROBLEM, 404, {**HEADERS, "content-type": "application/json"}, "content type is 'application/json'"),
        ({**PROBLEM, "detail": ""}, 404, HEADERS, "the body has no detail"),
        ({**PROBLEM, "status": 500}, 404, HEADERS, "the body's status is 500"),
        ({**PROBLEM, "correlation_id": "x"}, 404, HEADERS, "the body's correlation_id is 'x'"),
        (PROBLEM, 404, {**HEADERS, "x-correlation-id": "x"}, "X-Correlation-ID is 'x'"),
        ("<html>", 404, HEADERS, "the body has no type"),
        (None, 404, HEADERS, "the body has no type"),
    ],
    ids=["status", "media type", "member", "body's status", "body's ID", "header's ID", "html", "empty"],
)
def test_a_bad_problem_is_found(body: Any, status: int, headers: dict[str, str], complaint: str):
    """Each thing that RFC 9457 and the contract want is looked at."""
    assert any(
        each.startswith(complaint) for each in answer_problems(wrong(), exchange(body, status, headers))
    )


def test_a_405_needs_its_allow_header():
    """RFC 9110 wants it, and a client can act on it."""
    body = {**PROBLEM, "status": 405}
    assert answer_problems(wrong(405), exchange(body, 405)) == ["no Allow header"]
    assert answer_problems(wrong(405), exchange(body, 405, {**HEADERS, "allow": "GET"})) == []


def test_an_answer_without_the_id_is_found():
    """Also when the request sent none and nobody made one."""
    assert id_problems(exchange({})) == []
    assert id_problems(exchange({}, headers={})) == [f"X-Correlation-ID is '', expected '{ID}'"]
    assert id_problems(Exchange("", "GET", "/", 200, {}, {}, 0.0)) != []


def test_a_correlation_id_is_a_lower_case_uuid4():
    """As the services see it."""
    assert is_correlation_id(ID)
    assert not any(map(is_correlation_id, (ID.upper(), ID.replace("-4", "-1"), "no-uuid4", "")))


def test_a_good_upload_has_no_complaints():
    """Metadata may have more than the contract wants."""
    assert upload._body_problems(document(UPLOADED)) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"message": "ok"}, "message is 'ok'"),
        ({"client_id": "other"}, "client_id is 'other'"),
        ({"document_id": 6}, "metadata.id is 5, expected 6"),
        ({"metadata": {**METADATA, "file_size": 3}}, "metadata.file_size is 3, expected 4"),
        (
            {"metadata": {key: METADATA[key] for key in METADATA if key != "upload_timestamp"}},
            "metadata has no upload_timestamp",
        ),
        ({"metadata": None}, "expected a JSON object with metadata"),
    ],
)
def test_a_bad_upload_is_found(change: dict[str, Any], complaint: str):
    """The answer is held against what was sent."""
    problems = upload._body_problems(document({**UPLOADED, **change}))
    assert any(each.startswith(complaint) for each in problems)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"filename": "b.txt"}, "filename is 'b.txt', uploaded was 'a.txt'"),
        ({"summary": None}, "no summary of a plain text"),
        ({"storage_key": "k"}, "storage_key is shown"),
    ],
)
def test_a_bad_retrieval_is_found(change: dict[str, Any], complaint: str):
    """The metadata is that of the upload, and where the bytes are is nobody's business."""
    assert retrieval._body_problems(document(UPLOADED), exchange(METADATA)) == []
    assert complaint in retrieval._body_problems(document(UPLOADED), exchange({**METADATA, **change}))


DOCUMENT_API_HEALTH = {
    "status": "healthy",
    "service": "document-api",
    "timestamp": "t",
    "components": {"file_system": "healthy", "data_store": "healthy"},
    "version": "1.0.0",
}
DATA_STORE_HEALTH = {
    "status": "healthy",
    "database": {"status": "healthy", "latency_ms": 0.4},
    "tables": {"document_metadata": "healthy", "users": "healthy", "clients": "healthy"},
}


@pytest.mark.parametrize(
    ("look", "body", "change", "complaint"),
    [
        (health.document_api_problems, DOCUMENT_API_HEALTH, {"status": "degraded"}, "status is degraded"),
        (health.document_api_problems, DOCUMENT_API_HEALTH, {"components": {"file_system": "healthy"}}, "data_store is None"),
        (health.document_api_problems, DOCUMENT_API_HEALTH, {"components": {**DOCUMENT_API_HEALTH["components"], "object_store": "unhealthy"}}, "object_store is unhealthy"),
        (health.document_api_problems, DOCUMENT_API_HEALTH, {"version": ""}, "no version"),
        (health.data_store_problems, DATA_STORE_HEALTH, {"database": {"status": "unhealthy", "latency_ms": 1}}, "database is unhealthy"),
        (health.data_store_problems, DATA_STORE_HEALTH, {"database": {"status": "healthy"}}, "no latency_ms"),
        (health.data_store_problems, DATA_STORE_HEALTH, {"tables": {}}, "users is None"),
    ],
)  # fmt: skip
def test_an_unhealthy_answer_is_found(
    look: Callable[[object], list[str]], body: dict[str, Any], change: dict[str, Any], complaint: str
):
    """The whole service, each component, and what an operator needs to read."""
    assert look(body) == []
    assert any(each.startswith(complaint) for each in look({**body, **change}))
    assert look(None) != []


def test_every_health_counter_must_have_risen():
    """By one at least: the stack's own probes make them rise as well."""
    risen = dict.fromkeys(health._COUNTERS, 3)
    assert health.metric_problems(risen) == []
    for series in health._COUNTERS:
        less = {each: count for each, count in risen.items() if each != series}
        assert health.metric_problems(less) == [f"{series} did not rise"]


def test_only_answers_of_a_service_have_a_trace():
    """nginx answers some requests by itself, and nothing of them is counted in a service."""
    assert exchange({}).trace_id == "a" * 32
    assert exchange({}).from_service
    own = exchange({}, headers={"x-correlation-id": ID})
    assert (own.from_service, own.trace_id) == (False, None)


def sent_by(send: Callable[[Api], object]) -> httpx.Request:
    """The request that this sends."""
    seen: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        return httpx.Response(200, json={})

    send(Api(httpx.Client(transport=httpx.MockTransport(serve)), "http://robin"))
    return seen[0]


def test_every_request_has_an_id_of_its_own_unless_it_asks_for_none():
    """An ID that is given is sent, and "" sends none: nginx has to make one."""
    fresh = {sent_by(lambda api: api.document("acme", 5)).headers["x-correlation-id"] for _ in range(3)}
    assert len(fresh) == 3
    assert all(map(is_correlation_id, fresh))
    assert sent_by(lambda api: api.send("GET", "/", correlation_id=ID)).headers["x-correlation-id"] == ID
    assert "x-correlation-id" not in sent_by(lambda api: api.send("GET", "/", correlation_id="")).headers


def test_an_oversize_body_is_exactly_as_large_as_asked_for():
    """The file, without its envelope, and its length is told or not."""
    told = sent_by(lambda api: api.oversize("acme", 100_000, declared=True))
    streamed = sent_by(lambda api: api.oversize("acme", 100_000, declared=False))
    assert told.content == streamed.content
    assert told.content.count(b"\0") == 100_000
    assert int(told.headers["content-length"]) == len(told.content)
    assert "content-length" not in streamed.headers


class FakeGroup:
    """Remembers what was found."""

    def __init__(self, **limits: float) -> None:
        self.options = type("Options", (), limits)()
        self.context = self
        self.failed: dict[str, bool] = {}

    def add(self, name: str, problems: list[str], _found: str) -> None:
        """Record a check."""
        self.failed[name] = bool(problems)


@pytest.mark.parametrize(
    ("figures", "failed"),
    [
        (Figures(1000, 0, 1.0, 0.01, 0.05, 0.1), set()),
        (Figures(1000, 0, 10.5, 0.01, 0.05, 0.1), {"rate"}),
        (Figures(1000, 0, 1.0, 0.01, 2.1, 3.0), {"p95"}),
        (Figures(1000, 101, 1.0, 0.01, 0.05, 0.1), {"errors"}),
        (Figures(1000, 100, 10.0, 0.01, 2.0, 3.0), set()),
    ],
    ids=["good", "slow", "late", "failing", "just good"],
)
def test_a_load_is_judged_by_three_thresholds(figures: Figures, failed: set[str]):
    """Fewer than 100 requests/s, a p95 over 2 s, more than 10 % errors."""
    group = FakeGroup(min_rate=100, max_p95_seconds=2, max_error_percent=10)
    performance._judge(group, figures, LoadResult())  # type: ignore[arg-type]
    assert {name for name, bad in group.failed.items() if bad} == failed


def test_the_counters_of_a_load_are_those_of_its_successes():
    """Three uploads and two retrievals, and a refusal that the error rate judges."""
    answers = Counter({("PUT", 200): 3, ("GET", 200): 2, ("GET", 0): 1})
    sent = performance._sent(LoadResult(answers=answers))
    assert sent[requests_series(Source.DOCUMENT_API, "PUT", UPLOAD_ROUTE, 200)] == 3
    assert sent[requests_series(Source.DATA_STORE, "GET", DOCUMENT_ROUTE, 200)] == 2
    result = LoadResult(seconds=2.0, latencies={"PUT": [0.3] * 3, "GET": [0.1] * 3}, answers=answers)
    assert (result.figures("GET").errors, result.figures("PUT").errors) == (1, 0)
    assert (result.figures("PUT", "GET").rate, result.figures("GET").p95) == (3.0, 0.1)


@pytest.mark.parametrize(("refusals", "status", "put_off"), [(2, 200, 1), (1000, 429, 1), (0, 200, 0)])
async def test_a_client_over_its_limits_comes_again_as_told(refusals: int, status: int, put_off: int):
    """What a service refused is counted there, nginx's own nowhere, and nobody comes again without end."""
    by_service = httpx.Response(429, headers={"Retry-After": "0", "traceresponse": "00-1-2-03"})
    by_nginx = httpx.Response(429, headers={"Retry-After": "0"})
    told = iter([*[by_service, *[by_nginx] * refusals][:refusals], httpx.Response(200)])
    load = Load("http://edge", [("acme", 1)], 1, 1, cast("Any", None), Credentials())
    result = LoadResult()
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: next(told))) as client:
        assert await load._send(client, "GET", 1, result) == status
    assert result.put_off["GET"] == put_off
    assert len(result.latencies["GET"]) == 1
    sent = performance._sent(result)
    assert sent[requests_series(Source.DOCUMENT_API, "GET", DOCUMENT_ROUTE, 429)] == put_off


def context_with(logs: LogStore) -> Any:
    """A context in which only the log store is there."""
    back_ends = BackEnds(cast("Any", None), cast("Any", None), logs)
    return SimpleNamespace(
        back_ends=back_ends, results=Results(), api=SimpleNamespace(credentials=Credentials())
    )


def test_log_lines_of_a_silent_store_are_skipped_by_name_with_the_reason():
    """Nobody looked, so nothing has passed."""
    context = context_with(SilentLoki(httpx.Client(), "http://logs", "answers 501"))
    Group(context, "upload").log_lines("log lines of 1", lambda: ["missing"], Deadline(0), "found")
    (check,) = context.results.checks
    assert (check.name, check.skipped, check.passed) == ("log lines of 1", "answers 501", False)
    assert context.results.verdict == "0 passed, 0 failed, 1 skipped"


@pytest.mark.parametrize(("problems", "passed"), [([], True), (["missing"], False)], ids=str)
def test_log_lines_of_a_store_that_answers_are_looked_for(problems: list[str], *, passed: bool):
    """Whatever is found decides."""
    context = context_with(Loki(httpx.Client(), "http://logs"))
    Group(context, "upload").log_lines("log lines of 1", lambda: problems, Deadline(0), "found")
    assert [check.passed for check in context.results.checks] == [passed]


@pytest.mark.parametrize("addresses", [(), ("http://127.0.0.1:1", "http://127.0.0.1:2")], ids=len)
def test_every_instance_that_is_reached_directly_is_asked_for_its_health(addresses: tuple[str, ...]):
    """In Docker there is none: the services are reached through nginx only."""
    context = context_with(Loki(httpx.Client(), "http://logs"))
    context.targets = Targets({"data_store": addresses})
    context.http = httpx.Client(transport=httpx.MockTransport(lambda _request: httpx.Response(503)))
    health._services(Group(context, "health"), "data-store", "data_store", health.data_store_problems)
    names = [check.name for check in context.results.failures]
    assert names == [f"data-store {number}" for number in range(1, len(addresses) + 1)]

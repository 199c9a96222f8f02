"""All that a whole stack has stored, held against observability.signals and the contract, in both directions."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from opentelemetry.semconv.attributes import http_attributes
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import OperationalError

from local_stack.postgres import database_password, database_url
from local_stack.state import State
from observability import signals
from observability.signals import Attribute
from observability_checks.api import Api, Exchange, sample_text
from observability_checks.contract.series import SCRAPED_JOBS
from observability_checks.contract.spans import ENDPOINTS
from observability_checks.credentials import Credentials
from telemetry_queries.sources import SERVICES, Source
from tests import conformance
from tests.clamd import fake_clamd
from tests.conformance import StoredSpan, faults_of
from tests.e2e import stored
from tests.e2e.conftest import CHECKOUT, RunningStack
from tests.e2e.faults import failing_inserts, slow_inserts
from tests.files import pdf
from tests.ports import free_port
from tests.records import LINE_FIELDS
from tests.tokens import AUDIENCE, ISSUER, jwks, token
from tests.waiting import eventually, until_up
from tests.webhook import Webhook

SECONDS = 30
# What cannot be made to happen from outside.
SILENT_METRICS = {
    signals.DATABASE_POOL_EXHAUSTED,  # somebody waits 5 s for a connection
    signals.REQUESTS_SHED,  # there is more in hand than a process takes
    signals.TELEMETRY_DROPPED,  # the SDK's queue is full, or an export failed for a minute
}
MODEL = "parrot-1"
CLIENTS = 60
REPORT = sample_text(2, 2)
REPEATED: dict[str, Any] = {
    "files": {"file": ("a.txt", REPORT, "text/plain")},
    "headers": {"Idempotency-Key": "the-same-twice"},
}
Found = TypeVar("Found")


class Model(Webhook):
    """A model behind the OpenAI-compatible API that has one answer, is too busy at first, and refuses what it does not like."""

    path = "/v1"
    busy = True

    def take(self, _path: str, _content_type: str | None, body: bytes) -> tuple[int, str, str]:
        """Answer a chat."""
        if self.busy:
            self.busy = False
            return 503, "application/json", "{}"
        answer = {
            "choices": [{"message": {"content": "A summary."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3},
            "id": "chatcmpl-7",
            "model": MODEL,
        }
        return 500 if b"unlikable" in body else 200, "application/json", json.dumps(answer)


@contextmanager
def service(stack: RunningStack, module: str, **settings: str) -> Iterator[str]:
    """Run one more instance of a service with settings of its own, and lend its URL."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "PORT": str(port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{stack.environment['OTLP_GRPC_PORT']}",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            **settings,
        },
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until_up(process, lambda: answers(url), seconds=SECONDS)
        yield url
    finally:
        process.terminate()
        process.wait(SECONDS)


def answers(url: str) -> bool:
    """Whether a service has come up."""
    with suppress(httpx.TransportError):
        return bool(httpx.get(f"{url}/health", timeout=10).status_code)
    return False


@pytest.fixture(scope="module")
def exchanges(stack: RunningStack, http: httpx.Client) -> list[Exchange]:
    """What users do, and get wrong, and what befalls them, through nginx."""
    api = Api(http, stack.endpoints["nginx"])
    document = api.upload("contract", "live.txt", REPORT)
    form = {"files": {"other": b"x"}}
    with slow_inserts(stack, 1.2):
        slow = api.upload("contract", "slow.txt", REPORT).exchange
    with failing_inserts(stack):
        failed = api.upload("contract", "failed.txt", REPORT).exchange
    done = [
        document.exchange,
        api.document("contract", document.document_id),
        api.document("contract", 2**60),
        api.send("PUT", "/clients/contract/upload-document", **form),
        api.upload("contract", "noise.bin", bytes(range(256))).exchange,
        api.upload("contract", "report.pdf", pdf("A report")).exchange,
        slow,
        failed,
    ]
    assert [each.status for each in done] == [200, 200, 404, 422, 200, 200, 200, 502]
    return done


@pytest.fixture(scope="module")
def traffic(
    stack: RunningStack, http: httpx.Client, exchanges: list[Exchange], tmp_path_factory: Any
) -> float:
    """All of it, a model, a virus scanner, a data store that tells everything, and clients who try every label; since when."""
    begun = time.time()
    assert exchanges
    edge = Api(http, stack.endpoints["nginx"])
    edge.send("GET", "/nowhere")
    edge.send("GET", "/health")
    edge.send("POST", "/clients/contract/documents/1")
    live_through(edge)
    broken = {"headers": {"Content-Type": "multipart/form-data; boundary=b"}, "content": b"--no boundary"}
    edge.send("PUT", "/clients/contract/upload-document", **broken)
    port = int(stack.environment["POSTGRES_PORT"])
    with pytest.raises(OperationalError, match="password"):
        create_engine(database_url(port, "guessed"), poolclass=NullPool).connect()
    password = database_password(State(stack.state))
    verbose = {"DATABASE_URL": database_url(port, password), "LOG_LEVEL": "DEBUG"}
    with Model() as model, fake_clamd() as scanner, service(stack, "data_store", **verbose) as store:
        settings = {
            "DATA_STORE_URL": store,
            "UPLOAD_DIR": str(tmp_path_factory.mktemp("uploads")),
            "LLM_BASE_URL": model.url,
            "LLM_MODEL": MODEL,
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",  # the collector masks it all the same
            "CLAMD_ADDRESS": scanner.address,
        }
        with service(stack, "document_api", **settings) as url:
            told = Api(http, url).upload("contract", "told.txt", REPORT)
            untold = Api(http, url).upload("contract", "untold.txt", b"unlikable " + REPORT)
            crowd(Api(http, url))
            # Their metrics are told twice a second.
            eventually(lambda: url_known(stack, http, url), "its metrics arrive", seconds=SECONDS)
    del settings["CLAMD_ADDRESS"]
    lonely = {"DATA_STORE_URL": f"http://127.0.0.1:{free_port()}", "DATA_STORE_DEADLINE_SECONDS": "1"}
    with service(stack, "document_api", **{**settings, **lonely}) as url:
        # Until it does not even ask any more.
        alone = [Api(http, url).upload("contract", "alone.txt", REPORT).exchange.status for _ in range(8)]
    assert [told.exchange.status, untold.exchange.status, *alone] == [200, 200, *[503] * 8]
    for _ in range(2):
        assert edge.send("PUT", "/clients/contract/upload-document", **REPEATED).status == httpx.codes.OK
    ask_who_it_is(stack, http, exchanges[0].body["document_id"], tmp_path_factory.mktemp("guarded"))
    return begun


def live_through(api: Api) -> None:
    """Let a document have its whole life."""
    documents = "/clients/contract/documents"
    files = {"file": ("life.txt", REPORT, "text/plain")}
    stored = api.send("PUT", "/clients/contract/upload-documents", files=files)
    document = f"{documents}/{stored.body['results'][0]['document']['id']}"
    version = {"file": ("life.txt", b"Another version.", "text/plain")}
    steps = [
        ("GET", documents, {}),
        ("GET", "/clients/contract/search?q=report", {}),
        ("PUT", f"{document}/content", {"files": version}),
        ("GET", f"{document}/content", {}),
        ("GET", f"{document}/versions", {}),
        ("GET", f"{document}/content?version=1", {}),
        ("PATCH", document, {"json": {"tags": {"year": "2026"}}}),
        ("DELETE", document, {}),
        ("POST", f"{document}/restore", {}),
        ("DELETE", document, {}),
        ("POST", f"{document}/purge", {}),
        ("PUT", "/clients/contract/upload-document?summary=async", {"files": version}),
    ]
    done = [api.send(method, path, **how).status for method, path, how in steps]
    assert done == [200, 200, 200, 200, 200, 200, 200, 204, 200, 204, 204, 200]


def ask_who_it_is(stack: RunningStack, http: httpx.Client, document_id: int, folder: Path) -> None:
    """Send requests to an instance that asks whose they are: by key and by token, denied, and too many."""
    key_file = folder / "jwks.json"
    key_file.write_text(jwks())
    settings = {
        "AUTH_MODE": "required",
        "SERVICE_TOKEN": State(stack.state).secret("service-token"),
        "DATA_STORE_URL": stack.endpoints["data_store"],
        "UPLOAD_DIR": str(leftovers(folder / "uploads")),
        "SWEEP_AFTER_SECONDS": "0",
        "SWEEP_SECONDS": "1",
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "JWT_KEY_FILE": str(key_file),
        "TENANT_REQUESTS_PER_SECOND": "5",
    }
    stack.admin(
        "create-user",
        "contract",
        "--email",
        "r@example.org",
        "--name",
        "R",
        "--role",
        "reader",
        "--subject",
        "r",
    )
    key = stack.admin("issue-key", "r@example.org", "--quiet")
    token_header = {"Authorization": f"Bearer {token('r')}"}
    with service(stack, "document_api", **settings) as url:
        api = Api(http, url, Credentials({"contract": key}))
        read = api.document("contract", document_id)
        denied = api.upload("contract", "denied.txt", REPORT).exchange
        by_token = Api(http, url).send(
            "GET", f"/clients/contract/documents/{document_id}", headers=token_header
        )
        many = [api.document("contract", document_id).status for _ in range(20)]
        eventually(lambda: limit_known(stack, http), "its metrics arrive", seconds=SECONDS)
    assert [each.status for each in (read, denied, by_token)] == [200, 403, 200]
    assert set(many) == {200, 429}


def leftovers(uploads: Path) -> Path:
    """Leave what an instance leaves that was killed: the bytes of a document under both its names."""
    document = uploads / "documents" / ("f" * 32) / ("e" * 32)
    document.parent.mkdir(parents=True)
    document.write_bytes(b"Nobody was told that these are stored.")
    incoming = uploads / "incoming"
    incoming.mkdir()
    (incoming / f"{document.parent.name}.{document.name}").hardlink_to(document)
    return uploads


def limit_known(stack: RunningStack, http: httpx.Client) -> bool:
    """Whether a client that sent too much has been counted, and what nobody has any more is removed."""
    known = {each["__name__"] for each in stored.series(stack, http)}
    wanted = {signals.TENANT_LIMIT_EXCEEDED.prometheus_name, signals.CONTENTS_REMOVED.prometheus_name}
    return wanted <= known


def crowd(api: Api) -> None:
    """Send what would make a series each, if labels were not bounded."""
    for number in range(CLIENTS):
        files = {"file": ("a.txt", b"Words.", f"text/x-{number}")}
        api.send("PUT", f"/clients/client-{number}/upload-document", files=files)
        api.send("GET", f"/nowhere/{number}")
    for method in (
        "PROPFIND",
        "MKCOL",
        "PURGE",
    ):  # uvicorn refuses those that HTTP's parsers have never heard of
        api.send(method, "/clients/client-1/documents/1")


def url_known(stack: RunningStack, http: httpx.Client, url: str) -> bool:
    """Whether the last of the crowd has been counted."""
    instance = f":{httpx.URL(url).port}"
    return any(
        each["__name__"] == signals.HTTP_ERRORS.prometheus_name
        and each["instance"].endswith(instance)
        and each["method"] == "_OTHER"
        for each in stored.series(stack, http)
        if "instance" in each
    )


def settled(look: Callable[[], Found], missing: Callable[[Found], Iterable[str]]) -> Found:
    """Return what is stored as soon as nothing is missing any more, or when the time is over."""
    found: list[Found] = []

    def nothing_is_missing() -> bool:
        found[:] = [look()]
        return not list(missing(found[0]))

    with suppress(AssertionError):
        eventually(nothing_is_missing, seconds=SECONDS)
    return found[0]


# ---- spans


@pytest.fixture(scope="module")
def spans(stack: RunningStack, http: httpx.Client, traffic: float) -> list[StoredSpan]:
    """Every span that is stored, once each of the contract is there and none waits for its parent."""

    def missing(found: list[StoredSpan]) -> list[str]:
        orphans = [span.name for span in found if span.orphan and span.started >= traffic]
        return [*conformance.missing_spans(found), *orphans]

    return settled(lambda: stored.spans(stack, http), missing)


def test_every_span_is_as_the_contract_has_it(spans: list[StoredSpan]):
    """Name, kind, parent, attributes with their types, units and values, resource, events."""
    assert faults_of(spans, conformance.span_faults) == []


def test_every_span_and_attribute_of_the_contract_is_there(spans: list[StoredSpan]):
    """One that nobody makes any more is found here."""
    assert list(conformance.missing_spans(spans)) == []


def value(span: StoredSpan, name: str) -> Any:
    """Return the value of a span's attribute, None where it has none."""
    return span.attributes.get(name, (None, None))[1]


def test_every_endpoint_has_its_span(spans: list[StoredSpan]):
    """Of both services."""
    names = (http_attributes.HTTP_REQUEST_METHOD, http_attributes.HTTP_ROUTE)
    found = {(span.service, *(value(span, name) for name in names)) for span in spans}
    assert ENDPOINTS - found == set()


def test_every_request_of_a_user_is_one_trace(spans: list[StoredSpan], exchanges: list[Exchange]):
    """Its ID and its tenant are on every span, however it ended."""
    for exchange in exchanges:
        mine = [span for span in spans if value(span, Attribute.CORRELATION_ID) == exchange.correlation_id]
        assert len([span for span in mine if span.parent is None]) == 1
        assert {value(span, Attribute.CLIENT_ID) for span in mine} == {"contract"}


def test_health_makes_no_span(spans: list[StoredSpan]):
    """Neither ours nor the prober's."""
    assert not [span for span in spans if signals.HEALTH_ROUTE in span.name]


# ---- log records


@pytest.fixture(scope="module")
def records(stack: RunningStack, http: httpx.Client, traffic: float) -> list[dict[str, str]]:
    """Every log record that is stored, once each of the contract is there."""
    assert traffic
    return settled(lambda: stored.records(stack, http), conformance.missing_records)


def test_every_log_record_is_as_the_contract_has_it(records: list[dict[str, str]]):
    """Source, message, level, attributes with their types and values, resource."""
    assert faults_of(records, conformance.record_faults) == []


def test_every_log_record_and_attribute_of_the_contract_is_there(records: list[dict[str, str]]):
    """One that nobody writes any more is found here."""
    assert list(conformance.missing_records(records)) == []


def test_durations_are_seconds(records: list[dict[str, str]], spans: list[StoredSpan]):
    """A record's duration is that of its span, told in the same unit by all four sources."""
    by_id = {span.span_id: span for span in spans}
    pairs = [(each, by_id[each["span_id"]]) for each in records if each.get("span_id") in by_id]
    assert {each["service.name"] for each, span in pairs if span.seconds > 1} == {
        *SERVICES,
        Source.NGINX,
        Source.POSTGRESQL,
    }
    assert faults_of(pairs, lambda pair: conformance.time_faults(*pair)) == []


def written(stack: RunningStack, ids: set[str]) -> list[dict[str, Any]]:
    """What nginx and the stack's services wrote of these requests."""
    files = [*stack.state.glob("logs/document_api-*.log"), *stack.state.glob("logs/data_store.log")]
    lines = [line for file in [*files, stack.state / "logs" / "access.json"] for line in json_lines(file)]
    return [line for line in lines if line["correlation_id"] in ids]


def test_a_line_that_was_written_is_the_record_in_the_log_store(
    stack: RunningStack, http: httpx.Client, exchanges: list[Exchange]
):
    """Same message, level and IDs, each once."""
    ids = {exchange.correlation_id for exchange in exchanges}
    query = f"correlation_id:in({','.join(ids)}) and service.name:!{Source.POSTGRESQL}"

    def kept() -> list[tuple[str, ...]]:
        names = ("service.name", "_msg", "severity_text", "trace_id", "span_id")
        return sorted(tuple(each[name] for name in names) for each in stored.records(stack, http, query))

    def lines() -> list[tuple[str, ...]]:
        names = ("service", "log_message", "level", "trace_id", "span_id")
        return sorted(tuple(line[name] for name in names) for line in written(stack, ids))

    assert settled(kept, lambda found: set(lines()) - set(found)) == lines()
    assert len(lines()) >= 4 * 4 + 2 * 3 + 2


def test_every_line_on_stdout_has_the_fields_of_the_contract(stack: RunningStack, exchanges: list[Exchange]):
    """Of both services, requests or not; each is one JSON object."""
    assert exchanges
    files = [*stack.state.glob("logs/document_api-*.log"), *stack.state.glob("logs/data_store.log")]
    assert len(files) == 3
    for file in files:
        for line in json_lines(file):
            assert set(line) == LINE_FIELDS
            assert isinstance(line["timestamp"], float)
            assert isinstance(line["context_data"], dict)
            assert line["level"] in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}


def test_nginxs_line_has_the_fields_of_the_contract(stack: RunningStack, exchanges: list[Exchange]):
    """Before the collector has touched it."""
    assert exchanges
    for line in json_lines(stack.state / "logs" / "access.json"):
        assert set(line) == LINE_FIELDS - {"logger"}
        assert {"client_id", "method", "path", "status", "duration", "upstream"} <= set(line["context_data"])


def json_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Lines of a log, each as its object."""
    return (json.loads(line) for line in file.read_text().splitlines())


# ---- series


@pytest.fixture(scope="module")
def series(stack: RunningStack, http: httpx.Client, traffic: float) -> list[dict[str, str]]:
    """Every series that is stored, once each metric of the contract is there."""
    assert traffic
    return settled(lambda: stored.series(stack, http), missing_metrics)


def missing_metrics(series: list[dict[str, str]]) -> list[str]:
    """Metrics of the contract that this traffic must make, and did not."""
    return list(conformance.missing_metrics(series, SILENT_METRICS))


def test_every_metric_of_the_contract_is_there(series: list[dict[str, str]]):
    """Of both services and of the machine."""
    assert missing_metrics(series) == []


def test_every_series_is_as_the_contract_has_it(
    series: list[dict[str, str]], stack: RunningStack, http: httpx.Client
):
    """Name, which tells kind and unit too, labels, values; or a program that is scraped, or a rule."""
    recorded = stored.recorded_names(stack, http)
    assert faults_of(series, lambda labels: conformance.series_faults(labels, recorded)) == []


def test_labels_stay_bounded_whatever_clients_send(series: list[dict[str, str]]):
    """Sixty tenants, media types, paths and methods made no series each."""
    assert faults_of([series], conformance.cardinality_faults) == []
    clients = {labels["client"] for labels in series if "client" in labels}
    assert "other" in clients


def test_buckets_are_those_of_the_contract(series: list[dict[str, str]]):
    """The SDK's defaults are useless for seconds."""
    assert faults_of([series], conformance.bucket_faults) == []


def test_every_exemplar_leads_to_its_request(stack: RunningStack, http: httpx.Client, traffic: float):
    """And every metric that shall have exemplars has one."""
    assert traffic
    found = stored.exemplars(stack, http)
    assert faults_of(found, lambda pair: conformance.exemplar_faults(*pair)) == []
    names = {spec for labels, _ in found if (spec := conformance.metric_spec(labels))}
    assert {metric for metric in signals.METRICS if metric.exemplars} - names == set()


def test_what_is_scraped_is_listed(stack: RunningStack, http: httpx.Client):
    """Prometheus has a target for every job of the contract that the local stack has, and for no other."""
    expected = SCRAPED_JOBS - {"loki", "grafana"}
    assert settled(lambda: stored.scraped_jobs(stack, http), expected.symmetric_difference) == expected

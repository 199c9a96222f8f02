"""Loki and VictoriaLogs: what is asked, and how each form of the answers is read."""

import json

import httpx
import pytest

from telemetry_queries import loki, victorialogs
from telemetry_queries.log_store import UnknownLogStoreError, detect
from telemetry_queries.loki import Loki
from telemetry_queries.victorialogs import VictoriaLogs

ID = "6f1c9a52-7d0e-4b63-9c53-0f6d0f4f7a11"
LABELS = {"service_name": "data-store", "service_namespace": "robin"}
METADATA = {
    "correlation_id": ID,
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "span_id": "b7ad6b7169203331",
    "severity_text": "INFO",
    "context_data_status": "201",
}
MOMENT = "1700000000123456789"
CATEGORISED = [{"stream": LABELS, "values": [[MOMENT, "POST /x 201", {"structuredMetadata": METADATA}]]}]
MERGED = [{"stream": {**LABELS, **METADATA}, "values": [[MOMENT, "POST /x 201"]]}]


def answer(result: list[object]) -> dict[str, object]:
    """An answer of Loki's query_range."""
    return {"status": "success", "data": {"resultType": "streams", "result": result}}


@pytest.mark.parametrize("result", [CATEGORISED, MERGED], ids=["categorised", "merged"])
def test_both_forms_of_lokis_answer_give_the_same_record(result: list[object]):
    """With the header the metadata stands beside the line, without it among the labels."""
    (record,) = loki.parse(answer(result))
    assert (record.time_ns, record.message, record.level) == (int(MOMENT), "POST /x 201", "INFO")
    assert (record.service, record.correlation_id) == ("data-store", ID)
    assert (record.trace_id, record.span_id) == (METADATA["trace_id"], METADATA["span_id"])
    assert record.fields["context_data_status"] == "201"


def test_a_line_of_loki_without_metadata_is_read_too():
    """Lines of other senders have no correlation ID, and do not stop the reading."""
    (record,) = loki.parse(answer([{"stream": LABELS, "values": [[MOMENT, "plain", {}]]}]))
    assert (record.message, record.correlation_id) == ("plain", "")


def test_logql_selects_by_a_label_and_filters_metadata_after_the_bar():
    """Structured metadata is no label: inside the braces it would find nothing."""
    assert loki.by_correlation_id(ID) == f'{{service_namespace="robin"}} | correlation_id="{ID}"'


def test_logsql_asks_for_exactly_this_id():
    """A word filter would find the ID inside other fields as well."""
    assert victorialogs.by_correlation_id(ID) == f'correlation_id:="{ID}"'


def test_victorialogs_answer_is_read_line_by_line():
    """Dotted names become underscored ones, as Loki stores them; nanoseconds are kept."""
    stored = {
        "_msg": "POST /x 201",
        "_time": "2023-11-14T22:13:20.123456789Z",
        "_stream": "{}",
        "service.name": "data-store",
        "context_data.status": "201",
        **METADATA,
    }
    (record,) = victorialogs.parse(json.dumps(stored) + "\n\n")
    assert (record.time_ns, record.service, record.level) == (int(MOMENT), "data-store", "INFO")
    assert (record.message, record.correlation_id) == ("POST /x 201", ID)
    assert record.fields["context_data_status"] == "201"


@pytest.mark.parametrize(
    ("moment", "nanoseconds"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
        ("2023-11-14T22:13:20.5Z", 1_700_000_000_500_000_000),
    ],
)
def test_a_time_of_victorialogs_may_have_any_number_of_digits(moment: str, nanoseconds: int):
    """Zeros at the end are cut off by the server."""
    (record,) = victorialogs.parse(json.dumps({"_time": moment}))
    assert record.time_ns == nanoseconds


def client_of(paths: set[str]) -> httpx.Client:
    """A client of a server that knows these paths and answers 404 to all others."""
    return httpx.Client(
        transport=httpx.MockTransport(
            lambda request: httpx.Response(200 if request.url.path in paths else 404, json={})
        )
    )


def test_loki_is_known_by_its_build_information():
    """A path that only Loki has."""
    assert isinstance(detect(client_of({"/loki/api/v1/status/buildinfo"}), ["http://logs"]), Loki)


def test_victorialogs_is_known_by_its_query_path():
    """A path that only VictoriaLogs has."""
    assert isinstance(detect(client_of({"/select/logsql/query"}), ["http://logs"]), VictoriaLogs)


def test_an_unknown_server_is_named():
    """Something else on that port is no log store."""
    with pytest.raises(UnknownLogStoreError, match=r"at http://logs$"):
        detect(client_of({"/"}), ["http://logs"])


def silent_loki(paths: set[str] | None = None) -> httpx.Client:
    """A client of a server that takes logs in by Loki's API, and answers 501 to every question in it."""

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/loki/"):
            return httpx.Response(501, text="not implemented")
        return httpx.Response(200 if request.url.path in {"/ready", *(paths or ())} else 404, json={})

    return httpx.Client(transport=httpx.MockTransport(serve))


def test_a_loki_that_answers_no_logql_is_silent_and_says_so():
    """Its checks are skipped, not passed: nothing can be found there."""
    store = detect(silent_loki(), ["http://logs"])
    assert "http://logs/loki/api/v1/labels answers 501" in store.silence
    assert store.find(ID, since=0) == []
    store.ping()


def test_a_store_that_answers_is_preferred_to_one_that_is_silent():
    """What has the lines is asked for them, whatever else it does not speak."""
    store = detect(silent_loki({"/select/logsql/query"}), ["http://logs"])
    assert isinstance(store, VictoriaLogs)
    assert store.silence == ""


@pytest.mark.parametrize("status", [200, 404, 500, 503])
def test_only_not_implemented_excuses_a_loki(status: int):
    """A Loki that is broken fails its checks."""
    client = httpx.Client(transport=httpx.MockTransport(lambda _request: httpx.Response(status)))
    assert loki.logql_refusal(client, "http://logs") == ""


def test_records_come_oldest_first_and_in_the_asked_range():
    """Streams arrive one after another; the story needs them by time."""
    seen: list[httpx.URL] = []
    later = [
        {"stream": LABELS, "values": [["300", "c"], ["100", "a"]]},
        {"stream": LABELS, "values": [["200", "b"]]},
    ]

    def serve(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return httpx.Response(200, json=answer(later))

    store = Loki(httpx.Client(transport=httpx.MockTransport(serve)), "http://logs")
    assert [record.message for record in store.find(ID, since=1700000000.5)] == ["a", "b", "c"]
    assert seen[0].params["start"] == "1700000000500000000"
    assert seen[0].params["query"] == loki.by_correlation_id(ID)

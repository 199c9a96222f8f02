"""The arithmetic of each goal but throughput: what is made of what was measured, and when a goal is met."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks import (
    choices,
    documents,
    fairness,
    footprint,
    freshness,
    isolation,
    latency,
    memory,
    scaling,
    start,
    upload,
    vegeta,
)
from benchmarks.errors import BenchmarkError
from benchmarks.figures import percentile
from benchmarks.load import METHODS, Requests
from benchmarks.options import Options
from benchmarks.rounds import Round
from benchmarks.summary import summarise
from benchmarks.waiting import settled
from document_api.settings import DocumentApiSettings
from tests.rounds import a_round

REQUESTS = Requests("http://127.0.0.1:1", "http://127.0.0.1:1/clients/c/documents/5", Path("upload.body"))


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """The smallest that so many do not exceed, the only one where there is one."""
    values = [5.0, 1.0, 4.0, 2.0, 3.0]

    assert [percentile(values, share) for share in (0.0, 0.2, 0.5, 0.95, 1.0)] == [1, 1, 3, 5, 5]
    assert percentile([7.0], 0.95) == 7


def test_what_still_changes_is_waited_for() -> None:
    """Exporters send when they do: what is read is final once it stays."""
    answers = iter([1, 1, 2, 3])

    assert settled(lambda: next(answers, 4), quiet_seconds=0.0) == 1
    assert settled(lambda: next(answers, 4), quiet_seconds=0.3) == 4


# ---- scaling


def count(sent: int, *counted: float) -> scaling.Count:
    """Return a service's count, of as many workers."""
    return scaling.Count(
        side=scaling.TWO,
        role="api",
        sent=sent,
        counted={f"host:1:{worker}": value for worker, value in enumerate(counted)},
    )


def two_workers(times: float) -> list[Round]:
    """Return a round of both sides, two workers being so much faster."""
    return [
        a_round(side, method, rate=rate)
        for method in METHODS
        for side, rate in ((scaling.ONE, 100.0), (scaling.TWO, 100.0 * times))
    ]


def scaling_said(times: float, *counts: scaling.Count) -> list[str]:
    """Return the statements about such rounds and counts."""
    rss = {side: {"api": 90.0, "store": 100.0} for side in (scaling.ONE, scaling.TWO)}
    return scaling.statements(summarise(two_workers(times), rss), counts)


def test_counters_rise_from_what_they_were_and_a_new_worker_from_nothing() -> None:
    """A worker without a request has no series yet."""
    assert scaling.rise({"a": 10}, {"a": 15, "b": 3}) == {"a": 5, "b": 3}


def test_counters_add_up_exactly_or_not_at_all() -> None:
    """One request in a thousand too many, or too few, is named with its service."""
    assert scaling_said(1.5, count(1000, 400, 600))[-1] == "all counters add up exactly"
    for wrong in (count(1000, 400, 599), count(1000, 400, 601)):
        assert scaling_said(1.5, wrong)[-1] == "counters that do not add up: api of two-workers"


def test_two_workers_must_not_be_slower_than_one() -> None:
    """Each method says so for itself."""
    assert scaling_said(1.5)[0] == "GET: two workers serve 1.50x of what one serves, goal over 1x: met"
    assert scaling_said(0.9)[1] == "PUT: two workers serve 0.90x of what one serves, goal over 1x: not met"


# ---- memory


def growth(role: str, early: float, late: float) -> memory.Growth:
    """Return a worker's memory after the first requests and after all."""
    return memory.Growth(
        role=role,
        at_start_mib=50.0,
        rss_mib=dict(zip(memory.STAGES, (early, late), strict=True)),
        largest_mib=max(early, late),
    )


def test_growth_is_what_the_later_requests_added() -> None:
    """The start-up does not count: caches fill once."""
    assert growth("api", 90, 93.5).growth_mib == pytest.approx(3.5)


def test_the_worst_worker_decides_on_memory() -> None:
    """The largest may be another than the one that grows most."""
    assert memory.statements([growth("api", 80, 85.5), growth("store", 109, 109.5)]) == [
        "at most 109.5 MiB a worker (store), goal 110 MiB: met",
        "growth of at most 5.5 MiB (api), goal 5 MiB: not met",
    ]


# ---- upload


def write(side: str, seconds: float, *, number: int = 0, growth_mib: float | None = None) -> upload.Write:
    """Return a gibibyte written in so many seconds."""
    return upload.Write(
        number=number,
        side=side,
        seconds=seconds,
        growth_mib=growth_mib,
        cpu_seconds={},
        foreign_cpu=0.0,
        loop_ms=5.0,
    )


def test_uploads_are_compared_within_a_round() -> None:
    """The disk was ten times as slow in the second round, for both."""
    writes = [
        write(side, seconds * slow, number=number, growth_mib=3.0 if side == "robin" else None)
        for number, slow in enumerate((1, 10, 1))
        for side, seconds in (("robin", 4.0), ("nginx", 1.0), ("dd", 2.0))
    ]

    assert upload.speed(writes, "nginx") == pytest.approx(0.25)
    assert upload.statements(writes) == [
        "document_api's RSS grows by at most 3.0 MiB, goal 32 MiB: met",
        "0.25x the speed of nginx's write, which is not synced, goal 0.5x: not met",
        "0.50x the speed of dd's write, which is synced, goal 0.5x: met",
    ]
    assert writes[0].mib_per_second == pytest.approx(256)


def test_the_largest_growth_of_all_rounds_counts() -> None:
    """One upload that takes 40 MiB is one too many."""
    writes = [
        write("robin", 1.0, growth_mib=3.0),
        write("robin", 1.0, number=1, growth_mib=40.0),
        *(write(side, 1.0, number=number) for side in ("nginx", "dd") for number in (0, 1)),
    ]

    assert (
        upload.statements(writes)[0] == "document_api's RSS grows by at most 40.0 MiB, goal 32 MiB: not met"
    )


# ---- documents


def test_every_client_of_the_script_is_made_with_its_documents() -> None:
    """load.lua asks for document n of client-(n modulo clients): both sides of the comparison know that one."""
    assert documents.DOCUMENTS == {"few": 1_000, "many": 1_000_000}
    assert documents.CLIENTS == 1_000
    assert "'client-' || n %% %(clients)s" in documents.FILL[1]


def test_the_table_of_documents_has_the_medians_of_each_side() -> None:
    """One row for each number of documents."""
    rounds = [
        a_round(side, "GET", rate=100, p95_ms=p95, number=number)
        for number, speed in enumerate((1, 2, 3))
        for side, p95 in (("few", 10.0 * speed), ("many", 11.0 * speed))
    ]

    assert [row[:2] + row[3:4] for row in documents.table(rounds).rows] == [
        ("1,000", "100", "20.0"),
        ("1,000,000", "100", "22.0"),
    ]


# ---- freshness


def test_freshness_is_judged_by_the_p95_of_each_back_end() -> None:
    """One request in thirty may take longer; two may not."""
    quick = freshness.Seen({"Jaeger": 1.0, "Prometheus": 4.0})
    slow = freshness.Seen({"Jaeger": 1.0, "Prometheus": 6.0})

    assert freshness.statements([*[quick] * 29, slow]) == [
        "Jaeger: p95 1.00 s, goal 5 s: met",
        "Prometheus: p95 4.00 s, goal 5 s: met",
    ]
    assert freshness.statements([*[quick] * 28, slow, slow])[1] == "Prometheus: p95 6.00 s, goal 5 s: not met"


def test_more_requests_than_clients_with_a_counter_are_refused(tmp_path: Path) -> None:
    """The 51st would never be seen in Prometheus."""
    with pytest.raises(BenchmarkError, match="at most 50 rounds"):
        freshness.run(Options(rounds=51, seconds=0, home=tmp_path, environment={}))


# ---- start


def test_a_start_is_as_long_as_its_slowest_service_and_the_slowest_start_counts() -> None:
    """The median would hide that one start in five is late."""
    starts = [
        start.Start(
            number=number,
            side=start.FRESH,
            seconds={"store": store, "api": 1.0},
            foreign_cpu=0.0,
            loop_ms=5.0,
        )
        for number, store in enumerate((1.5, 2.1))
    ]

    assert [one.all_seconds for one in starts] == [1.5, 2.1]
    assert start.statements(starts) == ["fresh database: ready after 2.10 s at most, goal 2 s: not met"]


# ---- isolation


def turn(way: isolation.Way, rate: float, *, number: int = 0) -> isolation.Turn:
    """Return a turn in which so many statements ran a second."""
    return isolation.Turn(
        number=number,
        method=way.method,
        way=way.name,
        rate=rate,
        p50_ms=1000 / rate,
        p95_ms=2000 / rate,
        postgres_us=100.0,
        foreign_cpu=0.0,
        loop_ms=5.0,
    )


def test_each_way_is_compared_with_the_one_without_policies_in_the_same_round() -> None:
    """The machine was ten times as slow in the second round, for all; audited reads took twice as long."""
    turns = [
        turn(way, (50.0 if way.name == "policies, audited" else 100.0) / slow, number=number)
        for number, slow in enumerate((1, 10, 1))
        for way in isolation.WAYS
    ]

    said = isolation.statements(turns)
    assert said[:2] == [
        "read: policies takes 1.00x the time of no policies",
        "read: policies, audited takes 2.00x the time of no policies",
    ]
    assert len(said) == len(isolation.WAYS) - 3
    assert isolation.table(turns).rows[2] == (
        "read, policies, audited",
        "50",
        "2.00x",
        "20.00",
        "40.00",
        "100",
    )


def test_each_method_has_one_way_that_the_others_are_compared_with() -> None:
    """It comes first in the table."""
    for method in {way.method for way in isolation.WAYS}:
        ways = [way for way in isolation.WAYS if way.method == method]
        assert [way.base for way in ways] == [True, *[False] * (len(ways) - 1)]


# ---- latency


def test_each_side_is_sent_shares_of_what_it_can_do_and_all_half_of_the_slowest() -> None:
    """At its own share each is equally busy; at the common rate the same is asked of all."""
    rates = latency.planned({("GET", "robin"): 1000.0, ("GET", "stock"): 200.0, ("PUT", "stock"): 1.0})

    assert rates["GET 25%", "robin"] == 250
    assert rates["GET 75%", "stock"] == 150
    assert rates["GET common", "robin"] == rates["GET common", "stock"] == 100
    assert rates["PUT common", "stock"] == 1  # none at all would be vegeta's word for as many as it can


def test_latencies_are_the_medians_of_one_load_of_one_side() -> None:
    """Neither another rate nor another side gets into them."""
    rounds = [
        *(a_round("robin", "GET 25%", rate=250, p95_ms=p95, number=i) for i, p95 in enumerate((3, 90, 4))),
        a_round("robin", "GET 50%", rate=500, p95_ms=500),
        a_round("stock", "GET 25%", rate=50, p95_ms=500),
    ]

    assert latency.latencies(rounds, "GET 25%", "robin")["p95"] == 4


# ---- fairness


def quiet(p95_ms: float, failed: int = 0) -> fairness.Seen:
    """Return what the quiet client saw."""
    load = replace(a_round("quiet", "GET", rate=20, p95_ms=p95_ms).load, failed=failed)
    return fairness.Seen(load, {"200": 200 - failed})


def fairness_turns(flooded: Sequence[float], failed: int = 0) -> list[fairness.Turn]:
    """Return rounds of all floods, 10 ms being the p95 alone, with this one beside each."""
    turn = partial(
        fairness.Turn,
        cores={"nginx": 0.1, "document_api-1": 0.2, "document_api-2": 0.3, "jaeger": 0.25, "loki": 0.25},
        client_cores=0.1,
        foreign_cpu=0.0,
        loop_ms=5.0,
    )
    seen = fairness.Seen(
        a_round("flood", "GET", rate=500).load,
        {"200": 1000, "401": 10, "429": 3000, "502": 20, "503": 30, "0": 40},
    )
    return [
        turn(number=number, flood=flood.name, alone=alone, quiet=by_method, flooding=None if alone else seen)
        for number, p95 in enumerate(flooded)
        for flood in fairness.FLOODS
        for alone, by_method in (
            (True, dict.fromkeys(METHODS, quiet(10.0))),
            (False, {"GET": quiet(p95, failed), "PUT": quiet(10.0)}),
        )
    ]


def test_a_flood_is_judged_by_the_worse_of_the_quiet_clients_methods() -> None:
    """By the median of the rounds, each beside what the client was just before; the control is not judged."""
    flood = fairness.FLOODS[0].name
    turns = fairness_turns([15, 900, 19])
    assert fairness.times(turns, flood, "GET") == pytest.approx(1.9)
    assert fairness.times(turns, flood, "PUT") == 1
    said = fairness.statements(turns)
    assert [line.endswith("goal 2x: met") for line in said] == [True] * 6 + [False] * 3
    assert all("not met" in line for line in fairness.statements(fairness_turns([15, 21, 22]))[:6])


def test_what_the_quiet_client_was_refused_is_told() -> None:
    """A fast refusal is no good answer, so nothing is met with one."""
    said = fairness.statements(fairness_turns([15], failed=3))
    assert said[-1] == f"{3 * len(fairness.FLOODS)} requests of the quiet client failed"
    assert all("not met" in line for line in said[:6])


def test_a_floods_answers_are_counted_by_kind_and_second() -> None:
    """A round takes 10 s; whatever the system failed at is 5xx."""
    flooded = fairness_turns([15])[1]
    counted = {kind: fairness.a_second(flooded, kind) for kind in fairness.STATUSES}
    assert counted == {"2xx": 100, "401": 1, "429": 300, "5xx": 5, "none": 4}


def test_instances_are_one_part_and_the_back_ends_are_the_others() -> None:
    """In cores."""
    turn = fairness_turns([15])[0]
    busy = {part: fairness.cores(turn, part) for part in fairness.PARTS}
    assert busy == pytest.approx(
        {"nginx": 0.1, "document_api": 0.5, "data_store": 0, "postgres": 0, "otelcol": 0, "others": 0.5}
    )


def test_vegeta_is_told_of_a_get_and_of_an_upload() -> None:
    """The body comes from the file that wrk's script reads."""
    assert vegeta.target(*REQUESTS.command("GET")) == f"GET {REQUESTS.document}\n"
    assert (
        vegeta.target(*REQUESTS.command("GET"), ["X-API-Key: k"])
        == f"GET {REQUESTS.document}\nX-API-Key: k\n"
    )
    assert vegeta.target(*REQUESTS.command("PUT")) == (
        f"PUT {REQUESTS.url}/clients/benchmark/upload-document\n"
        "Content-Type: multipart/form-data; boundary=benchmark-boundary\n"
        f"@{REQUESTS.body}\n"
    )


def test_vegetas_report_is_read_in_milliseconds_with_every_failure() -> None:
    """It counts in nanoseconds, and failures as a share."""
    report = {
        "latencies": {"50th": 2_000_000, "95th": 9_500_000, "99th": 30_000_000},
        "duration": 9_900_000_000,
        "wait": 100_000_000,
        "requests": 500,
        "success": 0.99,
    }

    found = vegeta.read(json.dumps(report), cpu_seconds=0.5)

    assert (found.requests, found.failed, found.rate) == (500, 5, 50)
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (2, 9.5, 30)


def test_vegeta_is_pinned_and_its_binary_named_without_its_major_version() -> None:
    """Go leaves the /v12 of the module out of the program's name."""
    assert vegeta.PROGRAM.binaries == ("vegeta",)
    assert {file.name for file in vegeta.PROGRAM.module.iterdir()} == {"go.mod", "go.sum"}


# ---- choices


def test_a_choice_is_worth_what_it_saves_of_an_upload() -> None:
    """More uploads a second, and less CPU for each."""
    rounds = [
        a_round(choices.DEFAULTS, "PUT", rate=100, us=200),
        a_round("neither", "PUT", rate=150, us=150),
    ]
    rss = {key: {"api": 90.0, "store": 100.0} for key in (choices.DEFAULTS, "neither")}

    assert choices.statements(summarise(rounds, rss)) == [
        "neither: 1.50x the uploads a second, 250 us of CPU less for each"
    ]


def test_the_choices_are_settings_of_document_api() -> None:
    """A variable that nobody reads would make two sides alike."""
    chosen = {name.lower() for side in choices.SIDES for name in side.environment}

    assert chosen <= set(DocumentApiSettings.model_fields)
    assert choices.SIDES[0].environment == {}


# ---- footprint


def store_growth(method: str, requests: int, **grown: int) -> footprint.Growth:
    """Return how much the stores grew in 100 seconds."""
    return footprint.Growth(
        method=method, requests=requests, seconds=100.0, bytes=dict.fromkeys(footprint.STORES, 0) | grown
    )


IDLE = store_growth("nothing", 0, prometheus=5_000)


def test_what_is_written_without_a_request_is_no_requests() -> None:
    """The metrics of the processes are written all the time."""
    loaded = store_growth("GET", 1000, prometheus=6_000, jaeger=400_000)

    assert footprint.per_request(loaded, IDLE, "prometheus") == pytest.approx(1)
    assert footprint.per_request(loaded, IDLE, "jaeger") == pytest.approx(400)


def test_a_day_has_the_requests_and_what_is_written_anyway() -> None:
    """100 requests a second of 1 byte, and 50 bytes a second."""
    loaded = store_growth("GET", 1000, prometheus=6_000)

    assert footprint.per_day(loaded, IDLE, "prometheus") == pytest.approx((100 + 50) * 86_400)


def test_a_sparse_file_counts_for_what_it_takes(tmp_path: Path) -> None:
    """Jaeger's store makes its files as large as they may become."""
    (tmp_path / "jaeger").mkdir()
    with (tmp_path / "jaeger" / "000001.vlog").open("wb") as file:
        file.truncate(2**30)
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "document").write_bytes(b"x" * 100_000)

    found = footprint.sizes(tmp_path)

    assert found["jaeger"] < 10_000
    assert 100_000 <= found["uploads"] < 200_000

"""The arithmetic of the benchmarks: what is made of the rounds, and when they are not believed."""

import importlib.util
import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.figures import noise, ratio, spread
from benchmarks.goals import GOALS, parser
from benchmarks.load import BOUNDARY, CONTENT_BYTES, METHODS, content, multipart
from benchmarks.report import Bars, Lines, Report, Stacks, Table
from benchmarks.rounds import accepted, reasons_to_doubt, times
from benchmarks.sides import SIDES
from benchmarks.summary import SERVING, Summary, summarise
from benchmarks.throughput import statements, tables
from tests.rounds import a_round

CONTRIBUTING = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
RSS = {side.name: {"api": 90.0, "store": 100.0} for side in SIDES}


def summaries(**rates: float) -> list[Summary]:
    """Return what one round each comes to, with these rates of GET and PUT alike."""
    return summarise(
        [
            a_round(side.name, method, rate=rates[side.name.replace("-", "_")])
            for side in SIDES
            for method in METHODS
        ],
        RSS,
    )


def test_the_spread_is_the_distance_of_the_extremes_over_the_median() -> None:
    """One slow round among three is seen, however good the median is."""
    assert spread([90, 100, 130]) == pytest.approx(0.4)


def test_the_spread_of_nothing_is_nothing() -> None:
    """A side that did nothing at all divides by nothing."""
    assert spread([0, 0]) == 0


def test_a_ratio_to_nothing_is_none() -> None:
    """It is not infinite: it was not measured."""
    assert ratio(3, 0) is None
    assert ratio(3, 2) == pytest.approx(1.5)


def test_close_rounds_on_a_quiet_machine_are_believed() -> None:
    """Neither bound is crossed."""
    assert noise({"robin": [100, 105, 110]}, [0.02, 0.10], [5.0, 5.5]) == []


def test_rounds_too_far_apart_are_named_with_their_side() -> None:
    """The other side's were close."""
    reasons = noise({"robin": [100, 130], "stock": [50, 51]}, [0.0], [5.0])

    assert reasons == ["robin: its rounds are 26% apart (bound: 15%)"]


def test_a_machine_that_others_use_is_noisy_though_the_rounds_agree() -> None:
    """A steady neighbour slows all rounds alike."""
    assert noise({"robin": [100, 101]}, [0.01, 0.3], [5.0]) == [
        "others used 30% of the machine in a round (bound: 10%)"
    ]


def test_a_machine_that_changes_its_speed_is_noisy_though_nobody_uses_it() -> None:
    """The hypervisor gives and takes without a trace in the guest's own figures."""
    assert noise({"robin": [100, 101]}, [0.0, 0.0], [5.0, 6.0]) == [
        "the machine's own speed changed by 18% (bound: 10%)"
    ]


def test_a_single_round_is_never_believed() -> None:
    """Its spread is zero for want of a second one."""
    assert noise({"robin": [100]}, [0.0], [5.0]) == ["one round says nothing of the spread"]


def test_a_summary_is_the_median_of_its_own_rounds() -> None:
    """Neither another side's rounds nor another method's get into it."""
    robin = ((100, 9), (300, 8), (110, 1))
    rounds = [
        *(a_round("robin", "GET", rate=rate, us=us, number=i) for i, (rate, us) in enumerate(robin)),
        *(a_round("stock", "GET", rate=7, number=i) for i in range(3)),
        *(a_round(side, "PUT", rate=5) for side in ("robin", "stock")),
    ]

    first = summarise(rounds, RSS)[0]

    assert (first.side, first.method, first.rate, first.cpu_us["api"]) == ("robin", "GET", 110, 8)
    assert first.spread == pytest.approx(200 / 110)
    assert first.sum_us == 8 * len(SERVING)


def test_rates_are_compared_within_a_round() -> None:
    """The machine was twice as fast in the second round, for both: its median is not held against either."""
    rounds = [
        a_round(side, "GET", rate=rate * speed, number=number)
        for number, speed in enumerate((1, 2, 10))
        for side, rate in (("robin", 300), ("stock", 100))
    ]
    rounds[1] = replace(
        rounds[1], load=replace(rounds[1].load, requests=999_999)
    )  # one stray round of stock's

    assert times("robin", "stock", rounds) == pytest.approx(3)


def test_a_rate_over_nothing_is_unknown() -> None:
    """A side without a single answer is no base."""
    assert times("robin", "stock", [a_round("robin", "GET", rate=3), a_round("stock", "GET", rate=0)]) is None


def test_each_method_has_a_table_with_a_row_for_each_side() -> None:
    """Every row has a cell for each column."""
    made = tables(summaries(robin=500, robin_off=600, stock=100, stock_off=200, limit=1000))

    assert [[row[0] for row in table.rows] for table in made] == [[side.name for side in SIDES]] * 2
    assert {len(row) for table in made for row in table.rows} == {len(made[0].head)}
    assert made[0].rows[0][1:5] == ("500", "0%", "5.00x", "0.50x")


def test_a_goal_is_met_from_its_bound_on() -> None:
    """Five times the stock pair exactly is five times; half of the limit is not 55 %."""
    said = statements(summaries(robin=500, robin_off=600, stock=100, stock_off=200, limit=1000))

    assert "GET: 5.00x the stock pair, goal 5.00x: met" in said
    assert "PUT: 0.50x the limit pair, goal 0.55x: not met" in said


def test_telemetry_costs_what_services_and_collector_use_more_with_it() -> None:
    """Both services and the collector are counted, and the throughput that goes."""
    made = summaries(robin=400, robin_off=500, stock=100, stock_off=200, limit=1000)
    with_it = replace(made[0], cpu_us={**made[0].cpu_us, "api": 300.0, "store": 200.0, "collector": 110.0})

    said = statements([with_it, *made[1:]])

    assert "GET: telemetry costs robin 310 us of CPU a request and 20% of its throughput" in said


def test_what_the_collector_took_by_otlp_is_read_from_its_metrics() -> None:
    """What it read from files, and what it refused, is not counted."""
    text = """\
# TYPE otelcol_receiver_accepted_spans counter
otelcol_receiver_accepted_spans_total{receiver="otlp",transport="grpc"} 70
otelcol_receiver_accepted_log_records_total{receiver="otlp",transport="grpc"} 1.5e+06
otelcol_receiver_accepted_log_records_total{receiver="file_log/nginx",transport=""} 9
otelcol_receiver_refused_spans_total{receiver="otlp",transport="grpc"} 5
"""

    assert accepted(text) == {"spans": 70, "log_records": 1.5e6, "metric_points": 0}


def test_what_nobody_waited_for_was_served_too() -> None:
    """With wrk each connection has a request under way when the time is over: it costs CPU, and is no answer."""
    load = replace(a_round("robin", "GET", rate=10).load, abandoned=32)

    assert (load.rate, load.served) == (10, 132)


def test_the_document_is_a_kibibyte_in_one_part() -> None:
    """The sides are compared at the size that the goal names."""
    assert len(content()) == CONTENT_BYTES == 1024
    body = multipart(content())
    assert body.startswith(f"--{BOUNDARY}\r\n".encode())
    assert body.endswith(content() + f"\r\n--{BOUNDARY}--\r\n".encode())


@pytest.mark.parametrize("module", sorted({name for side in SIDES for name in (side.api, side.store)}))
def test_every_side_names_modules_that_are_there(module: str) -> None:
    """Found, not imported: the peers need packages of their own."""
    assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("goal", GOALS)
def test_every_goal_is_a_command_that_explains_itself(goal: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its help is what its module says of itself; CONTRIBUTING.md names it with all the others."""
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args([goal, "--help"])

    assert (GOALS[goal].module.__doc__ or "?").splitlines()[0] in capsys.readouterr().out
    assert f"| `{goal}` |" in CONTRIBUTING


def test_the_list_of_goals_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its first line, whatever characters are in it."""
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args(["--help"])

    shown = capsys.readouterr().out
    assert all(f"    {goal} " in shown for goal in GOALS)


@pytest.mark.parametrize(("goal", "seconds"), [("throughput", 10), ("upload", 0)])
def test_only_a_goal_whose_rounds_have_a_length_is_asked_for_it(goal: str, seconds: int) -> None:
    """An upload takes as long as it takes."""
    assert parser().parse_args([goal]).seconds == seconds
    arguments = [goal, "--rounds", "2", "--seconds", "3"]
    if seconds:
        assert parser().parse_args(arguments).seconds == 3
    else:
        with pytest.raises(SystemExit, match="2"):
            parser().parse_args(arguments)


def test_a_report_says_that_the_machine_was_too_noisy(tmp_path: Path) -> None:
    """On the terminal with the reason, and in the file, which also holds every figure."""
    report = Report(
        goal="throughput",
        noise=["others used 30% of the machine"],
        tables=[Table("GET", ("side", "req/s"), [("robin", "500")])],
        statements=["GET: 5.00x"],
        charts=[],
        data={"rounds": [a_round("robin", "GET", rate=500)]},
    )
    console = Console(record=True, width=100, file=StringIO())

    report.show(console)
    report.write(tmp_path / "report.json", {"commit": "abc"})

    assert "TOO NOISY" in console.export_text()
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["noise"] == ["others used 30% of the machine"]
    assert written["commit"] == "abc"
    assert written["rounds"][0]["load"]["requests"] == 5000


@pytest.mark.parametrize(("noise", "said"), [([], "The machine was quiet enough."), (None, "")])
def test_a_machine_is_called_quiet_only_where_that_was_looked_at(noise: list[str] | None, said: str) -> None:
    """Memory is the same on a busy machine."""
    report = Report(goal="memory", noise=noise, tables=[], statements=[], charts=[], data={})
    console = Console(record=True, file=StringIO())

    report.show(console)

    assert console.export_text().strip() == said


def test_latencies_at_a_fixed_rate_are_doubted_by_themselves() -> None:
    """The rate is the same in each round, whatever the machine does."""
    rounds = [a_round("robin", "GET 25%", rate=100, p95_ms=p95) for p95 in (2.0, 4.0)]

    assert reasons_to_doubt(rounds) == []
    assert reasons_to_doubt(rounds, lambda load: load.p95_ms) == [
        "GET 25% of robin: its rounds are 67% apart (bound: 15%)"
    ]


@pytest.mark.parametrize("standing", [True, False])
def test_every_kind_of_chart_is_drawn(tmp_path: Path, standing: bool) -> None:  # noqa: FBT001
    """All in one picture, few bars standing and many lying; whoever lacks what draws has not measured either."""
    pytest.importorskip("matplotlib")
    from benchmarks.pictures import draw  # noqa: PLC0415

    bars = {f"side {number}": {"api": 1.0, "store": 2.0} for number in range(3 if standing else 12)}
    charts = [
        Bars(title="rates", unit="requests/s", values={"robin": [1.0, 3.0], "stock": [2.0]}, bound=2.5),
        Stacks(title="costs", unit="us", parts=bars),
        Lines(title="memory", unit="MiB", axis="seconds", points={"api": [(0.0, 80.0), (1.0, 81.0)]}),
    ]

    draw("a goal", charts, tmp_path / "picture.png")

    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")

"""Goal: while one client floods the system, another's p95 stays within twice of what it is alone.

The whole local stack runs with AUTH_MODE=required and its default limits. A quiet client reads 10 and uploads 5
documents a second, open-loop: alone, and while another floods, in turn. A flood is open-loop with 1000 requests a second
or closed-loop with 64 connections, has four keys, and comes from another address: reads, uploads, reads with keys that
nobody has, and, for what the flood's generator takes from the machine by itself, the load balancer's own health. The
generator runs at the lowest priority: elsewhere it would be on another machine.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from benchmarks import vegeta
from benchmarks.figures import at_most, noise, ratio
from benchmarks.load import METHODS, Load, Requests, children_cpu, prepare
from benchmarks.options import Options
from benchmarks.report import Bars, Chart, Report, Table
from benchmarks.rounds import Others, cpu_of, loop_ms
from benchmarks.stack import RunningStack, running_stack
from benchmarks.vegeta import Attack, Vegeta

QUIET, FLOODING = "quiet", "flooding"
QUIET_RATES = {"GET": 10, "PUT": 5}  # requests a second
FLOOD_RATE = 1000
FLOODING_KEYS = 4
CONNECTIONS = 64
FLOOD_ADDRESS = "127.0.0.2"
LOWEST_PRIORITY = 19
# So many that none is asked about again while its answer is believed.
UNKNOWN_KEYS = 10_000
# The flood has filled what it can fill before the quiet client begins.
LEAD_SECONDS = 2
# After a flood its telemetry is still under way.
SETTLE_SECONDS = 4
GOAL_TIMES = 2.0
UNKNOWN, CONTROL = "unknown keys", "nginx's health"
KINDS = ("reads", "uploads", UNKNOWN, CONTROL)
STATUSES = ("2xx", "401", "429", "5xx", "none")
PARTS = ("nginx", "document_api", "data_store", "postgres", "otelcol", "others")


@dataclass(frozen=True)
class Flood:
    """What floods, and how: at a rate, or each connection as fast as it is answered."""

    kind: str
    rate: int | None

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"{self.kind}, {f'{self.rate}/s' if self.rate else f'{CONNECTIONS} connections'}"


FLOODS = tuple(Flood(kind, rate) for kind in KINDS for rate in (FLOOD_RATE, None))


@dataclass(frozen=True)
class Seen:
    """What a client saw."""

    load: Load
    statuses: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The quiet client for a while, alone or beside a flood."""

    number: int
    flood: str  # which one is beside it now, or was to come next
    alone: bool
    quiet: Mapping[str, Seen]  # by method
    flooding: Seen | None
    cores: Mapping[str, float]  # by part of the system
    client_cores: float  # of the generators
    foreign_cpu: float
    loop_ms: float


def run(options: Options) -> Report:
    """Measure the quiet client alone and beside each flood, in turn, round after round."""
    client = vegeta.built(options)
    options.progress.step("starting the local stack with AUTH_MODE=required and default limits")
    with running_stack(options, AUTH_MODE="required") as stack:
        keys = {QUIET: _keys(stack, QUIET, 1), FLOODING: _keys(stack, FLOODING, FLOODING_KEYS)}
        bench = _Bench(
            stack, client, {name: _prepare(stack, name, own[0]) for name, own in keys.items()}, keys
        )
        options.progress.step("warming up")
        bench.turn(-1, FLOODS[0], options.seconds, alone=True)
        turns = []
        for number in range(options.rounds):
            for flood in FLOODS:
                turns += [bench.turn(number, flood, options.seconds, alone=alone) for alone in (True, False)]
                options.progress.step(f"round {number + 1}: {flood.name}: {told(turns[-2:])}")
    return Report(
        goal="fairness",
        noise=noise(
            _alone_rates(turns), [turn.foreign_cpu for turn in turns], [turn.loop_ms for turn in turns]
        ),
        tables=[latency_table(turns), flood_table(turns)],
        statements=statements(turns),
        charts=charts(turns),
        data={"turns": turns},
    )


class _Bench:
    """The system, and what is sent to it."""

    def __init__(
        self,
        stack: RunningStack,
        client: Vegeta,
        requests: Mapping[str, Requests],
        keys: Mapping[str, Sequence[str]],
    ) -> None:
        self._stack = stack
        self._client = client
        self._requests = requests
        self._keys = keys
        self._unknown = [f"robin_{secrets.token_hex(6)}_{secrets.token_hex(32)}" for _ in range(UNKNOWN_KEYS)]

    def turn(self, number: int, flood: Flood, seconds: int, *, alone: bool) -> Turn:
        """Let the quiet client work for so many seconds, and the other flood meanwhile unless it is to be alone."""
        loop = loop_ms()
        watched = self._stack.processes()
        others, cpu_before, client_before = Others(list(watched.values())), cpu_of(watched), children_cpu()
        began = time.monotonic()
        with ThreadPoolExecutor() as threads:
            flooding = None if alone else threads.submit(self._flood, flood, LEAD_SECONDS + seconds)
            time.sleep(LEAD_SECONDS)
            working = {method: threads.submit(self._work, method, seconds) for method in METHODS}
            quiet = {method: work.result() for method, work in working.items()}
            flooded = flooding.result() if flooding else None
        client_cpu, took = children_cpu() - client_before, time.monotonic() - began
        foreign = others.share(client_cpu)
        time.sleep(SETTLE_SECONDS)
        return Turn(
            number=number,
            flood=flood.name,
            alone=alone,
            quiet=quiet,
            flooding=flooded,
            cores={name: (after - cpu_before[name]) / took for name, after in cpu_of(watched).items()},
            client_cores=client_cpu / took,
            foreign_cpu=foreign,
            loop_ms=loop,
        )

    def _work(self, method: str, seconds: int) -> Seen:
        return self._send(
            Attack(
                targets=targets(self._requests[QUIET], method, self._keys[QUIET]),
                results=self._stack.state / f"{method}.bin",
                seconds=seconds,
                rate=QUIET_RATES[method],
            )
        )

    def _flood(self, flood: Flood, seconds: int) -> Seen:
        return self._send(
            Attack(
                targets=self._flood_targets(flood),
                results=self._stack.state / "flood.bin",
                seconds=seconds,
                rate=flood.rate,
                workers=CONNECTIONS,
                address=FLOOD_ADDRESS,
                niceness=LOWEST_PRIORITY,
            )
        )

    def _flood_targets(self, flood: Flood) -> str:
        own = self._requests[FLOODING]
        if flood.kind == CONTROL:
            return vegeta.target(f"{self._stack.url}/nginx-health", ["GET"])
        keys = self._unknown if flood.kind == UNKNOWN else self._keys[FLOODING]
        return targets(own, "PUT" if flood.kind == "uploads" else "GET", keys)

    def _send(self, attack: Attack) -> Seen:
        report = self._client.send(attack)
        return Seen(vegeta.read(report, 0.0), vegeta.statuses(report))


def targets(requests: Requests, method: str, keys: Sequence[str]) -> str:
    """Return vegeta's description of a request with each key in turn."""
    url, arguments = requests.command(method)
    return "\n".join(vegeta.target(url, arguments, [f"X-API-Key: {key}"]) for key in keys)


def _keys(stack: RunningStack, client: str, count: int) -> list[str]:
    """Make a client with a user, and return so many keys of that user."""
    mail = f"{client}@example.org"
    stack.administer("create-client", client)
    stack.administer("create-user", client, "--email", mail, "--name", client, "--role", "writer")
    return [stack.administer("issue-key", mail, "--quiet").strip() for _ in range(count)]


def _prepare(stack: RunningStack, client: str, key: str) -> Requests:
    folder = stack.state / client
    folder.mkdir()
    return prepare(stack.url, folder, client=client, headers={"X-API-Key": key})


def _alone_rates(turns: Sequence[Turn]) -> dict[str, list[float]]:
    """Return the p95 of the quiet client alone, which tells how steady the machine is."""
    return {
        f"p95 of a {method} alone": [turn.quiet[method].load.p95_ms for turn in turns if turn.alone]
        for method in METHODS
    }


def of(turns: Sequence[Turn], flood: str, *, alone: bool) -> list[Turn]:
    """Return the turns beside a flood, or those just before it."""
    return [turn for turn in turns if turn.flood == flood and turn.alone is alone]


def times(turns: Sequence[Turn], flood: str, method: str) -> float | None:
    """Return how many times its p95 alone the quiet client's is beside a flood: the median of the rounds."""
    pairs = zip(of(turns, flood, alone=True), of(turns, flood, alone=False), strict=True)
    found = [
        ratio(after.quiet[method].load.p95_ms, before.quiet[method].load.p95_ms) for before, after in pairs
    ]
    known = [each for each in found if each is not None]
    return median(known) if known else None


def refused(turns: Sequence[Turn]) -> int:
    """Return how many of the quiet client's requests were not answered with success."""
    return sum(seen.load.failed for turn in turns for seen in turn.quiet.values())


def told(turns: Sequence[Turn]) -> str:
    """Say in a line what became of the quiet client."""
    flood = turns[0].flood
    ratios = ", ".join(f"{method} {times(turns, flood, method) or 0:.2f}x" for method in METHODS)
    return f"p95 {ratios}, {refused(turns)} failed"


def _middle(turns: Sequence[Turn], figure: Callable[[Turn], float]) -> float:
    return median(figure(turn) for turn in turns)


def latency_table(turns: Sequence[Turn]) -> Table:
    """Return a row for each flood and method of the quiet client."""
    rows = []
    for flood in FLOODS:
        for method in METHODS:
            row = [f"{method} beside {flood.name}"]
            for alone in (True, False):
                loads = [turn.quiet[method].load for turn in of(turns, flood.name, alone=alone)]
                row += [f"{median(getattr(each, f'p{p}_ms') for each in loads):.1f}" for p in (50, 95, 99)]
            failed = sum(turn.quiet[method].load.failed for turn in of(turns, flood.name, alone=False))
            rows.append((*row, f"{times(turns, flood.name, method) or 0:.2f}x", str(failed)))
    return Table(
        title="The quiet client, ms: alone, and beside a flood",
        head=("quiet client", "p50", "p95", "p99", "p50", "p95", "p99", "p95, times", "failed"),
        rows=rows,
    )


def flood_table(turns: Sequence[Turn]) -> Table:
    """Return what each flood was answered a second, and what it took of the machine's cores."""
    rows = []
    for flood in FLOODS:
        own = of(turns, flood.name, alone=False)
        rows.append(
            (
                flood.name,
                *(f"{_middle(own, lambda turn: a_second(turn, kind)):.0f}" for kind in STATUSES),  # noqa: B023
                f"{_middle(own, lambda turn: turn.client_cores):.2f}",
                *(f"{_middle(own, lambda turn: cores(turn, part)):.2f}" for part in PARTS),  # noqa: B023
            )
        )
    return Table(
        title="What a flood got, answers a second, and the cores that were busy meanwhile",
        head=("flood", *STATUSES, "generators", *PARTS),
        rows=rows,
    )


def a_second(turn: Turn, kind: str) -> float:
    """Return how many answers of a kind a flood got a second."""
    assert turn.flooding is not None  # noqa: S101  it is of a turn beside one
    counted = sum(count for status, count in turn.flooding.statuses.items() if _is(status, kind))
    return counted / turn.flooding.load.seconds


def _is(status: str, kind: str) -> bool:
    if kind == "none":
        return status == "0"
    return status == kind or (kind.endswith("xx") and status[0] == kind[0])


def cores(turn: Turn, part: str) -> float:
    """Return how many cores a part of the system kept busy, all its instances together."""
    named = PARTS[:-1]

    def is_of(name: str) -> bool:
        return name.startswith(part) if part in named else not name.startswith(named)

    return sum(busy for name, busy in turn.cores.items() if is_of(name))


def statements(turns: Sequence[Turn]) -> list[str]:
    """Say of each flood whether the quiet client's p95 stayed where the goal wants it."""
    lines = []
    for flood in FLOODS:
        found = {method: times(turns, flood.name, method) for method in METHODS}
        said = ", ".join(f"{method} {value or 0:.2f}x" for method, value in found.items())
        worst = max((value for value in found.values() if value is not None), default=None)
        failed = refused(of(turns, flood.name, alone=False))
        verdict = (
            "the generator's own share"
            if flood.kind == CONTROL
            else f"goal {GOAL_TIMES:.0f}x: {at_most(None if failed else worst, GOAL_TIMES)}"
        )
        lines.append(f"{flood.name}: the other client's p95 is {said}; {verdict}")
    lines.append(f"{refused(turns)} requests of the quiet client failed")
    return lines


def charts(turns: Sequence[Turn]) -> list[Chart]:
    """Return the p95 of each method alone and beside each flood."""
    return [
        Bars(
            title=f"{method} of the quiet client: p95, times that alone",
            unit="times",
            values={
                flood.name: [
                    (ratio(after.quiet[method].load.p95_ms, before.quiet[method].load.p95_ms) or 0.0)
                    for before, after in zip(
                        of(turns, flood.name, alone=True), of(turns, flood.name, alone=False), strict=True
                    )
                ]
                for flood in FLOODS
            },
            bound=GOAL_TIMES,
        )
        for method in METHODS
    ]

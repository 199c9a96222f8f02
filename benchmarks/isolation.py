"""What keeping tenants apart costs: row-level security, the counters of a client, and the audit log.

One process runs the data store's own statements, on connections as the data store's. For the tables' owner no policy
holds and no tenant is set; the service's role is held to its tenant, which goes along with each statement. Then eight at
once store documents of one client, whose row each of them locks until its commit, and of eight.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import psutil
from opentelemetry import trace
from opentelemetry.metrics import NoOpMeter
from pydantic import SecretStr
from sqlalchemy import text

from benchmarks.documents import CLIENTS, fill
from benchmarks.errors import BenchmarkError
from benchmarks.figures import noise, percentile, ratio
from benchmarks.options import Options
from benchmarks.processes import usage
from benchmarks.report import Bars, Chart, Report, Table
from benchmarks.rounds import Others, loop_ms
from benchmarks.sides import ROBIN
from benchmarks.system import running_system
from data_store.database import make_engine
from data_store.migrations import Place, migrate
from data_store.records.repository import AUDITED_SELECT, INSERT, SELECT
from data_store.settings import DataStoreSettings
from local_stack.postgres import SERVICE_ROLE
from observability.database import DatabaseTelemetry, Statement
from observability.fields import INT64_MAX
from observability.instruments import Instruments
from observability.telemetry import Telemetry

DATABASE = "robin_isolation"
DOCUMENTS = 10_000
AT_ONCE = 8
READ, WRITE, WRITE_AT_ONCE = "read", "write", f"{AT_ONCE} writes at once"
# As it was before tenants were kept apart: a client appears, and nothing is counted or written down.
PLAIN_INSERT = Statement.of(
    text(
        "WITH client AS (INSERT INTO clients (id) VALUES (:of_client) ON CONFLICT DO NOTHING)"
        " INSERT INTO document_metadata (client_id, filename, file_size, file_type, sha256, storage_key, summary, summary_source)"
        " VALUES (:of_client, :new_filename, :new_file_size, :new_file_type, :new_sha256, :new_storage_key, :new_summary,"
        " :new_summary_source) RETURNING *"
    )
)
VALUES = {
    "new_filename": "document.txt",
    "new_file_size": 1024,
    "new_file_type": "text/plain",
    "new_sha256": "0" * 64,
    "new_storage_key": "benchmark/document",
    "new_summary": "The quick brown fox jumps over the lazy dog of the benchmark. " * 6,
    "new_summary_source": "extractive",
    "new_summary_reason": None,
    "most_documents": INT64_MAX,
    "most_bytes": INT64_MAX,
    "by_actor": "user:12/key:1a2b3c4d5e6f",
    "action": "document.create",
    "in_request": "3f2b8a4e-6f0e-4c1d-9a59-0b6a3d5c7e21",
}


@dataclass(frozen=True, kw_only=True)
class Way:
    """How something is done: by which role, with which statement, for how many clients."""

    method: str
    name: str
    statement: Statement
    apart: bool  # as the service's role, with the tenant set
    clients: int = CLIENTS
    at_once: int = 1
    base: bool = False  # what the others of its method are compared with


WAYS = (
    Way(method=READ, name="no policies", statement=SELECT, apart=False, base=True),
    Way(method=READ, name="policies", statement=SELECT, apart=True),
    Way(method=READ, name="policies, audited", statement=AUDITED_SELECT, apart=True),
    Way(method=WRITE, name="no policies, plain", statement=PLAIN_INSERT, apart=False, base=True),
    Way(method=WRITE, name="no policies", statement=INSERT, apart=False),
    Way(method=WRITE, name="policies", statement=INSERT, apart=True),
    Way(
        method=WRITE_AT_ONCE,
        name="plain, one client",
        statement=PLAIN_INSERT,
        apart=False,
        clients=1,
        at_once=AT_ONCE,
        base=True,
    ),
    Way(method=WRITE_AT_ONCE, name="one client", statement=INSERT, apart=True, clients=1, at_once=AT_ONCE),
    Way(
        method=WRITE_AT_ONCE,
        name=f"{AT_ONCE} clients",
        statement=INSERT,
        apart=True,
        clients=AT_ONCE,
        at_once=AT_ONCE,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One way in one round."""

    number: int
    method: str
    way: str
    rate: float  # a second
    p50_ms: float
    p95_ms: float
    postgres_us: float  # CPU microseconds of PostgreSQL for each
    foreign_cpu: float
    loop_ms: float


def run(options: Options) -> Report:
    """Go all ways in turn, round after round."""
    with (
        running_system((), options.home, options.environment, databases=[DATABASE]) as system,
        ExitStack() as stack,
    ):
        plan = system.plan(replace(ROBIN, name="isolation", database=DATABASE))
        migrate(Place(plan.database_url, 10), service_role=SERVICE_ROLE)
        options.progress.step(f"making {DOCUMENTS:,} documents")
        fill(plan.database_url, DOCUMENTS)
        owner, service = (
            stack.enter_context(_database(url)) for url in (plan.database_url, plan.service_url)
        )
        turns = []
        for number in range(-1, options.rounds):  # the first warms up
            for way in WAYS:
                turn = _turn(
                    number, way, service if way.apart else owner, options.seconds, system.processes()
                )
                turns += [turn] if number >= 0 else []
                options.progress.step(
                    f"round {number + 1}: {way.method}, {way.name}: {turn.rate:.0f} a second"
                )
    rates = {f"{way.method}, {way.name}": [turn.rate for turn in of(turns, way)] for way in WAYS}
    return Report(
        goal="isolation",
        noise=noise(rates, [turn.foreign_cpu for turn in turns], [turn.loop_ms for turn in turns]),
        tables=[table(turns)],
        statements=statements(turns),
        charts=charts(turns),
        data={"turns": turns},
    )


def of(turns: Sequence[Turn], way: Way) -> list[Turn]:
    """Return the turns of a way."""
    return [turn for turn in turns if (turn.method, turn.way) == (way.method, way.name)]


def times(turns: Sequence[Turn], way: Way) -> float | None:
    """Return how many times as long a way takes as what it is compared with: the median of the rounds."""
    base = next(each for each in WAYS if each.base and each.method == way.method)
    pairs = zip(of(turns, base), of(turns, way), strict=True)
    found = [ratio(before.rate, after.rate) for before, after in pairs]
    known = [each for each in found if each is not None]
    return median(known) if known else None


def table(turns: Sequence[Turn]) -> Table:
    """Return a row for each way."""
    rows: list[tuple[str, ...]] = []
    for way in WAYS:
        own = of(turns, way)
        rows.append(
            (
                f"{way.method}, {way.name}",
                f"{median(turn.rate for turn in own):.0f}",
                f"{times(turns, way) or 0:.2f}x",
                f"{median(turn.p50_ms for turn in own):.2f}",
                f"{median(turn.p95_ms for turn in own):.2f}",
                f"{median(turn.postgres_us for turn in own):.0f}",
            )
        )
    return Table(
        title="What a statement takes, its way there and back included",
        head=("statement", "a second", "time", "p50 ms", "p95 ms", "postgres us"),
        rows=rows,
    )


def statements(turns: Sequence[Turn]) -> list[str]:
    """Say how many times as long each way takes."""
    return [
        f"{way.method}: {way.name} takes {times(turns, way) or 0:.2f}x the time of {base.name}"
        for base in WAYS
        if base.base
        for way in WAYS
        if way.method == base.method and not way.base
    ]


def charts(turns: Sequence[Turn]) -> list[Chart]:
    """Return the p50 of each round, a picture for each method."""
    return [
        Bars(
            title=f"p50 of a {method}",
            unit="ms",
            values={
                way.name: [turn.p50_ms for turn in of(turns, way)] for way in WAYS if way.method == method
            },
        )
        for method in dict.fromkeys(way.method for way in WAYS)
    ]


@contextmanager
def _database(url: str) -> Iterator[DatabaseTelemetry]:
    """Lend connections as the data store's; nothing of them is told."""
    engine = make_engine(DataStoreSettings(database_url=SecretStr(url)), connections=AT_ONCE)
    silent = Telemetry(trace.NoOpTracer(), Instruments(NoOpMeter("benchmarks")), {})
    try:
        yield DatabaseTelemetry(engine, silent, slow_statement_seconds=60)
    finally:
        engine.dispose()


def _turn(
    number: int, way: Way, database: DatabaseTelemetry, seconds: int, processes: list[psutil.Process]
) -> Turn:
    """Go one way for so many seconds."""
    loop = loop_ms()
    postgres = processes[0]
    others, client_cpu = Others(processes), time.process_time()
    cpu = usage(postgres).cpu_seconds
    took = _all_at_once(way.at_once, lambda worker: _repeat(way, database, worker, seconds))
    return Turn(
        number=number,
        method=way.method,
        way=way.name,
        rate=len(took) / seconds,
        p50_ms=percentile(took, 0.5) * 1000,
        p95_ms=percentile(took, 0.95) * 1000,
        postgres_us=(usage(postgres).cpu_seconds - cpu) * 1e6 / len(took),
        foreign_cpu=others.share(time.process_time() - client_cpu),
        loop_ms=loop,
    )


def _all_at_once(number: int, work: Callable[[int], list[float]]) -> list[float]:
    together = threading.Barrier(number)

    def begin(worker: int) -> list[float]:
        together.wait()
        return work(worker)

    with ThreadPoolExecutor(number) as threads:
        return [seconds for each in threads.map(begin, range(number)) for seconds in each]


def _repeat(way: Way, database: DatabaseTelemetry, worker: int, seconds: int) -> list[float]:
    """Do it over and over, and return how long each took."""
    took: list[float] = []
    until = time.perf_counter() + seconds
    lend = database.connect if way.method == READ else database.begin
    while (began := time.perf_counter()) < until:
        document = len(took) % DOCUMENTS + 1
        client = f"client-{(document if way.clients == CLIENTS else worker) % way.clients}"
        values: dict[str, Any] = {**VALUES, "of_client": client, "of_id": document}
        with lend(tenant=client if way.apart else None) as connection:
            rows = connection.execute(way.statement, values)
        if len(rows) != 1:
            raise BenchmarkError(f"{way.method}, {way.name}: {len(rows)} documents instead of one")
        took.append(time.perf_counter() - began)
    return took

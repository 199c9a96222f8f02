"""Goal 6: with 1,000,000 documents of 1,000 clients a GET's p95 is within 1.2 times that with 1,000 documents.

What a page of a list and a search cost then is told beside, without a goal: a client has a thousand documents instead of one.

Two robins on one PostgreSQL, each with a database of its own, answer for any of their documents in turn. The documents
are made inside of the database. That each plan is an index scan is held by tests/integration/test_query_plans.py.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from statistics import median
from typing import Final

import psycopg2

from benchmarks.figures import at_most
from benchmarks.load import Load, attack
from benchmarks.options import Options
from benchmarks.report import Bars, Chart, Report, Table
from benchmarks.rounds import Round, alternate, reasons_to_doubt, times
from benchmarks.sides import ROBIN
from benchmarks.system import RunningSide, running_system

GET = "GET"
# Of the client of any document. The words of `common` are in each of its documents: all of them are ranked.
_PATHS: Final = {
    "list": "/clients/client-%d/documents?limit=10",
    "list by name": "/clients/client-%d/documents?limit=10&order=name",
    "search, rare": "/clients/client-%d/search?limit=10&q=unique%d",
    "search, common": "/clients/client-%d/search?limit=10&q=quick+fox",
}
CLIENTS = 1_000
FEW, MANY = "few", "many"
DOCUMENTS = {FEW: 1_000, MANY: 1_000_000}
SIDES = tuple(
    replace(ROBIN, name=name, title=f"robin with {count:,} documents", database=f"robin_{name}")
    for name, count in DOCUMENTS.items()
)
GOAL = 1.2  # times the p95 with few documents

# load.lua asks for document n of client-(n modulo clients).
FILL = (
    "INSERT INTO clients (id) SELECT 'client-' || n FROM generate_series(0, %(clients)s - 1) AS n",
    """
    INSERT INTO document_metadata
        (client_id, filename, file_size, file_type, sha256, storage_key, summary, summary_source)
    SELECT 'client-' || n %% %(clients)s, 'document-' || n || '.txt', 1024, 'text/plain',
        encode(sha256(n::text::bytea), 'hex'), 'benchmark/' || n,
        repeat('The quick brown fox number ' || n || ' jumps over the lazy dog of the benchmark. ', 6), 'extractive'
    FROM generate_series(1, %(documents)s) AS n
    """,
    """
    INSERT INTO document_texts (client_id, document_id, name, content)
    SELECT client_id, id, filename, summary || ' word' || id %% 1000 || ' unique' || id FROM document_metadata
    """,
    """
    UPDATE clients SET stored_documents = stored.documents, stored_bytes = stored.bytes
    FROM (SELECT client_id, count(*) AS documents, sum(file_size) AS bytes FROM document_metadata GROUP BY 1) AS stored
    WHERE stored.client_id = clients.id
    """,
    "VACUUM (ANALYZE) document_metadata",
    "VACUUM (ANALYZE) document_texts",
    "VACUUM (ANALYZE) clients",
)


def run(options: Options) -> Report:
    """Load both in turn, round after round."""
    with running_system(SIDES, options.home, options.environment) as system:
        for running in system.sides:
            options.progress.step(f"making {DOCUMENTS[running.side.name]:,} documents")
            fill(running.database_url, DOCUMENTS[running.side.name])
        rounds = alternate(system, [GET, *_PATHS], options, _attack)
    gets = [one for one in rounds if one.method == GET]
    ratio = times(MANY, FEW, gets, lambda load: load.p95_ms)
    return Report(
        goal="documents",
        noise=reasons_to_doubt(gets, lambda load: load.p95_ms),
        tables=[table(rounds, method) for method in (GET, *_PATHS)],
        statements=[
            (
                f"p95 of a GET with {DOCUMENTS[MANY]:,} documents is {ratio or 0:.2f}x that with {DOCUMENTS[FEW]:,}, "
                f"goal {GOAL}x: {at_most(ratio, GOAL)}"
            )
        ],
        charts=charts(gets),
        data={"rounds": rounds, "p95_ratio": ratio},
    )


def fill(database_url: str, documents: int) -> None:
    """Make so many documents in an empty database, and let PostgreSQL get to know them."""
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in FILL:
                cursor.execute(statement, {"clients": CLIENTS, "documents": documents})


def _attack(running: RunningSide, method: str, seconds: int) -> Load:
    path = [_PATHS[method]] if method in _PATHS else []
    return attack(running.url, ["DOCUMENTS", str(DOCUMENTS[running.side.name]), str(CLIENTS), *path], seconds)


def table(rounds: Sequence[Round], method: str = GET) -> Table:
    """Return a row for each number of documents."""
    rows = []
    for name, count in DOCUMENTS.items():
        own = [one for one in rounds if (one.side, one.method) == (name, method)]
        rows.append(
            (
                f"{count:,}",
                f"{median(one.load.rate for one in own):.0f}",
                *(
                    f"{median(getattr(one.load, p) for one in own):.1f}"
                    for p in ("p50_ms", "p95_ms", "p99_ms")
                ),
                *(f"{median(one.cpu_us[role] for one in own):.0f}" for role in ("store", "postgres")),
            )
        )
    return Table(
        title="GET of any document" if method == GET else f"{method}: {_PATHS[method]}",
        head=("documents", "req/s", "p50 ms", "p95 ms", "p99 ms", "store us", "postgres us"),
        rows=rows,
    )


def charts(rounds: Sequence[Round]) -> list[Chart]:
    """Return the p95 of each round."""
    return [
        Bars(
            title="p95 of a GET of any document",
            unit="ms",
            values={
                f"{count:,} documents": [one.load.p95_ms for one in rounds if one.side == name]
                for name, count in DOCUMENTS.items()
            },
        )
    ]

"""Database: statements, their times and errors, the connection pools, and what was slow."""

from typing import Final

from monitoring.generate.board import Board, Row, Variable
from monitoring.generate.boards.common import (
    ANY,
    DATA_STORE,
    DATABASE,
    DATABASE_ERRORS,
    DATABASE_LATENCY,
    LOGS,
    OF_SERVICE,
    OVERVIEW,
    POOL,
    POSTGRESQL,
    RUNTIME,
    SLOW_STATEMENTS,
)
from monitoring.generate.panels import Column, Target, heatmap, lines, log_lines, stat, table
from monitoring.generate.promql import (
    RANGE,
    RATE,
    aggregate,
    increase,
    quantile,
    rate,
    series,
    share,
    zero_unless,
)
from observability.signals import (
    DATA_STORE_CIRCUIT,
    DATA_STORE_REFUSALS,
    DATA_STORE_RETRIES,
    DATABASE_OPERATION_DURATION,
    DATABASE_OPERATIONS,
    DATABASE_POOL,
    DATABASE_POOL_EXHAUSTED,
    DATABASE_POOL_WAIT,
)

# As in the alerts: the health check's own statements are none of the requests'.
_OF_REQUESTS: Final = 'table!~"pg_catalog[.].+"'
_CHOSEN: Final = (OF_SERVICE, 'operation=~"$operation"', 'table=~"$table"', _OF_REQUESTS)
_BY_STATEMENT: Final = ("operation", "table")
_IDLE: Final = "no statements"
# The bucket nearest to SLOW_STATEMENT_SECONDS, whose default it is.
_FAST: Final = 'le="0.25"'


def _error_share(*by: str, window: str = RATE) -> str:
    executed = rate(DATABASE_OPERATIONS, *_CHOSEN, by=by, window=window)
    failed = rate(DATABASE_OPERATIONS, *_CHOSEN, 'success="false"', by=by, window=window)
    return share(zero_unless(failed, executed), executed)


def _slow_share(*by: str, window: str = RATE) -> str:
    fast = rate(DATABASE_OPERATION_DURATION, *_CHOSEN, _FAST, by=by, part="_bucket", window=window)
    every = rate(DATABASE_OPERATION_DURATION, *_CHOSEN, by=by, part="_count", window=window)
    return f"1 - {share(fast, every)}"


def _pool_share() -> str:
    in_use, most = (series(DATABASE_POOL, OF_SERVICE, f'state="{state}"') for state in ("in_use", "max"))
    # As the alert has it, whose limit is drawn: a moment without a free connection is nothing yet.
    used = aggregate("max", f"avg_over_time({in_use}[2m])", "instance")
    return f"{used} / {aggregate('max', most, 'instance')}"


_NOW: Final = (
    stat(
        "Statements",
        "Executed in a second",
        Target(expr=rate(DATABASE_OPERATIONS, *_CHOSEN), legend="statements"),
        unit="ops",
        width=4,
        no_value=_IDLE,
    ),
    stat(
        "Statements that failed",
        "Share of the statements",
        Target(expr=_error_share(), legend="failed"),
        unit="percentunit",
        width=4,
        steps=DATABASE_ERRORS,
        alerts=("DatabaseErrors",),
        no_value=_IDLE,
    ),
    stat(
        "95th percentile",
        "The slowest 5% of the statements took at least this long",
        Target(expr=quantile(0.95, DATABASE_OPERATION_DURATION, *_CHOSEN), legend="95%"),
        unit="s",
        width=4,
        steps=DATABASE_LATENCY,
        alerts=("DatabaseHighLatency",),
        no_value=_IDLE,
    ),
    stat(
        "Pool in use",
        "Share of the connections, on average of 2 minutes, of the fullest instance",
        Target(expr=aggregate("max", _pool_share()), legend="in use"),
        unit="percentunit",
        steps=POOL,
        width=4,
        alerts=("ConnectionPoolExhausted",),
    ),
    stat(
        "Waits given up",
        "Requests that got no connection in time, in the time shown",
        Target(expr=zero_unless(increase(DATABASE_POOL_EXHAUSTED, OF_SERVICE)), legend="waits"),
        over_time=False,
        defaults={"decimals": 0},
        width=4,
        steps=ANY,
        alerts=("ConnectionPoolExhausted",),
    ),
    stat(
        "Slow statements",
        "Share of the statements that took over 250 ms",
        Target(expr=_slow_share(), legend="slow"),
        unit="percentunit",
        width=4,
        steps=SLOW_STATEMENTS,
        alerts=("SlowQueries",),
        no_value=_IDLE,
    ),
)

_STATEMENTS: Final = (
    lines(
        "Statements by result",
        "Executed in a second; a point is one statement: click it for its trace and its log lines",
        Target(
            expr=rate(DATABASE_OPERATIONS, *_CHOSEN, by=(*_BY_STATEMENT, "success")),
            legend="{{operation}} {{table}}, success {{success}}",
        ),
        unit="ops",
        links=(OVERVIEW,),
        no_value=_IDLE,
    ),
    lines(
        "95th percentile by statement",
        "The slowest 5% of the statements of each kind took at least this long",
        Target(
            expr=quantile(0.95, DATABASE_OPERATION_DURATION, *_CHOSEN, by=_BY_STATEMENT),
            legend="{{operation}} {{table}}",
        ),
        unit="s",
        steps=DATABASE_LATENCY,
        alerts=("DatabaseHighLatency",),
        links=(OVERVIEW, LOGS),
        no_value=_IDLE,
    ),
    lines(
        "Statements that failed",
        "Share of the statements of each kind",
        Target(expr=_error_share(*_BY_STATEMENT), legend="{{operation}} {{table}}"),
        unit="percentunit",
        steps=DATABASE_ERRORS,
        alerts=("DatabaseErrors",),
        links=(LOGS,),
        no_value=_IDLE,
    ),
    lines(
        "Time of statements",
        "Median, 95th and 99th percentile of all that are chosen",
        *(
            Target(expr=quantile(ratio, DATABASE_OPERATION_DURATION, *_CHOSEN), legend=name)
            for ratio, name in ((0.5, "median"), (0.95, "95%"), (0.99, "99%"))
        ),
        unit="s",
        steps=DATABASE_LATENCY,
        alerts=("DatabaseHighLatency",),
        no_value=_IDLE,
    ),
    heatmap(
        "Spread of the times",
        "How many statements took how long",
        Target(
            expr=increase(DATABASE_OPERATION_DURATION, *_CHOSEN, by=("le",), part="_bucket", window=RATE),
            legend="{{le}}",
        ),
        unit="s",
        no_value=_IDLE,
    ),
    table(
        "Kinds of statements",
        "Rate, errors and duration of each in the time shown",
        Target(expr=rate(DATABASE_OPERATIONS, *_CHOSEN, by=_BY_STATEMENT, window=RANGE)),
        Target(expr=_error_share(*_BY_STATEMENT, window=RANGE)),
        Target(expr=quantile(0.95, DATABASE_OPERATION_DURATION, *_CHOSEN, by=_BY_STATEMENT, window=RANGE)),
        columns=(
            Column("operation", "Operation"),
            Column("table", "Table"),
            Column("Value #A", "Statements", "ops"),
            Column("Value #B", "Failed", "percentunit", DATABASE_ERRORS),
            Column("Value #C", "95%", "s", DATABASE_LATENCY),
        ),
        alerts=("DatabaseErrors", "DatabaseHighLatency"),
        no_value=_IDLE,
    ),
)

_POOLS: Final = (
    lines(
        "Connections by state",
        "Of all data-store instances together",
        Target(expr=aggregate("sum", series(DATABASE_POOL, OF_SERVICE), "state"), legend="{{state}}"),
        alerts=("ConnectionPoolExhausted",),
    ),
    lines(
        "Pool in use by instance",
        "Share of each one's connections, on average of 2 minutes",
        Target(expr=_pool_share(), legend="{{instance}}"),
        unit="percentunit",
        defaults={"max": 1},
        steps=POOL,
        alerts=("ConnectionPoolExhausted",),
        links=(RUNTIME,),
    ),
    lines(
        "Wait for a connection",
        "Median and 99th percentile; a point is one wait",
        Target(expr=quantile(0.5, DATABASE_POOL_WAIT, OF_SERVICE), legend="median"),
        Target(expr=quantile(0.99, DATABASE_POOL_WAIT, OF_SERVICE), legend="99%"),
        unit="s",
        width=4,
        alerts=("ConnectionPoolExhausted",),
        links=(OVERVIEW,),
        no_value=_IDLE,
    ),
    lines(
        "Waits given up",
        "Within a minute or the width of a point",
        Target(expr=zero_unless(increase(DATABASE_POOL_EXHAUSTED, OF_SERVICE, window=RATE)), legend="waits"),
        bars=True,
        width=4,
        alerts=("ConnectionPoolExhausted",),
    ),
)

_CALLS: Final = (
    lines(
        "Circuit to the data store",
        "Processes of document-api by the state of theirs; open: the data store is not asked, requests get 503 at once",
        Target(expr=aggregate("sum", series(DATA_STORE_CIRCUIT), "state"), legend="{{state}}"),
        links=(OVERVIEW,),
    ),
    lines(
        "Calls made again",
        "In a second, by why they had failed; a point is one request",
        Target(expr=rate(DATA_STORE_RETRIES, by=("reason",)), legend="{{reason}}"),
        unit="ops",
        links=(LOGS,),
        no_value="none was",
    ),
    lines(
        "Calls not made",
        "In a second: the circuit was open, or the budget for calling again was spent",
        Target(expr=rate(DATA_STORE_REFUSALS, by=("reason",)), legend="{{reason}}"),
        unit="ops",
        links=(LOGS,),
        no_value="all were",
    ),
)

_SLOW: Final = (
    lines(
        "Slow statements",
        "Share of the statements of each kind that took over 250 ms",
        Target(expr=_slow_share(*_BY_STATEMENT), legend="{{operation}} {{table}}"),
        unit="percentunit",
        width=12,
        steps=SLOW_STATEMENTS,
        alerts=("SlowQueries",),
        no_value=_IDLE,
    ),
    lines(
        "PostgreSQL's own lines by level",
        "Of any kind, within the width of a point; slow statements are warnings",
        Target(
            expr=f'sum by (severity_text) (count_over_time({{service_name="{POSTGRESQL}"}} [$__auto]))',
            legend="{{severity_text}}",
            source="loki",
        ),
        bars=True,
        width=12,
        links=(LOGS,),
        no_value="no lines",
    ),
    log_lines(
        "Slow statements as the service saw them",
        "Operation, table and duration; open one for its correlation ID and trace",
        f'{{service_name="{DATA_STORE}", severity_text="WARNING"}} |= "Slow statement"',
        width=12,
        alerts=("SlowQueries",),
        links=(LOGS,),
        no_value="Nothing was slow",
    ),
    log_lines(
        "Slow and failed statements as PostgreSQL saw them",
        "Duration, SQLSTATE and the IDs out of the SQL comment; never the text, which holds values",
        f'{{service_name="{POSTGRESQL}"}} |~ "slow statement|statement failed"',
        width=12,
        alerts=("SlowQueries", "DatabaseErrors"),
        links=(LOGS,),
        no_value="Nothing was slow, nothing failed",
    ),
)

BOARD: Final = Board(
    uid=DATABASE,
    title="robin: database",
    description="PostgreSQL as data-store sees it, and as it sees itself",
    variables=(
        Variable(
            name="service",
            label="Service",
            description="That asks the database",
            query=f"label_values({series(DATABASE_OPERATIONS)}, service_name)",
        ),
        Variable(
            name="operation",
            label="Operation",
            description="INSERT, SELECT, UPDATE or DELETE",
            query=f"label_values({series(DATABASE_OPERATIONS, _OF_REQUESTS)}, operation)",
        ),
        Variable(
            name="table",
            label="Table",
            description="That the statement names",
            query=f"label_values({series(DATABASE_OPERATIONS, _OF_REQUESTS)}, table)",
        ),
    ),
    rows=(
        Row("Now", _NOW),
        Row("Statements", _STATEMENTS),
        Row("Connection pools", _POOLS),
        Row("Calls to the data store", _CALLS),
        Row("Slow statements", _SLOW),
    ),
)

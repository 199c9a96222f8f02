"""Runtime: what each process of the services uses, and the host under them."""

from typing import Final

from monitoring.generate.board import Board, Row
from monitoring.generate.boards.common import (
    MEMORY,
    OF_SERVICE,
    OVERVIEW,
    OWN_SERVICE,
    PIPELINE,
    RUNTIME,
)
from monitoring.generate.panels import Column, Target, above, lines, stat, table
from monitoring.generate.promql import OF_USERS, RATE, aggregate, rate, series, share
from observability.signals import (
    EVENT_LOOP_LAG,
    GC_COLLECTED,
    GC_COLLECTIONS,
    GC_UNCOLLECTABLE,
    HTTP_IN_PROGRESS,
    HTTP_REQUESTS,
    PROCESS_CPU_TIME,
    PROCESS_MEMORY_LIMIT,
    PROCESS_MEMORY_USAGE,
    PROCESS_MEMORY_VIRTUAL,
    PROCESS_OPEN_FILES,
    PROCESS_THREADS,
    MetricSpec,
)

# Back ends have process metrics too, without a service's name.
_CHOSEN: Final = (OF_SERVICE, 'service_name!=""')
_BY_INSTANCE: Final = ("service_name", "instance")
_INSTANCE: Final = "{{service_name}} {{instance}}"
_GENERATION: Final = "cpython_gc_generation"
# What the collector reports of the host every 30 s.
_HOST: Final = {"interval": "30s"}


def _of_instance(metric: MetricSpec, *by: str) -> str:
    return aggregate("max", series(metric, *_CHOSEN), *(by or _BY_INSTANCE))


def _lag(*by: str) -> str:
    # Each sample is the worst since the one before: all of them count, not only the one at a point.
    return aggregate("max", f"max_over_time({series(EVENT_LOOP_LAG, *_CHOSEN)}[{RATE}])", *by)


def _memory_share() -> str:
    return share(_of_instance(PROCESS_MEMORY_USAGE), _of_instance(PROCESS_MEMORY_LIMIT))


def _cpu(*by: str) -> str:
    return rate(PROCESS_CPU_TIME, *_CHOSEN, by=by)


_NOW: Final = (
    stat(
        "Processes",
        "That have sent metrics in the last 5 minutes",
        Target(
            expr=aggregate("count", series(PROCESS_MEMORY_USAGE, *_CHOSEN), "service_name"),
            legend="{{service_name}}",
        ),
        width=4,
        alerts=("ServiceAbsent",),
        links=(OVERVIEW,),
    ),
    stat(
        "CPU",
        "Cores used by all processes of a service",
        Target(expr=_cpu("service_name"), legend="{{service_name}}"),
        width=4,
        defaults={"decimals": 2},
    ),
    stat(
        "Fullest memory",
        "Share of its limit that the largest process uses",
        Target(expr=aggregate("max", _memory_share(), "service_name"), legend="{{service_name}}"),
        unit="percentunit",
        width=4,
        steps=MEMORY,
        alerts=("HighMemory",),
    ),
    stat(
        "Event loop lag",
        "Worst of all processes within a minute or the width of a point: above 100 ms requests wait for one another",
        Target(expr=_lag("service_name"), legend="{{service_name}}"),
        unit="s",
        width=4,
        steps=above(0.1, 1),
    ),
    stat(
        "Open files",
        "Descriptors of the process that has most",
        Target(expr=_of_instance(PROCESS_OPEN_FILES, "service_name"), legend="{{service_name}}"),
        width=4,
    ),
    stat(
        "Threads",
        "Of the process that has most",
        Target(expr=_of_instance(PROCESS_THREADS, "service_name"), legend="{{service_name}}"),
        width=4,
    ),
)

_PROCESSES: Final = (
    lines(
        "CPU",
        "Cores used; a process of Python seldom uses more than one",
        Target(expr=_cpu(*_BY_INSTANCE), legend=_INSTANCE),
    ),
    lines(
        "CPU by kind",
        "Cores used by the service's own code (user) and by the kernel for it (system)",
        Target(expr=_cpu("service_name", "type"), legend="{{service_name}} {{type}}"),
    ),
    lines(
        "Memory against its limit",
        "Share of what the process may use: of its container's limit, else of the machine",
        Target(expr=_memory_share(), legend=_INSTANCE),
        unit="percentunit",
        defaults={"max": 1},
        steps=MEMORY,
        alerts=("HighMemory",),
    ),
    lines(
        "Memory",
        "Resident: what rises and never falls is a leak",
        Target(expr=_of_instance(PROCESS_MEMORY_USAGE), legend=_INSTANCE),
        unit="bytes",
        alerts=("HighMemory",),
    ),
    lines(
        "Virtual memory",
        "Reserved, most of it never touched",
        Target(expr=_of_instance(PROCESS_MEMORY_VIRTUAL), legend=_INSTANCE),
        unit="bytes",
    ),
    lines(
        "Open files",
        "Descriptors: connections, files, logs. What rises and never falls is a leak",
        Target(expr=_of_instance(PROCESS_OPEN_FILES), legend=_INSTANCE),
    ),
    lines(
        "Threads",
        "Of each process",
        Target(expr=_of_instance(PROCESS_THREADS), legend=_INSTANCE),
    ),
    lines(
        "Load",
        "Requests in a second, health requests not counted: whether the rest is explained by it",
        Target(expr=rate(HTTP_REQUESTS, *_CHOSEN, OF_USERS, by=_BY_INSTANCE), legend=_INSTANCE),
        unit="reqps",
        links=(OVERVIEW,),
        no_value="no requests",
    ),
    lines(
        "Requests under way",
        "Being answered at each moment",
        Target(expr=aggregate("sum", series(HTTP_IN_PROGRESS, *_CHOSEN), *_BY_INSTANCE), legend=_INSTANCE),
        links=(OVERVIEW,),
        no_value="no requests",
    ),
)

_PYTHON: Final = (
    lines(
        "Delay of the event loop",
        "Worst within a minute or the width of a point: while it lasts, nothing else of the process runs",
        Target(expr=_lag(*_BY_INSTANCE), legend=_INSTANCE),
        unit="s",
        width=6,
        steps=above(0.1, 1),
    ),
    lines(
        "Garbage collections",
        "In a second, by generation: the oldest is the dear one",
        Target(
            expr=rate(GC_COLLECTIONS, *_CHOSEN, by=("service_name", _GENERATION)),
            legend=f"{{{{service_name}}}} generation {{{{{_GENERATION}}}}}",
        ),
        unit="cps",
        width=6,
    ),
    lines(
        "Objects freed",
        "In a second, by the garbage collector: what reference counts do not free",
        Target(expr=rate(GC_COLLECTED, *_CHOSEN, by=_BY_INSTANCE), legend=_INSTANCE),
        unit="cps",
        width=6,
    ),
    lines(
        "Objects that cannot be freed",
        "In a second: anything but nothing is a leak",
        Target(expr=rate(GC_UNCOLLECTABLE, *_CHOSEN, by=_BY_INSTANCE), legend=_INSTANCE),
        unit="cps",
        width=6,
        steps=above(0.001),
    ),
)

_MACHINE: Final = (
    lines(
        "CPU of the host",
        "Cores by what they do; idle ones are not shown",
        Target(
            expr=rate("system_cpu_time_seconds_total", 'state!="idle"', by=("state",)),
            legend="{{state}}",
            options=_HOST,
        ),
        stacked=True,
    ),
    lines(
        "Memory of the host",
        "By what it is used for; cached and buffered are given back when they are needed",
        Target(
            expr=aggregate("sum", "system_memory_usage_bytes", "state"), legend="{{state}}", options=_HOST
        ),
        unit="bytes",
        stacked=True,
    ),
    lines(
        "Load of the host",
        "Processes that run or want to, averaged: more than there are cores means that they wait",
        *(
            Target(
                expr=aggregate("max", f"system_cpu_load_average_{minutes}m"),
                legend=f"{minutes} min",
                options=_HOST,
            )
            for minutes in (1, 5, 15)
        ),
    ),
    table(
        "File systems of the host",
        "As the collector sees them: in a container its own",
        Target(expr=aggregate("max", series("system_filesystem_usage_bytes", 'state="used"'), "mountpoint")),
        Target(expr=aggregate("max", series("system_filesystem_usage_bytes", 'state="free"'), "mountpoint")),
        columns=(
            Column("mountpoint", "Mounted at"),
            Column("Value #A", "Used", "bytes"),
            Column("Value #B", "Free", "bytes"),
        ),
        unit="bytes",
    ),
    lines(
        "CPU of the back ends",
        "Cores, of what Prometheus scrapes",
        Target(expr=rate("process_cpu_seconds_total", by=("job",)), legend="{{job}}"),
        Target(expr=rate("otelcol_process_cpu_seconds_total", by=("job",)), legend="{{job}}"),
        links=(PIPELINE,),
    ),
    lines(
        "Memory of the back ends",
        "Resident, of what Prometheus scrapes",
        Target(expr=aggregate("sum", "process_resident_memory_bytes", "job"), legend="{{job}}"),
        Target(expr=aggregate("sum", "otelcol_process_memory_rss_bytes", "job"), legend="{{job}}"),
        unit="bytes",
        links=(PIPELINE,),
    ),
)

BOARD: Final = Board(
    uid=RUNTIME,
    title="robin: runtime",
    description="CPU, memory, event loop, garbage collection, files and threads of each process, and the host",
    variables=(OWN_SERVICE,),
    rows=(
        Row("Now", _NOW),
        Row("Processes", _PROCESSES),
        Row("Python", _PYTHON),
        Row("Host and back ends", _MACHINE),
    ),
)

"""What the places of the code belong to: parts of a request's cost."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FRAME = re.compile(r"^(?P<function>.*) \((?P<path>.*?)(?::\d+)?\)$")
OTHER = "everything else"
EXPORT = "export"
# Threads that do nothing else.
EXPORTING_THREADS = ("otlp-batches", "OtelPeriodicExportingMetricReader")
SERVER_SPAN, CLIENT_SPAN, DATABASE_SPANS, STEP_SPANS = (
    "SERVER span",
    "CLIENT span",
    "database spans",
    "spans of steps",
)
SPANS = (SERVER_SPAN, CLIENT_SPAN, DATABASE_SPANS, STEP_SPANS)
LOG_LINES, METRICS, IDENTITY = "log lines", "metrics", "identity and propagation"
TELEMETRY = (*SPANS, LOG_LINES, METRICS, IDENTITY, EXPORT)


@dataclass(frozen=True)
class Place:
    """A file, or a folder with its slash; all of it, or these functions."""

    path: str
    functions: tuple[str, ...] = ()

    def has(self, path: str, function: str) -> bool:
        """Say whether a frame lies here."""
        inside = path.startswith(self.path) if self.path.endswith("/") else path == self.path
        return inside and (not self.functions or function in self.functions)


# What makes a span; whose span it is, the next frame outside says.
SPAN_MAKERS = (Place("observability/spans.py"), Place("observability/telemetry.py"))
SPAN_OWNERS: Mapping[str, tuple[Place, ...]] = {
    SERVER_SPAN: (Place("observability/middleware.py"),),
    CLIENT_SPAN: (Place("document_api/documents/store_client.py"),),
    DATABASE_SPANS: (Place("observability/database.py"), Place("data_store/database.py")),
}
# From the innermost frame outwards the first that lies in one of these decides; what lies in none, such as the standard
# library's small helpers or the encoding of OTLP, is its caller's. Of two parts with the same place the first counts.
PARTS: Mapping[str, tuple[Place, ...]] = {
    "driver and its wait": (
        Place("observability/database.py", ("Connection._sent", "Connection.commit", "Connection.roll_back")),
        Place("psycopg2/"),
    ),
    LOG_LINES: (
        Place("logging/"),
        Place("observability/logs.py"),
        Place("observability/middleware.py", ("ObservabilityMiddleware._log",)),
    ),
    METRICS: (Place("observability/instruments.py"), Place("observability/runtime.py")),
    IDENTITY: (Place("observability/context.py"), Place("observability/propagation.py")),
    EXPORT: (Place("observability/batches.py"), Place("grpc/"), Place("opentelemetry/exporter/")),
    SERVER_SPAN: SPAN_OWNERS[SERVER_SPAN],
    DATABASE_SPANS: (Place("observability/database.py"),),
    "ASGI server": (Place("uvicorn/"),),
    "thread hop": (
        Place("concurrent/futures/"),
        Place("asyncio/futures.py"),
        Place("data_store/database.py"),
        Place("data_store/threads.py"),
        Place("anyio/"),
    ),
    "event loop and sockets": (Place("asyncio/"), Place("uvloop/")),
    "framework": (
        Place("fastapi/"),
        Place("starlette/"),
        Place("observability/routes.py"),
        Place("observability/problems.py"),
    ),
    "JSON and validation": (
        Place("pydantic/"),
        Place("pydantic_core/"),
        Place("json/"),
        Place("observability/fields.py"),
    ),
    "SQLAlchemy": (Place("sqlalchemy/"),),
    "HTTP client": (
        Place("document_api/http.py"),
        Place("aiohttp/"),
        Place("yarl/"),
        Place("multidict/"),
        Place("aiosignal/"),
    ),
    "multipart": (Place("document_api/documents/multipart.py"), Place("python_multipart/")),
    "file": (
        Place("document_api/documents/storage.py"),
        Place("document_api/documents/incoming.py"),
        Place("document_api/documents/folder.py"),
    ),
    "summary": (Place("document_api/summaries/"), Place("lede/")),
    "own code": (Place("document_api/"), Place("data_store/")),
}


def part_of(stack: Sequence[str]) -> str:
    """Return what a stack of py-spy's frames, the innermost last, is part of."""
    frames = [(match["path"], match["function"]) for each in stack if (match := FRAME.match(each))]
    for depth in range(len(frames) - 1, -1, -1):
        if _lies_in(frames[depth], SPAN_MAKERS):
            return _owner(frames[:depth])
        for part, places in PARTS.items():
            if _lies_in(frames[depth], places):
                return part
    return OTHER


def _owner(outside: Sequence[tuple[str, str]]) -> str:
    """Return whose span it is: of the first frame outside that only our own packages have."""
    for frame in reversed(outside):
        if _lies_in(frame, SPAN_MAKERS):
            continue
        for owner, places in SPAN_OWNERS.items():
            if _lies_in(frame, places):
                return owner
        if _lies_in(frame, PARTS["own code"]):
            return STEP_SPANS
    return STEP_SPANS


def _lies_in(frame: tuple[str, str], places: Sequence[Place]) -> bool:
    return any(place.has(*frame) for place in places)

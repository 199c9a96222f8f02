"""Logging of a process: JSON lines on stdout and the same records by OTLP, each with the request's identity."""

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TextIO

from opentelemetry import trace

from observability import otlp
from observability.context import current_request
from observability.exceptions import WITHHELD, attributes_of, exception_stack
from observability.floods import FloodGuard
from observability.signals import Attribute

# Chatty libraries, whose INFO lines repeat what our spans say; the last warns of every client's mistake.
_QUIET: Final = {
    **dict.fromkeys(("httpx", "httpcore", "alembic.runtime.plugins", "aiohttp"), logging.WARNING),
    "python_multipart": logging.ERROR,
}
# Severity number and text of OTLP's log data model for each level of logging, the worst first.
_SEVERITIES: Final = {
    logging.CRITICAL: (21, "FATAL"),
    logging.ERROR: (17, "ERROR"),
    logging.WARNING: (13, "WARN"),
    logging.INFO: (9, "INFO"),
    logging.DEBUG: (5, "DEBUG"),
}
_CORRELATION_ID: Final = Attribute.CORRELATION_ID.value
_CLIENT_ID: Final = Attribute.CLIENT_ID.value
_OF_THE_EXPORT: Final = ("opentelemetry", "observability.batches")
# Whose messages are told with all that is put into them: our own, and libraries of which somebody has read what they say.
_OWN: Final = ("access", "data_store", "document_api", "observability")
_KNOWN: Final = ("alembic", "uvicorn", "opentelemetry.exporter", "opentelemetry.sdk.metrics")
# asyncio's begin with these; then come the values of whoever failed.
_BEGINNINGS: Final = (
    "Task exception was never retrieved",
    "Future exception was never retrieved",
    "Exception in callback",
    "Task was destroyed but it is pending!",
    "Unhandled exception in event loop",
)
# What a traceback tells apart from lines of code and texts of exceptions: frames, and types.
_FRAMES: Final = re.compile(
    r'^(?:Traceback .*|  File ".*", line \d+, in .*|[\w.]+(?:Error|Exception)\b)', re.MULTILINE
)
_encode: Final = json.JSONEncoder(default=str).encode


class _Entry:
    """What both outlets say: a record, and the request and span it was written in."""

    __slots__ = ("context_data", "error", "message", "record", "request", "span")

    def __init__(self, record: logging.LogRecord) -> None:
        self.record = record
        self.message = _message(record)
        self.context_data: Mapping[str, Any] = getattr(record, "context_data", {})
        self.error = record.exc_info[1] if record.exc_info else None
        self.request = current_request()
        self.span = trace.get_current_span().get_span_context()

    def line(self, service: str) -> str:
        """Return the record as one line of JSON with the contract's fields."""
        record, request, span = self.record, self.request, self.span
        context = dict(self.context_data)
        if request is not None and request.client_id is not None:
            context.setdefault("client_id", request.client_id)
        if self.error is not None:
            context["exception"] = exception_stack(self.error)
        return _encode(
            {
                "timestamp": round(record.created, 6),
                "level": record.levelname,
                "service": service,
                "correlation_id": request.correlation_id if request else "",
                "log_message": self.message,
                "context_data": context,
                "trace_id": trace.format_trace_id(span.trace_id) if span.is_valid else "",
                "span_id": trace.format_span_id(span.span_id) if span.is_valid else "",
                "logger": record.name,
            }
        )

    def otlp(self) -> bytes:
        """Return the record as OTLP's; the collector gives its severity the contract's name."""
        record, span = self.record, self.span
        number, text = _SEVERITIES.get(record.levelno) or _severity(record.levelno)
        return otlp.log_record(
            time_ns=int(record.created * 1e9),
            severity_number=number,
            severity_text=text,
            body=self.message,
            attributes=[otlp.log_attribute(key, value) for key, value in self._attributes().items()],
            trace_id=span.trace_id,
            span_id=span.span_id,
            trace_flags=span.trace_flags,
        )

    def _attributes(self) -> dict[str, object]:
        attributes: dict[str, object] = {"logger": self.record.name}
        request, error = self.request, self.error
        if request is not None:
            attributes[_CORRELATION_ID] = request.correlation_id
            if request.client_id is not None:
                attributes[_CLIENT_ID] = request.client_id
        attributes.update(otlp.flattened(self.context_data, "context_data."))
        if error is not None:
            attributes.update(attributes_of(error))
        return attributes


def _message(record: logging.LogRecord) -> str:
    """Return a record's message; of a library that nobody has read, without the values that are put into it."""
    package = record.name.partition(".")[0]
    if package in _OWN:
        return record.getMessage()
    if record.name.startswith(_KNOWN):
        return _without_texts(record.getMessage())
    if record.args:
        return str(record.msg)
    beginning = next((each for each in _BEGINNINGS if str(record.msg).startswith(each)), None)
    return beginning or WITHHELD


def _without_texts(message: str) -> str:
    """Return a message; of a traceback inside of it, as uvicorn logs one of a failed start, frames and types only."""
    if "\n" not in message:
        return message
    first, _, rest = message.partition("\n")
    return "\n".join((first, *_FRAMES.findall(rest)))


def _severity(level: int) -> tuple[int, str]:
    """Return that of the next lower level, for one that logging does not know."""
    return next((found for known, found in _SEVERITIES.items() if level >= known), _SEVERITIES[logging.DEBUG])


def _flood(level: int, withheld: int) -> logging.LogRecord:
    """Return the record that tells how many were withheld before one of this level."""
    told = "%s log records of %s and its like were withheld: too many came"
    return logging.LogRecord(
        __name__, logging.WARNING, "", 0, told, (withheld, logging.getLevelName(level)), None
    )


def _ignore(_records: int) -> None:
    """Count nothing: there is no telemetry yet."""


class _Outlets(logging.Handler):
    """Writes each record to stdout, and hands it to OTLP where there is somebody who takes it."""

    def __init__(
        self,
        service_name: str,
        stdout: TextIO,
        sink: Callable[[bytes], None] | None = None,
        *,
        guard: FloodGuard | None = None,
        withheld: Callable[[int], None] = _ignore,
    ) -> None:
        super().__init__()
        self._service = service_name
        self._stdout = stdout
        self._sink = sink
        self._guard = guard
        self._withheld = withheld

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless there are too many; after a flood the next record is told how many there were."""
        guard = self._guard
        if guard is not None:
            withheld = guard.admit(record.levelno)
            if withheld is None:
                self._withheld(1)
                return
            if withheld:
                self._write(_flood(record.levelno, withheld))
        self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        """Write a record; what fails here is told on stderr, as in every handler, but without the record's values."""
        try:
            entry = _Entry(record)
            # First, so that it goes out even where stdout takes nothing any more. The exporter's own complaints stay out:
            # a failing export must not feed itself.
            if self._sink is not None and not record.name.startswith(_OF_THE_EXPORT):
                self._sink(entry.otlp())
            self._stdout.write(f"{entry.line(self._service)}\n")
            self._stdout.flush()
        except Exception as error:  # noqa: BLE001  logging's own contract
            with suppress(OSError):  # nobody is left who could be told
                sys.stderr.write(f"A line of {record.name} was lost.\n{exception_stack(error)}")


def configure_logging(
    service_name: str,
    level: str,
    sink: Callable[[bytes], None] | None = None,
    *,
    most_per_second: int | None = None,
    withheld: Callable[[int], None] = _ignore,
) -> None:
    """Make the root logger write JSON lines to stdout, and OTLP to `sink`; replaces handlers that stood there before.

    Without a sink it is for what there is to say before telemetry is up. Of each class of levels so many records a second
    are written, None for any number; `withheld` is told of all others.
    """
    # Nothing here is written, and finding the caller's line costs as much as the rest of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = ""  # noqa: SLF001  documented: Logging HOWTO, Optimization
    root = logging.getLogger()
    guard = FloodGuard(most_per_second) if most_per_second else None
    root.handlers = [_Outlets(service_name, sys.stdout, sink, guard=guard, withheld=withheld)]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))

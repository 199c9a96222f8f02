"""Logging of a process: JSON lines on stdout and the same records by OTLP, each with the request's identity."""

import json
import logging
import sys
import traceback
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider

from observability.context import current_request

# Chatty libraries, whose INFO lines repeat what our spans say; the last warns of every client's mistake.
_QUIET: Final = {
    **dict.fromkeys(("httpx", "httpcore", "alembic.runtime.plugins", "aiohttp"), logging.WARNING),
    "python_multipart": logging.ERROR,
}


class RequestFields(logging.Filter):
    """Adds the request's correlation ID and tenant, and the logger's name, to every record; drops what is not for it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the fields; let every record pass."""
        record.logger = record.name
        record.__dict__.pop("color_message", None)  # uvicorn's, for terminals
        request = current_request()
        if request is not None:
            record.correlation_id = request.correlation_id
            if request.client_id is not None:
                record.client_id = request.client_id
        return True


class _NotOfTheExporter(logging.Filter):
    """Keeps the SDK's own complaints out of OTLP: a failing export must not feed itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.name.startswith("opentelemetry")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON with the contract's fields."""

    def __init__(self, service_name: str) -> None:
        super().__init__()
        self._service = service_name

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        span = trace.get_current_span().get_span_context()
        context: dict[str, Any] = dict(getattr(record, "context_data", {}))
        client_id = getattr(record, "client_id", None)
        if client_id is not None:
            context.setdefault("client_id", client_id)
        if record.exc_info and record.exc_info[1] is not None:
            context["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        line = {
            "timestamp": round(record.created, 6),
            "level": record.levelname,
            "service": self._service,
            "correlation_id": getattr(record, "correlation_id", ""),
            "log_message": record.getMessage(),
            "context_data": context,
            "trace_id": trace.format_trace_id(span.trace_id) if span.is_valid else "",
            "span_id": trace.format_span_id(span.span_id) if span.is_valid else "",
            "logger": record.name,
        }
        return json.dumps(line, default=str)


def log_to_stdout(service_name: str, level: str) -> None:
    """Make the root logger write JSON lines to stdout only: what there is to say before telemetry is up."""
    stdout = logging.StreamHandler(sys.stdout)
    stdout.setFormatter(JsonFormatter(service_name))
    stdout.addFilter(RequestFields())
    root = logging.getLogger()
    root.handlers = [stdout]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))


def configure_logging(service_name: str, level: str, provider: LoggerProvider) -> None:
    """Make the root logger write JSON lines to stdout and OTLP; replaces handlers that stood there before."""
    log_to_stdout(service_name, level)
    otlp = LoggingHandler(logger_provider=provider)
    otlp.addFilter(_NotOfTheExporter())
    otlp.addFilter(RequestFields())
    logging.getLogger().addHandler(otlp)

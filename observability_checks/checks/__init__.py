"""One module for each thing that can be checked; each has `run(context)`. They run in this order."""

from collections.abc import Callable, Mapping

from observability_checks.checks import errors, health, performance, retrieval, upload
from observability_checks.context import Context

CHECKS: Mapping[str, Callable[[Context], None]] = {
    "health": health.run,
    "upload": upload.run,
    "retrieval": retrieval.run,
    "errors": errors.run,
    "performance": performance.run,
}

"""Telemetry of robin's services: one object, built once, handed to whoever needs it.

    identity = Identity("document-api", "1.0.0", "host:8000", "production")
    telemetry = configure(identity, log_level="INFO", workers=1)
    app.add_middleware(ObservabilityMiddleware, telemetry=telemetry, slow_request_seconds=1.0)
    with telemetry.step(Span.FILE_SAVE) as step: ...
    telemetry.shutdown()   # in the lifespan, after its yield: uvicorn leaves no other chance

Traps: names stand in signals.py only; an ID is never a label (instruments.py drops it into the exemplar);
exceptions are recorded where they are handled; measure inside the span, or the exemplar has no trace.
"""

import os

# uvloop forks to start a process. gRPC would stop its threads for that, or say on stdout that it could not, and run its own
# code in the child: nothing of it is used there. Read when gRPC is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


from observability.admission import Admission
from observability.context import (
    ClientId,
    bind_actor,
    bind_client,
    current_actor,
    current_client,
    current_correlation_id,
)
from observability.health import run_checks
from observability.middleware import ObservabilityMiddleware
from observability.problems import NotFound, Problem, Unavailable, install_problem_handlers
from observability.propagation import outgoing_headers
from observability.runtime import watched_event_loop
from observability.telemetry import Identity, Step, Telemetry, configure

__all__ = [
    "Admission",
    "ClientId",
    "Identity",
    "NotFound",
    "ObservabilityMiddleware",
    "Problem",
    "Step",
    "Telemetry",
    "Unavailable",
    "bind_actor",
    "bind_client",
    "configure",
    "current_actor",
    "current_client",
    "current_correlation_id",
    "install_problem_handlers",
    "outgoing_headers",
    "run_checks",
    "watched_event_loop",
]

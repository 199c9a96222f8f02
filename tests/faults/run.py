"""One fault under steady load, and what became of everything."""

import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import httpx

from tests.e2e import faults
from tests.e2e.conftest import RunningStack
from tests.faults.catalogue import Fault
from tests.faults.evidence import Documents, documents, rows
from tests.faults.load import OK, Load, Request, steady
from tests.faults.telemetry import Missing, missing
from tests.waiting import eventually

BEFORE_SECONDS: Final = 5.0
AFTER_SECONDS: Final = 20.0
RECOVERS_SECONDS: Final = 15.0
_ARRIVES_SECONDS: Final = 120.0
CALM_SECONDS: Final = 120.0
_FIRING: Final = 'ALERTS{alertstate="firing"}'


@dataclass(frozen=True)
class Outcome:
    """What one fault did."""

    fault: str
    requests: int
    statuses: Mapping[int, int]  # 0: no answer
    longest_seconds: float
    recovered_seconds: float | None  # from the fault's end; None: not within the time it was watched
    documents: Documents
    missing: Missing
    alerts: tuple[str, ...]
    hidden: bool
    loses_telemetry: bool = False

    @property
    def broken(self) -> list[str]:
        """Return every promise that was not kept."""
        well = self.recovered_seconds is not None and self.recovered_seconds <= RECOVERS_SECONDS
        late = [] if well else [f"not well again within {RECOVERS_SECONDS:.0f} s"]
        failed = sum(count for status, count in self.statuses.items() if status != OK) if self.hidden else 0
        noticed = [f"{failed} requests failed, and none should have"] if failed else []
        unseen = self.missing.spans + self.missing.lines if self.hidden and not self.loses_telemetry else 0
        untold = [f"{unseen} spans and lines are missing, and none should be"] if unseen else []
        return [*self.documents.broken, *late, *noticed, *untold]


def run(
    fault: Fault,
    stack: RunningStack,
    http: httpx.Client,
    *,
    after: float = AFTER_SECONDS,
    calm: float = CALM_SECONDS,
) -> Outcome:
    """Let a fault happen under load, and look at everything afterwards."""
    name = re.sub("[^a-z0-9]+", "-", fault.name.lower()).strip("-")
    with fault.around(stack):
        from_before = _calm(stack, http, calm)
        began = time.time()
        with steady(stack.endpoints["nginx"], f"{name}-{began:.0f}") as load:
            time.sleep(BEFORE_SECONDS)
            struck = time.time()
            with fault.strikes(stack):
                time.sleep(fault.seconds)
            over = time.time() if fault.seconds else struck
            time.sleep(after)
        alerts = _alerts(stack, http, began) - from_before
        return _looked_at(fault, stack, http, load=load, over=over, alerts=alerts)


def _looked_at(
    fault: Fault, stack: RunningStack, http: httpx.Client, *, load: Load, over: float, alerts: frozenset[str]
) -> Outcome:
    left = _missing_at_last(stack, http, load, fault.silent_seconds)
    with (
        faults.database(stack) as connection,
        httpx.Client(base_url=stack.endpoints["nginx"], trust_env=False) as api,
    ):
        found = documents(load, rows(connection, load.clients), stack.state / "uploads", api)
    return Outcome(
        fault=fault.name,
        requests=len(load.requests),
        statuses=dict(sorted(Counter(request.status for request in load.requests).items())),
        longest_seconds=max(request.seconds for request in load.requests),
        recovered_seconds=recovery(load, over, fault.quick_seconds),
        documents=found,
        missing=left,
        alerts=tuple(sorted(alerts)),
        hidden=fault.hidden,
        loses_telemetry=fault.loses_telemetry,
    )


def recovery(load: Load, over: float, quick_seconds: float = 1.0) -> float | None:
    """Return the seconds from a moment until the last request was sent that was not answered well and quickly.

    None where requests fail to the very end.
    """
    bad = [
        request.at for request in load.requests if request.at >= over and not _well(request, quick_seconds)
    ]
    if not bad:
        return 0.0
    last = max(bad)
    return last - over if any(request.at > last for request in load.requests) else None


def _well(request: Request, quick_seconds: float) -> bool:
    return request.answered_well and request.seconds < quick_seconds


def _missing_at_last(stack: RunningStack, http: httpx.Client, load: Load, silent_seconds: float) -> Missing:
    """Count what is missing once nothing more arrives."""
    found, since = None, time.monotonic()
    deadline = since + silent_seconds + _ARRIVES_SECONDS
    while time.monotonic() < min(deadline, since + silent_seconds):
        before = found
        with suppress(httpx.TransportError):
            found = missing(stack, http, load)
        if found is not None and not found.spans and not found.lines:
            break
        if found is None or found != before:
            since = time.monotonic()
        time.sleep(1)
    assert found is not None, "Jaeger or the log store does not answer"
    return found


def _calm(stack: RunningStack, http: httpx.Client, seconds: float) -> frozenset[str]:
    """Wait until no alert fires, so that those that will are this fault's; return what does not end in time."""
    with suppress(AssertionError):
        eventually(lambda: not _asked(stack, http, _FIRING), seconds=seconds)
    return frozenset(_asked(stack, http, _FIRING))


def _alerts(stack: RunningStack, http: httpx.Client, since: float) -> frozenset[str]:
    """Return the names of the alerts that fired since."""
    return _asked(stack, http, f"max_over_time({_FIRING}[{time.time() - since:.0f}s])")


def _asked(stack: RunningStack, http: httpx.Client, query: str) -> frozenset[str]:
    """Return the names of the alerts that a query finds."""
    answer = http.get(f"{stack.endpoints['prometheus']}/api/v1/query", params={"query": query})
    found = answer.raise_for_status().json()["data"]["result"]
    return frozenset(each["metric"]["alertname"] for each in found)

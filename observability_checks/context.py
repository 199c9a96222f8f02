"""What every check gets: the servers, the options, and where its findings go."""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from observability.signals import MetricSpec
from observability_checks.api import Api, Exchange
from observability_checks.contract.expected import ExpectedLine, ExpectedSpan, Facts
from observability_checks.counters import Series
from observability_checks.matching import line_problems, trace_problems
from observability_checks.metering import TRAFFIC, Meter
from observability_checks.options import Options, Targets
from observability_checks.polling import Deadline, Problems, wait_until_none
from observability_checks.report import Reporter
from observability_checks.results import Results, Stopwatch
from telemetry_queries.back_ends import BackEnds
from telemetry_queries.models import LogRecord, Trace
from telemetry_queries.sources import Source

_SETTLE_SECONDS = 15.0
# Log stores filter by time: a little before the start, for clocks that differ.
_CLOCK_SLACK_SECONDS = 60.0


@dataclass(slots=True)
class Traffic:
    """Whether every request that was sent so far is known to be counted in Prometheus."""

    counted: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """Servers, options and results of one run."""

    options: Options
    targets: Targets
    http: httpx.Client
    api: Api
    back_ends: BackEnds
    results: Results
    reporter: Reporter
    traffic: Traffic = field(default_factory=Traffic)
    started: float = field(default_factory=time.time)
    # Client names of one run are its own, so that a run finds nothing of an earlier one.
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def client_id(self, number: int) -> str:
        """Name of a tenant of this run; where robin asks who that is, one that there is a key of."""
        known = self.api.credentials.clients
        return known[number % len(known)] if known else f"check-{self.run_id}-{number}"

    def deadline(self) -> Deadline:
        """Start the time in which telemetry has to arrive."""
        return Deadline(self.options.deadline)

    def meter(self, watched: Mapping[MetricSpec, str] = TRAFFIC) -> Meter:
        """Note where the counters stand, once those of earlier requests have arrived."""
        deadline = Deadline(0 if self.traffic.counted else min(_SETTLE_SECONDS, self.options.deadline))
        return Meter(self.back_ends.prometheus, deadline, watched)

    def traces(self, correlation_id: str) -> list[Trace]:
        """Traces of a request."""
        return self.back_ends.jaeger.find(correlation_id, Source.DOCUMENT_API)

    def log_records(self, correlation_id: str) -> list[LogRecord]:
        """Log records of a request of this run."""
        return self.back_ends.logs.find(correlation_id, since=self.started - _CLOCK_SLACK_SECONDS)


@dataclass(frozen=True, slots=True)
class Group:
    """Records the findings of one kind of check."""

    context: Context
    name: str

    def add(self, name: str, problems: Sequence[str], found: str) -> None:
        """Record a check that needed no waiting."""
        self.context.results.add(self.name, name, problems, found)

    def skip(self, name: str, reason: str) -> None:
        """Record that a check could not be made."""
        self.context.results.skip(self.name, name, reason)

    def wait(self, name: str, problems: Callable[[], Problems], deadline: Deadline, found: str) -> bool:
        """Ask until there are no problems or the deadline is over, record it, and return whether there are none."""
        watch = Stopwatch()
        remaining = wait_until_none(problems, deadline)
        self.context.results.add(self.name, name, remaining, found, watch.seconds)
        return not remaining

    def answer(self, exchange: Exchange, status: int) -> bool:
        """Check status and correlation ID of an answer; False when there is no point in looking further."""
        problems = [
            *(
                []
                if exchange.status == status
                else [f"status {exchange.status}, expected {status}: {exchange.body}"]
            ),
            *id_problems(exchange),
        ]
        self.add(
            f"answer to {exchange.method} {exchange.path} ({exchange.correlation_id})",
            problems,
            f"{exchange.status} in {exchange.seconds * 1000:.0f} ms with its ID",
        )
        return exchange.status == status

    def telemetry(
        self, facts: Facts, tree: ExpectedSpan, lines: Sequence[ExpectedLine], deadline: Deadline
    ) -> None:
        """Check the trace and the log lines of one request."""
        context, correlation_id = self.context, facts.correlation_id
        self.wait(
            f"span tree of {correlation_id}",
            lambda: trace_problems(context.traces(correlation_id), tree, facts),
            deadline,
            f"{tree.name}: complete, with its attributes",
        )
        self.log_lines(
            f"log lines of {correlation_id}",
            lambda: self._line_problems(facts, lines),
            deadline,
            f"{len(lines)} expected lines, all with the trace's ID",
        )

    def log_lines(self, name: str, problems: Callable[[], Problems], deadline: Deadline, found: str) -> None:
        """Check what the log store has, unless it answers no queries."""
        if silence := self.context.back_ends.logs.silence:
            self.skip(name, silence)
        else:
            self.wait(name, problems, deadline, found)

    def _line_problems(self, facts: Facts, lines: Sequence[ExpectedLine]) -> Problems:
        traces = self.context.traces(facts.correlation_id)
        records = self.context.log_records(facts.correlation_id)
        return line_problems(records, lines, facts, traces[0].trace_id if traces else None)

    def counters(self, meter: Meter, expected: Mapping[Series, int], deadline: Deadline) -> None:
        """Check that the counters rose by exactly what was sent."""
        rises = Counter(expected)
        self.context.traffic.counted = self.wait(
            "counters in Prometheus",
            lambda: meter.problems(rises),
            deadline,
            f"{len(rises)} counters rose by exactly what was sent ({_by_metric(rises)})",
        )

    def exemplar(self, meter: Meter, exchanges: Sequence[Exchange], deadline: Deadline) -> None:
        """Check that an exemplar leads from Prometheus back to one of these requests."""
        ids = {exchange.correlation_id for exchange in exchanges}
        traces = {exchange.trace_id for exchange in exchanges if exchange.trace_id}
        self.wait(
            "exemplar in Prometheus",
            lambda: meter.exemplar_problems(ids, traces),
            deadline,
            "one leads back to a request of this check and its trace",
        )


def id_problems(exchange: Exchange) -> list[str]:
    """The answer must carry the request's correlation ID."""
    if exchange.answered_id == exchange.correlation_id and exchange.answered_id:
        return []
    return [f"X-Correlation-ID is {exchange.answered_id!r}, expected {exchange.correlation_id!r}"]


def _by_metric(rises: Mapping[Series, int]) -> str:
    totals: Counter[str] = Counter()
    for series, count in rises.items():
        totals[series.metric] += count
    return ", ".join(f"{metric} +{count}" for metric, count in sorted(totals.items()))

"""Counters of the services in Prometheus: where they stood, how much they rose, exemplars that lead back."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from observability import signals
from observability.signals import (
    HEALTH_ROUTE,
    PRINCIPAL_BY_KEY_ROUTE,
    PRINCIPAL_BY_SUBJECT_ROUTE,
    SERVICE_NAMESPACE,
    SUMMARY_JOBS_ROUTE,
    Attribute,
    MetricSpec,
)
from observability_checks.contract.expected import TABLE
from observability_checks.counters import Reading, Series, differences, reading, rise
from observability_checks.polling import Deadline, wait_until_none
from telemetry_queries.prometheus import Prometheus
from telemetry_queries.sources import Source

_SERVICES = f'job=~"{SERVICE_NAMESPACE}/({Source.DOCUMENT_API}|{Source.DATA_STORE})"'
_RECENT_SECONDS = 30
# A metric that a process sends with its first export, requests or not.
_ALWAYS_THERE = f"{signals.EVENT_LOOP_LAG.prometheus_name}{{{_SERVICES}}}"
# Whose a credential is, is asked whenever the last answer is too old, and for summaries that others have left every so
# often: nobody knows how often.
_NOT_OURS = f"{HEALTH_ROUTE}|{PRINCIPAL_BY_KEY_ROUTE}|{PRINCIPAL_BY_SUBJECT_ROUTE}|{SUMMARY_JOBS_ROUTE}"
# Counters of the API's own traffic: only the checks make them rise, if nobody else uses the stack.
TRAFFIC = {
    signals.HTTP_REQUESTS: f'{_SERVICES},path!~"{_NOT_OURS}"',
    signals.HTTP_ERRORS: f'{_SERVICES},path!~"{_NOT_OURS}"',
    signals.DATABASE_OPERATIONS: f'{_SERVICES},table="{TABLE}"',
}
# Counters that the stack's own health checks make rise at any time as well.
HEALTH = {
    signals.HTTP_REQUESTS: f'{_SERVICES},path="{HEALTH_ROUTE}"',
    signals.HEALTH_CHECKS: _SERVICES,
}


# One export gives all samples of a process the same time; a restart takes longer than this.
_SAME_EXPORT_SECONDS = 0.5


def _key(metric: MetricSpec) -> Callable[[Mapping[str, str]], Series]:
    """Sum over instances: keep the service and the metric's own labels."""

    def key(labels: Mapping[str, str]) -> Series:
        service = labels.get("job", "").removeprefix(f"{SERVICE_NAMESPACE}/")
        return Series(
            metric.prometheus_name, service, tuple(labels.get(label, "") for label in metric.labels)
        )

    return key


def _counted_by_living_processes(metric: MetricSpec, labels: str) -> str:
    """PromQL: series that the latest export of their instance holds.

    Prometheus answers with the last value of a process that is gone for five minutes more. A restarted one has the
    same labels, and when it has counted as far as the old one had, the rise would look like none.
    """
    series = f"{metric.prometheus_name}{{{labels}}}"
    latest = f"max by (job, instance) (timestamp({_ALWAYS_THERE})) - {_SAME_EXPORT_SECONDS}"
    return f"{series} and (timestamp({series}) >= on (job, instance) group_left () ({latest}))"


class Meter:
    """Remembers where the counters stood when it was made."""

    def __init__(
        self, prometheus: Prometheus, deadline: Deadline, watched: Mapping[MetricSpec, str] = TRAFFIC
    ) -> None:
        self._prometheus = prometheus
        self._watched = watched
        self.started = time.time()
        self._before: dict[MetricSpec, Reading] = {}
        wait_until_none(self._unsettled, deadline)

    def _unsettled(self) -> Sequence[str]:
        """What speaks against the reading just taken: samples that are not there yet, or series still arriving."""
        late = self._late_instances()
        earlier, self._before = self._before, self._read()
        if {metric: set(read) for metric, read in earlier.items()} != {
            metric: set(read) for metric, read in self._before.items()
        }:
            return [*late, "series are still arriving"]
        return late

    def _late_instances(self) -> Sequence[str]:
        """Instances at work that have not sent their counters since this meter was made."""
        age = f"{self.started} - max by (instance) (timestamp({_ALWAYS_THERE}))"
        late = self._prometheus.query(f"({age}) > 0 and ({age}) < {_RECENT_SECONDS}")
        return [f"{sample.labels.get('instance')} is {sample.value:.1f} s behind" for sample in late]

    def _read(self) -> dict[MetricSpec, Reading]:
        return {
            metric: reading(self._prometheus.query(_counted_by_living_processes(metric, labels)))
            for metric, labels in self._watched.items()
        }

    def risen(self) -> Counter[Series]:
        """How much every counter rose."""
        total: Counter[Series] = Counter()
        for metric, after in self._read().items():
            total += rise(self._before[metric], after, _key(metric))
        return total

    def problems(self, expected: Mapping[Series, int]) -> Sequence[str]:
        """Counters that did not rise by what was sent."""
        return differences(expected, self.risen())

    def exemplar_problems(
        self, correlation_ids: Collection[str], trace_ids: Collection[str]
    ) -> Sequence[str]:
        """Nothing when an exemplar of the requests leads to one of these requests and its trace."""
        metric = signals.HTTP_REQUEST_DURATION.prometheus_name
        expression = f'{{__name__=~"{metric}_bucket|{signals.HTTP_REQUESTS.prometheus_name}",{_SERVICES}}}'
        found = self._prometheus.exemplars(expression, self.started - 1, time.time() + 1)
        ours = [each for each in found if each.labels.get(Attribute.CORRELATION_ID) in correlation_ids]
        if any(each.labels.get("trace_id") in trace_ids for each in ours):
            return ()
        return [
            f"{len(found)} exemplars since the start, {len(ours)} of this check, none with one of its trace IDs"
        ]

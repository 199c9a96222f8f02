"""Every alert from the fault that it is about to the people that it tells, and back, on a whole stack.

Alerting runs 40 times faster than it does in production (ALERT_SPEEDUP); the real Alertmanager sends to a Slack-shaped
webhook, a PagerDuty-shaped one and a mail server, which refuse what the real ones would.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil
import pytest

from tests.e2e import faults
from tests.e2e.alerting import Alert, Notices, many_spans, old_samples, uploads
from tests.e2e.conftest import RunningStack, running_stack
from tests.queries import rules
from tests.receivers import Receivers
from tests.waiting import eventually

SPEEDUP: Final = 40
SLOTS: Final = 24  # connections of the data store to its database
SETTINGS: Final = {
    "ALERT_SPEEDUP": str(SPEEDUP),
    "DATABASE_POOL_SIZE": str(SLOTS),
    # Who waits for a lock keeps its connection for longer than it takes until somebody is told of that.
    "LOCK_TIMEOUT_SECONDS": "10",
    "STATEMENT_TIMEOUT_SECONDS": "11",
    "OTEL_BSP_MAX_QUEUE_SIZE": "512",
    "OTEL_METRIC_EXPORT_INTERVAL": "300",
}
# Each makes some eight spans, in one of two instances.
OVERFLOWING_UPLOADS: Final = 300
# From the fault to the notice, and from its end to the notice of that.
ARRIVES_SECONDS: Final = 60
RESOLVED_SECONDS: Final = 90

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk and limit memory")


@dataclass(frozen=True)
class Alerting:
    """A stack whose alerts are sent."""

    stack: RunningStack
    receivers: Receivers
    secrets: Path

    @property
    def nginx(self) -> str:
        """The way in."""
        return str(self.stack.endpoints["nginx"])

    @property
    def collector(self) -> str:
        """Where telemetry goes, as gRPC names it."""
        return httpx.URL(self.stack.endpoints["collector"]).netloc.decode()


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    """A stack of its own, since it is broken in every way; quiet at first."""
    secrets = tmp_path_factory.mktemp("secrets")
    with Receivers() as receivers, running_stack({**SETTINGS, **receivers.settings(secrets)}) as stack:
        running = Alerting(stack, receivers, secrets)
        eventually(lambda: watched(running), "everything is asked, and well", seconds=ARRIVES_SECONDS)
        eventually(lambda: not firing(running), "nothing fires at first", seconds=ARRIVES_SECONDS)
        yield running


def watched(alerting: Alerting) -> bool:
    """Whether Prometheus has asked all that it is to ask, two document APIs among them, and found it well."""
    url = f"{alerting.stack.endpoints['prometheus']}/api/v1/query"
    query = "count(probe_success == 1) == 5 and min(up) == 1"
    return bool(httpx.get(url, params={"query": query}).raise_for_status().json()["data"]["result"])


def firing(alerting: Alerting) -> set[Alert]:
    """Alerts that Alertmanager holds for active, whether they are sent or not."""
    url = f"{alerting.stack.endpoints['alertmanager']}/api/v2/alerts"
    labels = [each["labels"] for each in httpx.get(url).raise_for_status().json()]
    return {Alert(each["alertname"], each["service"], each["severity"]) for each in labels}


@dataclass(frozen=True)
class Story:
    """What is done to the stack, and which alerts come of it."""

    fault: Callable[[Alerting], AbstractContextManager[None]]
    alerts: tuple[Alert, ...]
    # Told only once the fault is mended.
    afterwards: tuple[Alert, ...] = ()
    pages: bool = True


@contextmanager
def failing(alerting: Alerting) -> Iterator[None]:
    """Every upload fails in the database."""
    with faults.failing_inserts(alerting.stack), uploads(alerting.nginx):
        yield


@contextmanager
def slow(alerting: Alerting) -> Iterator[None]:
    """Every upload takes 2.5 seconds in the database."""
    with faults.slow_inserts(alerting.stack, 2.5), uploads(alerting.nginx, at_once=SLOTS):
        yield


@contextmanager
def locked(alerting: Alerting) -> Iterator[None]:
    """More uploads than there are connections wait for a lock."""
    with faults.locked_documents(alerting.stack), uploads(alerting.nginx, at_once=2 * SLOTS):
        yield


@contextmanager
def without_data_store(alerting: Alerting) -> Iterator[None]:
    """The data store is gone, and people go on uploading."""
    with faults.stopped(alerting.stack, "data_store"), uploads(alerting.nginx):
        yield


def without_one_instance(alerting: Alerting) -> AbstractContextManager[None]:
    """One of two document APIs is gone."""
    return faults.stopped(alerting.stack, "document_api-1")


@contextmanager
def without_collector(alerting: Alerting) -> Iterator[None]:
    """The collector is gone, and so much happens that the services cannot keep all of it."""
    with faults.stopped(alerting.stack, "otelcol"), uploads(alerting.nginx) as answered:
        eventually(lambda: len(answered) >= OVERFLOWING_UPLOADS, "many uploads", seconds=ARRIVES_SECONDS)
        yield


@contextmanager
def without_jaeger(alerting: Alerting) -> Iterator[None]:
    """Jaeger is gone for longer than the collector's queue can keep spans."""
    with faults.stopped(alerting.stack, "jaeger"), many_spans(alerting.collector):
        yield


@contextmanager
def silent_services(alerting: Alerting) -> Iterator[None]:
    """The services answer, and send no telemetry."""
    alerting.stack.up(OTEL_SDK_DISABLED="true")
    try:
        yield
    finally:
        alerting.stack.up()


@contextmanager
def wrong_key(alerting: Alerting) -> Iterator[None]:
    """PagerDuty refuses the key, and there is something to tell."""
    file = alerting.secrets / "pagerduty_routing_key"
    right = file.read_text()
    file.write_text("00000000000000000000000000000000\n")
    try:
        with faults.stopped(alerting.stack, "nginx"):
            yield
    finally:
        file.write_text(right)
        alerting.receivers.pagerduty.faults.clear()


def late(alerting: Alerting) -> AbstractContextManager[None]:
    """Samples come that are too old for Prometheus."""
    return old_samples(alerting.collector)


@contextmanager
def short_of_room(alerting: Alerting) -> Iterator[None]:
    """A process has hardly more memory than it uses, and the disk is full."""
    stack = alerting.stack
    (pid,) = faults.listeners(stack.endpoints["document_api"][0])
    limit = int(psutil.Process(pid).memory_info().rss / 0.85)
    with faults.memory_limit(pid, limit), faults.full_disk(stack.state / "uploads"):
        yield


@contextmanager
def other_rules(alerting: Alerting) -> Iterator[None]:
    """Traffic is expected that does not come, and a backup that was never made; and a rule cannot be evaluated."""
    expected = (
        "[{record: 'robin:expected_requests_per_second', expr: vector(100)},"
        " {record: 'robin:longest_seconds_without_backup', expr: vector(3600)}]"
    )
    failing = """[{record: f, expr: 'label_replace(up, "job", "", "", "") * on (job) group_left () up'}]"""
    with (
        faults.rules(alerting.stack, "expectations.yml", f"{{groups: [{{name: e, rules: {expected}}}]}}"),
        faults.rules(alerting.stack, "failing.yml", f"{{groups: [{{name: f, rules: {failing}}}]}}"),
    ):
        yield


# Tested by promtool alone: alert, severity, what tells it from others of its name.
NOT_PROVOKED: Final = {
    ("HighErrorRate", "warning", ""): "the critical one differs in its numbers, and silences it",
    ("HighLatency", "warning", ""): "the critical one differs in its numbers, and silences it",
    ("UploadsDiskFilling", "warning", ""): "the critical one differs in its numbers, and silences it",
    ("ExportQueueFilling", "warning", ""): "the critical one differs in its numbers, and silences it",
    ("ErrorBudgetBurn", "critical", "6h"): "it takes minutes, however fast; 1h comes out of the same lines",
    ("ErrorBudgetBurn", "warning", "1d"): "it takes minutes, however fast; 1h comes out of the same lines",
    ("ErrorBudgetBurn", "warning", "3d"): "it takes minutes, however fast; 1h comes out of the same lines",
    ("ServiceAbsent", "warning", "probe"): "a Prometheus whose targets somebody has taken away",
    ("PrometheusRejectingSamples", "warning", "scrape"): "a program that lies about its metrics' time",
    (
        "NotificationsFailing",
        "warning",
        "prometheus",
    ): "nobody could be told: Prometheus does not reach Alertmanager",
    (
        "NotificationsFailing",
        "warning",
        "discovery",
    ): "nobody could be told: Prometheus knows no Alertmanager",
}
STORIES: Final = {
    "requests fail": Story(
        failing,
        (
            Alert("HighErrorRate", "document-api", "critical"),
            Alert("HighErrorRate", "data-store", "critical"),
            Alert("DatabaseErrors", "data-store"),
            Alert("ErrorBudgetBurn", "document-api", "critical", kind="1h"),
        ),
    ),
    "the database is slow": Story(
        slow,
        (
            Alert("HighLatency", "document-api", "critical"),
            Alert("DatabaseHighLatency", "data-store"),
            Alert("SlowQueries", "data-store"),
        ),
    ),
    "the pool is full": Story(
        locked,
        (
            Alert("ConnectionPoolExhausted", "data-store", kind="in_use"),
            Alert("ConnectionPoolExhausted", "data-store", kind="timeout"),
        ),
    ),
    "the data store is gone": Story(without_data_store, (Alert("ServiceDown", "data-store", "critical"),)),
    "one instance is gone": Story(without_one_instance, (Alert("ServiceDown", "document-api"),)),
    "the collector is gone": Story(
        without_collector,
        (Alert("CollectorDown", "otel-collector", "critical"),),
        afterwards=(Alert("TelemetryDropped", "document-api"),),
    ),
    "jaeger is gone": Story(
        without_jaeger,
        (
            Alert("BackEndDown", "jaeger"),
            Alert("ExporterFailing", "otel-collector"),
            Alert("ExportQueueFilling", "otel-collector", "critical"),
            Alert("CollectorRefusing", "otel-collector"),
            Alert("CollectorDropping", "otel-collector"),
        ),
    ),
    "the services are silent": Story(
        silent_services,
        (
            Alert("ServiceAbsent", "document-api", kind="metrics"),
            Alert("ServiceAbsent", "data-store", kind="metrics"),
        ),
    ),
    "the key is wrong": Story(
        wrong_key,
        (
            Alert("ServiceDown", "nginx", "critical"),
            Alert("NotificationsFailing", "alertmanager", kind="alertmanager"),
        ),
        pages=False,
    ),
    "room is short": Story(
        short_of_room,
        (Alert("HighMemory", "document-api"), Alert("UploadsDiskFilling", "document-api", "critical")),
    ),
    "other rules": Story(
        other_rules,
        (
            Alert("LowThroughput", "document-api"),
            Alert("BackupTooOld", "document-api"),
            Alert("RuleEvaluationFailing", "prometheus"),
        ),
    ),
    "samples are late": Story(
        late,
        (
            Alert("PrometheusRejectingSamples", "prometheus", kind="otlp"),
            Alert("CollectorDropping", "otel-collector"),
        ),
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_root if name == "room is short" else ()) for name in STORIES]
)
def test_a_fault_is_told_and_so_is_its_end(
    alerting: Alerting, name: str, record_property: Callable[[str, object], None]
):
    """The team's channel hears of every alert, and of its end, whoever is on call of the critical ones."""
    story = STORIES[name]
    began = Notices(alerting.receivers, time.monotonic())
    with story.fault(alerting):
        wait_until_all(story.alerts, began.told, began, ARRIVES_SECONDS)
        mended = Notices(alerting.receivers, time.monotonic())
    wait_until_all(story.alerts, mended.resolved, mended, RESOLVED_SECONDS)
    wait_until_all(story.afterwards, mended.told, mended, ARRIVES_SECONDS)
    if story.pages:
        critical = [alert for alert in story.alerts if alert.severity == "critical"]
        wait_until_all(critical, lambda alert: began.paged(alert, "trigger"), began, ARRIVES_SECONDS)
        wait_until_all(critical, lambda alert: mended.paged(alert, "resolve"), mended, ARRIVES_SECONDS)
    assert alerting.receivers.faults == []
    for alert in story.alerts:
        seconds = began.seconds(began.told(alert)), mended.seconds(mended.resolved(alert))
        record_property("alert", (name, alert, *seconds))


def wait_until_all(
    alerts: Iterable[Alert], arrived: Callable[[Alert], object], notices: Notices, seconds: float
) -> None:
    """Wait until something has arrived for each of these alerts."""
    eventually(
        lambda: all(map(arrived, alerts)),
        lambda: f"all of {', '.join(map(str, alerts))}; the team was told {notices.titles()}",
        seconds=seconds,
    )


def test_every_alert_is_provoked_here_or_it_is_said_why_not():
    """An alert that nobody has seen fire may be one that cannot."""
    stories = [alert for story in STORIES.values() for alert in (*story.alerts, *story.afterwards)]
    provoked = {(alert.name, alert.severity, alert.kind) for alert in stories}
    common = {"severity", "service", "area"}
    known = {
        (
            rule["alert"],
            rule["labels"]["severity"],
            "".join(rule["labels"][name] for name in {*rule["labels"]} - common),
        )
        for rule in rules()
        if "alert" in rule
    }
    assert provoked | NOT_PROVOKED.keys() == known
    assert not provoked & NOT_PROVOKED.keys()


def test_what_stands_is_escalated_by_mail_and_its_consequences_are_not_told(alerting: Alerting):
    """Uploads fail because the data store is gone: one alert says so, with links that lead somewhere."""
    down = Alert("ServiceDown", "data-store", "critical")
    consequence = Alert("HighErrorRate", "document-api", "critical")
    eventually(lambda: consequence not in firing(alerting), "a quiet start", seconds=RESOLVED_SECONDS)
    notices = Notices(alerting.receivers, time.monotonic())
    with without_data_store(alerting):
        eventually(lambda: consequence in firing(alerting), "the consequence", seconds=ARRIVES_SECONDS)
        eventually(
            lambda: notices.mailed(f"CRITICAL {down.service}: {down.name}"), "a mail", seconds=ARRIVES_SECONDS
        )
        also_down = {alert.service for alert in firing(alerting) if alert.name == down.name}
    eventually(lambda: notices.resolved(down), "the end", seconds=RESOLVED_SECONDS)
    assert notices.told(down)
    assert notices.paged(down, "trigger")
    assert also_down == {down.service}, "document-api cannot be well without it"
    assert not notices.told(consequence), "neither before the end nor soon after it"
    (runbook,) = set(re.findall(r"<([^|>]+/ServiceDown.md)\|", str(notices.texts())))
    assert httpx.get(runbook).raise_for_status().text.startswith("# ServiceDown")

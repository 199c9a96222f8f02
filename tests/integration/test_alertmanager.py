"""Alertmanager tells the right people, once, in words that help, and keeps quiet what is a consequence."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.alertmanager import (
    SPEEDUP,
    Alert,
    Alertmanager,
    alert,
    inhibit_rules,
    labels_of,
    running_alertmanager,
)
from tests.ports import free_port
from tests.receivers import Receivers, SlackReceiver
from tests.waiting import eventually

ESCALATION_SECONDS: Final = 15 * 60 / SPEEDUP
CRITICAL: Final = alert("HighErrorRate", severity="critical", service="document-api")
WARNING: Final = alert("HighLatency", severity="warning", service="data-store")
LINKS: Final = (
    "<http://localhost:3000/d/robin-overview?var-service=document-api|Dashboard>"
    " | <http://localhost:9090/user/runbooks/HighErrorRate.md|Runbook> | <{alertmanager}|Alertmanager>"
)
Start = Callable[[Mapping[str, str]], Alertmanager]


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder for secrets."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    return folder


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    """Slack, PagerDuty and a mail server, which must find no fault with what they are sent."""
    with Receivers() as receivers:
        yield receivers
    assert receivers.faults == []


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Alertmanager with these settings."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(running_alertmanager(tmp_path, settings))


@pytest.fixture
def alertmanager(start: Start, receivers: Receivers, secrets: Path) -> Alertmanager:
    """An Alertmanager that notifies all receivers."""
    return start(receivers.settings(secrets))


def shown(slack: SlackReceiver) -> list[dict[str, Any]]:
    """Return what Slack shows."""
    return [received.content["attachments"][0] for received in slack.received]


def titles(slack: SlackReceiver) -> list[str]:
    """Return the titles of what Slack shows."""
    return [attachment["title"] for attachment in shown(slack)]


def subjects(receivers: Receivers) -> list[str]:
    """Return the subjects of the mails."""
    return [received.content.subject for received in receivers.mail.received]


def actions(receivers: Receivers) -> list[str]:
    """Return what PagerDuty is to do."""
    return [received.content["event_action"] for received in receivers.pagerduty.received]


def test_a_severity_arrives_where_it_belongs_and_nowhere_else(
    alertmanager: Alertmanager, receivers: Receivers
) -> None:
    """Everything goes to the team, what is critical to whoever is on call, and by mail when it still stands later."""
    alertmanager.fire(CRITICAL, WARNING)
    eventually(lambda: receivers.mail.received, "the mail arrives")

    assert sorted(titles(receivers.slack)) == [
        "CRITICAL document-api: HighErrorRate (1 firing)",
        "WARNING data-store: HighLatency (1 firing)",
    ]
    (page,) = receivers.pagerduty.received
    assert page.content["payload"]["class"] == "HighErrorRate"
    assert subjects(receivers) == ["CRITICAL document-api: HighErrorRate (1 firing)"]
    assert receivers.mail.received[0].at - page.at > 0.9 * ESCALATION_SECONDS


def test_an_alert_without_a_severity_still_reaches_the_team(
    alertmanager: Alertmanager, receivers: Receivers
) -> None:
    """Somebody's own rule may have forgotten it."""
    alertmanager.fire(alert("Odd", severity="", service="nginx"))
    eventually(lambda: receivers.slack.received, "Slack is told")

    assert "nginx: Odd" in titles(receivers.slack)[0]
    assert receivers.pagerduty.received == []


def test_alerts_of_one_name_and_service_are_told_together(
    alertmanager: Alertmanager, receivers: Receivers
) -> None:
    """Another service's are told apart."""
    alertmanager.fire(
        *(
            alert("HighMemory", severity="warning", service=service, instance=instance)
            for service, instance in (("document-api", "a"), ("document-api", "b"), ("data-store", "c"))
        )
    )
    eventually(lambda: len(receivers.slack.received) == 2, "Slack is told of both services")

    assert sorted(titles(receivers.slack)) == [
        "WARNING data-store: HighMemory (1 firing)",
        "WARNING document-api: HighMemory (2 firing)",
    ]


def test_slack_shows_state_numbers_and_links(alertmanager: Alertmanager, receivers: Receivers) -> None:
    """A reader knows what is wrong, since when, and where to go on."""
    alertmanager.fire(CRITICAL)
    eventually(lambda: receivers.slack.received, "Slack is told")
    alertmanager.resolve(CRITICAL)
    eventually(lambda: len(receivers.slack.received) == 2, "Slack is told that it is over")

    firing, resolved = shown(receivers.slack)
    assert firing["color"] == "danger"
    assert firing["title_link"] == CRITICAL["annotations"]["dashboard_url"]
    summary, description, state, nothing, links = firing["text"].split("\n")
    assert summary == "*document-api has HighErrorRate*"
    assert description == "12.3% of document-api."
    assert state.startswith("_critical, document-api, since 20")
    assert nothing == ""
    assert links == LINKS.format(alertmanager=alertmanager.external_url)
    assert resolved["color"] == "good"
    assert resolved["title"] == "RESOLVED CRITICAL document-api: HighErrorRate"
    assert "document-api, from 20" in resolved["text"]


def test_a_warning_has_its_own_colour(alertmanager: Alertmanager, receivers: Receivers) -> None:
    """It is seen from afar that it can wait."""
    alertmanager.fire(WARNING)
    eventually(lambda: receivers.slack.received, "Slack is told")
    assert shown(receivers.slack)[0]["color"] == "warning"


def test_slack_shows_what_an_alert_says_letter_by_letter(
    alertmanager: Alertmanager, receivers: Receivers
) -> None:
    """Three characters would be read as Slack's own."""
    alertmanager.fire(alert("Odd", severity="warning", service="nginx", path="<!channel> & > 1"))
    eventually(lambda: receivers.slack.received, "Slack is told")
    assert "12.3% of nginx, &lt;!channel&gt; &amp; &gt; 1." in shown(receivers.slack)[0]["text"]


def test_many_alerts_are_counted_not_listed(alertmanager: Alertmanager, receivers: Receivers) -> None:
    """A message stays short enough to be read."""
    alertmanager.fire(
        *(alert("Odd", severity="warning", service="nginx", number=str(number)) for number in range(12))
    )
    eventually(lambda: receivers.slack.received, "Slack is told")

    (attachment,) = shown(receivers.slack)
    assert attachment["title"] == "WARNING nginx: Odd (12 firing)"
    assert attachment["text"].count("*nginx has Odd*") == 10
    assert "\n... and 2 more\n" in attachment["text"]


def test_pagerduty_is_told_what_it_shows(alertmanager: Alertmanager, receivers: Receivers) -> None:
    """Text stays text, although Alertmanager would read "12: 3" as YAML."""
    odd = alert("Odd", severity="critical", service="nginx", area="availability", path="12: 3")
    alertmanager.fire(odd)
    eventually(lambda: receivers.pagerduty.received, "PagerDuty is told")

    event = receivers.pagerduty.received[0].content
    details = event["payload"].pop("custom_details")
    assert event["payload"] == {
        "summary": "CRITICAL nginx: Odd (1 firing): nginx has Odd",
        "source": "nginx",
        "severity": "critical",
        "component": "nginx",
        "class": "Odd",
        "group": "availability",
    }
    assert details["firing"].startswith("nginx has Odd\n12.3% of nginx, 12: 3.\nsince 20")
    assert details["resolved"] == "none"
    assert (details["num_firing"], details["num_resolved"]) == (1, 0)
    assert event["client"] == "robin"
    assert event["client_url"] == alertmanager.external_url
    assert event["links"] == [
        {"text": "Dashboard", "href": odd["annotations"]["dashboard_url"]},
        {"text": "Runbook", "href": odd["annotations"]["runbook_url"]},
    ]


def test_what_is_over_is_told_to_all_who_were_told(alertmanager: Alertmanager, receivers: Receivers) -> None:
    """PagerDuty closes the same incident."""
    alertmanager.fire(CRITICAL)
    eventually(lambda: receivers.mail.received, "the mail arrives")
    alertmanager.resolve(CRITICAL)
    eventually(lambda: len(receivers.mail.received) == 2, "the second mail arrives")

    assert actions(receivers) == ["trigger", "resolve"]
    assert len({received.content["dedup_key"] for received in receivers.pagerduty.received}) == 1
    assert titles(receivers.slack)[-1] == "RESOLVED CRITICAL document-api: HighErrorRate"
    assert subjects(receivers)[-1] == "RESOLVED CRITICAL document-api: HighErrorRate"


def test_a_mail_says_all_as_text_and_as_html(alertmanager: Alertmanager, receivers: Receivers) -> None:
    """Both have the numbers and the links."""
    alertmanager.fire(alert("Odd", severity="critical", service="nginx", path="<b> & more"))
    eventually(lambda: receivers.mail.received, "the mail arrives")

    mail = receivers.mail.received[0].content
    assert (mail.sender, mail.recipients) == ("robin@example.org", ["oncall@example.org"])
    assert "12.3% of nginx, <b> & more.\ncritical, nginx, since 20" in mail.text
    assert "Dashboard: http://localhost:3000/d/robin-overview?var-service=nginx\n" in mail.text
    assert "Runbook: http://localhost:9090/user/runbooks/Odd.md\n" in mail.text
    assert "12.3% of nginx, &lt;b&gt; &amp; more." in mail.html
    assert '<a href="http://localhost:3000/d/robin-overview?var-service=nginx">Dashboard</a>' in mail.html
    assert '<a href="http://localhost:9090/user/runbooks/Odd.md">Runbook</a>' in mail.html


def test_what_is_mended_in_time_is_not_mailed(alertmanager: Alertmanager, receivers: Receivers) -> None:
    """A mail is for what still stands a quarter of an hour later."""
    alertmanager.fire(CRITICAL)
    eventually(lambda: actions(receivers) == ["trigger"], "PagerDuty is told")
    alertmanager.resolve(CRITICAL)
    eventually(lambda: actions(receivers) == ["trigger", "resolve"], "PagerDuty is told that it is over")
    alertmanager.fire(alert("Later", severity="critical", service="nginx"))
    eventually(lambda: receivers.mail.received, "a mail arrives")
    assert subjects(receivers) == ["CRITICAL nginx: Later (1 firing)"]


def test_with_no_secret_alerts_are_seen_and_nothing_fails(start: Start, tmp_path: Path) -> None:
    """The stack runs as it is cloned, without a folder for secrets even."""
    alertmanager = start({})
    alertmanager.fire(CRITICAL, WARNING)
    eventually(lambda: "aggrGroup" in alertmanager.log.read_text(), "it has told everybody, namely nobody")

    assert {listed["labels"]["alertname"] for listed in alertmanager.alerts()} == {
        "HighErrorRate",
        "HighLatency",
    }
    assert {listed["status"]["state"] for listed in alertmanager.alerts()} == {"active"}
    assert alertmanager.count("alertmanager_notifications_failed_total") == 0
    assert alertmanager.count("alertmanager_notifications_total") == 0
    assert "notifications: Slack off, PagerDuty off, email off" in alertmanager.log.read_text()


def test_with_slacks_secret_alone_the_others_stay_silent(
    start: Start, receivers: Receivers, secrets: Path
) -> None:
    """Each receiver is switched on by itself."""
    (secrets / "slack_webhook_url").write_text(receivers.slack.url)
    alertmanager = start({"ALERT_SECRETS_DIR": str(secrets)})
    alertmanager.fire(CRITICAL)
    eventually(lambda: receivers.slack.received, "Slack is told")

    assert alertmanager.count("alertmanager_notifications_total") == 1
    assert alertmanager.count("alertmanager_notifications_failed_total") == 0
    assert "notifications: Slack on, PagerDuty off, email off" in alertmanager.log.read_text()


def test_a_secret_that_changes_is_used_without_a_restart(
    alertmanager: Alertmanager, receivers: Receivers, secrets: Path
) -> None:
    """A webhook that has leaked is replaced at once."""
    alertmanager.fire(WARNING)
    eventually(lambda: receivers.slack.received, "Slack is told")
    with SlackReceiver() as other:
        (secrets / "slack_webhook_url").write_text(other.url)
        alertmanager.fire(CRITICAL)
        eventually(lambda: other.received, "the other webhook is told")
        assert titles(other) == ["CRITICAL document-api: HighErrorRate (1 firing)"]
    assert titles(receivers.slack) == ["WARNING data-store: HighLatency (1 firing)"]


def test_no_secret_is_in_the_configuration_or_the_log(
    start: Start, receivers: Receivers, secrets: Path
) -> None:
    """Not when it works, not when it fails."""
    settings = receivers.settings(secrets)
    nobody = f"http://127.0.0.1:{free_port()}/services/a-secret-path"
    (secrets / "slack_webhook_url").write_text(nobody)
    alertmanager = start(settings)
    alertmanager.fire(CRITICAL)
    eventually(lambda: receivers.mail.received, "the mail arrives")
    eventually(
        lambda: alertmanager.count("alertmanager_notification_requests_failed_total", integration="slack"),
        "Slack is not reached",
    )

    said = alertmanager.log.read_text() + alertmanager.config.read_text()
    assert "connection refused" in said
    for secret in (nobody, "a-secret-path", receivers.pagerduty.routing_key, receivers.mail.password):
        assert secret not in said
    assert alertmanager.config.stat().st_mode & 0o077 == 0


def test_no_mail_is_sent_in_the_clear_unless_one_says_so(
    start: Start, receivers: Receivers, secrets: Path
) -> None:
    """This mail server offers no TLS, hence is sent nothing."""
    settings = receivers.settings(secrets)
    del settings["ALERT_SMTP_REQUIRE_TLS"]
    alertmanager = start(settings)
    alertmanager.fire(CRITICAL)
    eventually(
        lambda: alertmanager.count("alertmanager_notification_requests_failed_total", integration="email"),
        "the mail is not sent",
    )
    assert receivers.mail.received == []


def test_a_consequence_is_not_told_but_seen(alertmanager: Alertmanager, receivers: Receivers) -> None:
    """It is still there for whoever looks, and told when it outlives its cause."""
    cause = alert("ServiceDown", severity="critical", service="data-store", area="availability")
    alertmanager.fire(cause, CRITICAL)
    eventually(lambda: receivers.mail.received, "the mail arrives")
    assert titles(receivers.slack) == ["CRITICAL data-store: ServiceDown (1 firing)"]
    assert [listed["status"]["state"] for listed in alertmanager.alerts()].count("suppressed") == 1

    alertmanager.resolve(cause)
    eventually(lambda: len(receivers.slack.received) == 3, "Slack is told of both")
    assert sorted(titles(receivers.slack)[1:]) == [
        "CRITICAL document-api: HighErrorRate (1 firing)",
        "RESOLVED CRITICAL data-store: ServiceDown",
    ]


def down(service: str) -> Alert:
    """Return the alert that a service is down."""
    return alert("ServiceDown", severity="critical", service=service, area="availability")


def symptom(service: str, area: str) -> Alert:
    """Return an alert about what a service does."""
    return alert("Symptom", severity="warning", service=service, area=area)


def absent(service: str, missing: str) -> Alert:
    """Return the alert that something of a service does not arrive."""
    return alert("ServiceAbsent", severity="warning", service=service, area="availability", missing=missing)


def pipeline(name: str) -> Alert:
    """Return an alert of the collector."""
    return alert(name, severity="warning", service="otel-collector", area="pipeline")


COLLECTOR_DOWN: Final = alert("CollectorDown", severity="critical", service="otel-collector", area="pipeline")
SYMPTOMS: Final = ("requests", "slo", "database")
SERVICES: Final = ("document-api", "data-store")
# Rule: what fires, what it silences, and what not.
INHIBITION: Final[dict[str, tuple[Alert, list[Alert], list[Alert]]]] = {
    "critical over warning": (
        alert("Burn", severity="critical", service="document-api", slo="latency"),
        [alert("Burn", severity="warning", service="document-api", slo="latency")],
        [
            alert("Burn", severity="warning", service="document-api", slo="availability"),
            alert("Burn", severity="warning", service="data-store", slo="latency"),
            alert("Other", severity="warning", service="document-api", slo="latency"),
        ],
    ),
    "service down over its own symptoms": (
        down("document-api"),
        [symptom("document-api", area) for area in SYMPTOMS],
        [
            *(symptom("data-store", area) for area in SYMPTOMS),
            symptom("document-api", "resources"),  # a full disk is what takes it down
            symptom("document-api", "pipeline"),
            symptom("document-api", "availability"),
        ],
    ),
    "service down over its missing metrics": (
        down("document-api"),
        [absent("document-api", "metrics")],
        [absent("document-api", "probe"), absent("data-store", "metrics")],
    ),
    "data-store down over the symptoms of document-api": (
        down("data-store"),
        [symptom("document-api", area) for area in SYMPTOMS],
        [symptom("document-api", "resources"), symptom("nginx", "requests")],
    ),
    "postgresql down over the symptoms of both services": (
        down("postgresql"),
        [symptom(service, area) for service in SERVICES for area in SYMPTOMS],
        [*(symptom(service, "resources") for service in SERVICES), symptom("nginx", "requests")],
    ),
    "blackbox exporter down over probes that are not made": (
        alert("BackEndDown", severity="warning", service="blackbox-exporter", area="pipeline"),
        [absent("document-api", "probe")],
        [absent("document-api", "metrics"), pipeline("CollectorRefusing")],
    ),
    "collector down over what is measured through it": (
        COLLECTOR_DOWN,
        [
            absent("document-api", "metrics"),
            alert("LowThroughput", severity="warning", service="document-api"),
            *map(
                pipeline,
                (
                    "CollectorRefusing",
                    "CollectorDropping",
                    "ExportQueueFilling",
                    "ExporterFailing",
                    "TelemetryDropped",
                ),
            ),
        ],
        [
            absent("document-api", "probe"),
            *map(
                pipeline,
                (
                    "BackEndDown",
                    "PrometheusRejectingSamples",
                    "RuleEvaluationFailing",
                    "NotificationsFailing",
                ),
            ),
        ],
    ),
}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """An Alertmanager that tells nobody."""
    with running_alertmanager(tmp_path_factory.mktemp("quiet"), {}) as alertmanager:
        yield alertmanager


def test_every_inhibition_has_a_case() -> None:
    """A rule that is added is tried."""
    assert [rule["name"] for rule in inhibit_rules()] == list(INHIBITION)


@pytest.mark.parametrize("rule", INHIBITION)
def test_a_cause_silences_each_of_its_consequences(quiet: Alertmanager, rule: str) -> None:
    """Each is heard before the cause is there, and when it is over."""
    cause, silenced, _ = INHIBITION[rule]
    for consequence in silenced:
        _silences(quiet, cause, consequence)


@pytest.mark.parametrize("rule", INHIBITION)
def test_a_cause_silences_nothing_else(quiet: Alertmanager, rule: str) -> None:
    """What is no consequence is heard beside it, and so is the cause itself."""
    cause, silenced, heard = INHIBITION[rule]
    with quiet.firing(*heard), quiet.firing(cause, silenced[0]):
        eventually(quiet.inhibited, "something is silent")
        assert quiet.inhibited() == labels_of(silenced[:1])


def _silences(alertmanager: Alertmanager, cause: Alert, consequence: Alert) -> None:
    with alertmanager.firing(consequence):
        assert alertmanager.inhibited() == []
        with alertmanager.firing(cause):
            silent = labels_of([consequence])
            eventually(lambda: alertmanager.inhibited() == silent, f"{consequence} is silent")
        eventually(lambda: alertmanager.inhibited() == [], f"{consequence} is heard")


def test_one_instance_that_is_down_silences_nothing(quiet: Alertmanager) -> None:
    """The others serve, and what they do badly is heard."""
    instance = alert(
        "ServiceDown", severity="warning", service="document-api", area="availability", instance="one"
    )
    with quiet.firing(instance, *(symptom("document-api", area) for area in SYMPTOMS)):
        assert quiet.inhibited() == []
        with quiet.firing(down("document-api")):
            eventually(lambda: len(quiet.inhibited()) == 1 + len(SYMPTOMS), "all are silent at last")

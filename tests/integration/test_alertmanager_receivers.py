"""The receivers of the tests take what the real ones take, and refuse what those refuse."""

import copy
import smtplib
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any, Final

import httpx
import pytest

from tests.receivers import Mail, MailReceiver, PagerDutyReceiver, SlackReceiver

Json = dict[str, Any]
Break = Callable[[Json], object]
MESSAGE: Final[Json] = {
    "attachments": [
        {
            "title": "Title",
            "title_link": "https://example.org/",
            "text": "1 &lt; 2 <https://example.org/?a=1&amp;b=2|Link>",
            "fallback": "Title",
            "color": "#a1b2c3",
            "mrkdwn_in": ["text"],
        }
    ]
}
EVENT: Final[Json] = {
    "routing_key": PagerDutyReceiver.routing_key,
    "event_action": "trigger",
    "dedup_key": "key",
    "payload": {
        "summary": "Summary",
        "source": "nginx",
        "severity": "critical",
        "custom_details": {"a": 1},
    },
    "links": [{"href": "https://example.org/", "text": "Link"}],
    "images": [{"src": "https://example.org/"}],
}


@pytest.fixture
def slack() -> Iterator[SlackReceiver]:
    """Slack."""
    with SlackReceiver() as receiver:
        yield receiver


@pytest.fixture
def pagerduty() -> Iterator[PagerDutyReceiver]:
    """PagerDuty."""
    with PagerDutyReceiver() as receiver:
        yield receiver


@pytest.fixture
def mail() -> Iterator[MailReceiver]:
    """A mail server."""
    with MailReceiver() as receiver:
        yield receiver


def test_slack_takes_what_has_its_form(slack: SlackReceiver) -> None:
    """And answers as Slack does."""
    answer = httpx.post(slack.url, json=MESSAGE)
    assert (answer.status_code, answer.text) == (200, "ok")
    assert [received.content for received in slack.received] == [MESSAGE]
    assert slack.faults == []


BAD_MESSAGES: Final[dict[str, Break]] = {
    "no_text": lambda message: message.update(attachments=[]),
    "101 attachments": lambda message: message.update(attachments=message["attachments"] * 101),
    "attachment has an unknown field colour": lambda message: _first(message).update(colour="good"),
    "an attachment has no fallback": lambda message: _first(message).pop("fallback"),
    "an attachment has neither text nor title": lambda message: _first(message).update(title="", text=""),
    "color is 'red'": lambda message: _first(message).update(color="red"),
    "title_link is 'here'": lambda message: _first(message).update(title_link="here"),
    "mrkdwn_in is ['title']": lambda message: _first(message).update(mrkdwn_in=["title"]),
    "title is 1025 characters long": lambda message: _first(message).update(title="a" * 1025),
    "text has <, > or &": lambda message: _first(message).update(text="1 < 2"),
    "neither a link nor escaped: '<|Link>'": lambda message: _first(message).update(text="<|Link>"),
}


def _first(message: Json) -> Json:
    attachment: Json = message["attachments"][0]
    return attachment


@pytest.mark.parametrize("fault", BAD_MESSAGES)
def test_slack_refuses_what_has_not(slack: SlackReceiver, fault: str) -> None:
    """The fault is remembered, the message is not."""
    message = copy.deepcopy(MESSAGE)
    BAD_MESSAGES[fault](message)
    assert httpx.post(slack.url, json=message).status_code == 400
    assert slack.received == []
    assert fault in slack.faults[0]


def test_pagerduty_takes_what_has_its_form(pagerduty: PagerDutyReceiver) -> None:
    """To resolve, it needs the key alone."""
    resolve = {"routing_key": pagerduty.routing_key, "event_action": "resolve", "dedup_key": "key"}
    assert [httpx.post(pagerduty.url, json=event).status_code for event in (EVENT, resolve)] == [202, 202]
    assert [received.content for received in pagerduty.received] == [EVENT, resolve]
    assert pagerduty.faults == []


BAD_EVENTS: Final[dict[str, Break]] = {
    "routing_key is wrong": lambda event: event.update(routing_key="short"),
    "event_action is 'open'": lambda event: event.update(event_action="open"),
    "resolve without a dedup_key": lambda event: event.update(event_action="resolve", dedup_key=""),
    "dedup_key is 256 characters long": lambda event: event.update(dedup_key="a" * 256),
    "trigger without a payload": lambda event: event.pop("payload"),
    "event has an unknown field service_key": lambda event: event.update(service_key="a"),
    "client is 1": lambda event: event.update(client=1),
    "payload without summary": lambda event: event["payload"].update(summary=""),
    "payload without source": lambda event: event["payload"].pop("source"),
    "severity is 'fatal'": lambda event: event["payload"].update(severity="fatal"),
    "summary is 1025 characters long": lambda event: event["payload"].update(summary="a" * 1025),
    "custom_details is 'text'": lambda event: event["payload"].update(custom_details="text"),
    "payload has an unknown field details": lambda event: event["payload"].update(details={}),
    "links: href is ''": lambda event: event["links"][0].update(href=""),
    "images: src is None": lambda event: event["images"][0].pop("src"),
    "bytes": lambda event: event["payload"].update(custom_details={"a": "a" * 512_000}),
}


@pytest.mark.parametrize("fault", BAD_EVENTS)
def test_pagerduty_refuses_what_has_not(pagerduty: PagerDutyReceiver, fault: str) -> None:
    """The answer says why, as PagerDuty's does."""
    event = copy.deepcopy(EVENT)
    BAD_EVENTS[fault](event)
    answer = httpx.post(pagerduty.url, json=event)
    assert answer.status_code == 400
    assert answer.json()["errors"] == pagerduty.faults
    assert pagerduty.received == []
    assert fault in pagerduty.faults[0]


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, "the content type is text/plain"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, "no JSON: "),
        ({"json": []}, "no JSON object"),
    ],
)
def test_what_is_no_json_is_refused(slack: SlackReceiver, request_: Json, fault: str) -> None:
    """Before anything else is looked at."""
    assert httpx.post(slack.url, **request_).status_code == 400
    assert slack.faults[0].startswith(fault)


def test_nobody_is_at_another_path(slack: SlackReceiver) -> None:
    """A webhook's path is its secret."""
    assert httpx.post(f"{slack.url}-", json=MESSAGE).status_code == 400
    assert slack.received == []


def message(*, text: str = "Text\n", html: str | None = "<p>Text</p>\n") -> EmailMessage:
    """Return a mail that has the form."""
    mail = EmailMessage()
    mail["From"], mail["To"] = "robin@example.org", "oncall@example.org"
    mail["Subject"], mail["Date"] = "Subject", "Wed, 25 Nov 2026 03:00:00 +0000"
    mail["Message-Id"] = "<1@example.org>"
    mail.set_content(text)
    if html:
        mail.add_alternative(html, subtype="html")
    return mail


def send(receiver: MailReceiver, mail: EmailMessage, *, password: str | None = MailReceiver.password) -> None:
    """Send a mail."""
    host, _, port = receiver.address.partition(":")
    with smtplib.SMTP(host, int(port)) as client:
        if password:
            client.login(receiver.username, password)
        client.sendmail("robin@example.org", ["oncall@example.org"], mail.as_bytes())


def test_the_mail_server_takes_what_has_the_form(mail: MailReceiver) -> None:
    """And hands it on in parts."""
    send(mail, message())
    assert [received.content for received in mail.received] == [
        Mail("robin@example.org", ["oncall@example.org"], "Subject", "Text\n", "<p>Text</p>\n")
    ]
    assert mail.faults == []


def _without(name: str) -> EmailMessage:
    mail = message()
    del mail[name]
    return mail


def _with(name: str, value: str) -> EmailMessage:
    mail = _without(name)
    mail[name] = value
    return mail


@pytest.mark.parametrize(
    ("mail_", "fault"),
    [
        *((_without(name), f"the header {name} is not there") for name in ("Subject", "Date", "Message-Id")),
        (_with("From", "other@example.org"), "From is other@example.org"),
        (_with("To", "other@example.org"), "To is other@example.org"),
        (message(html=None), "the parts are ['text/plain']"),
        (message(text="\n"), "a part is empty"),
    ],
)
def test_the_mail_server_refuses_what_has_not(mail: MailReceiver, mail_: EmailMessage, fault: str) -> None:
    """The fault is remembered, the mail is not."""
    with pytest.raises(smtplib.SMTPDataError, match="550"):
        send(mail, mail_)
    assert mail.received == []
    assert fault in mail.faults[0]


def test_the_mail_server_takes_nothing_from_strangers(mail: MailReceiver) -> None:
    """Neither without a login nor with a wrong one."""
    with pytest.raises(smtplib.SMTPDataError, match="550"):
        send(mail, message(), password=None)
    with pytest.raises(smtplib.SMTPAuthenticationError):
        send(mail, message(), password="wrong")
    assert mail.received == []
    assert mail.faults[0] == "nobody has logged in"
    assert set(mail.faults[1:]) == {f"a wrong login of {mail.username}"}

"""Receivers of notifications, as strict about their form as the real ones: Slack, PagerDuty and a mail server.

    with Receivers() as receivers:
        environment = receivers.settings(secrets_folder)  # for Alertmanager's start.sh
        receivers.slack.received[0].content["attachments"]
        assert receivers.faults == []

Each keeps what it took, with the time of its arrival, in `received`; what the real one would not take is refused, and
remembered in `faults`.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import getaddresses
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.ports import free_port
from tests.webhook import Webhook

Json = dict[str, Any]
Content = TypeVar("Content")

_URL: Final = re.compile(r"https?://[^\s<>|\"]+")
_COLOR: Final = re.compile(r"good|warning|danger|#[0-9a-fA-F]{6}")
_SLACK_LINK: Final = re.compile(r"<https?://[^\s<>|&]+(\|[^<>|&\n]+)?>")
_SLACK_ENTITY: Final = re.compile(r"&(amp|lt|gt);")
_SLACK_LENGTHS: Final = {"title": 1024, "text": 40_000, "pretext": 40_000, "fallback": 40_000, "footer": 300}
_SLACK_FIELDS: Final = {
    *_SLACK_LENGTHS,
    *("title_link", "color", "callback_id", "fields", "actions", "image_url", "thumb_url", "mrkdwn_in", "ts"),
}
_PAGERDUTY_BYTES: Final = 512_000
_PAGERDUTY_FIELDS: Final = {
    "routing_key": str,
    "event_action": str,
    "dedup_key": str,
    "payload": dict,
    "client": str,
    "client_url": str,
    "links": list,
    "images": list,
}
_PAGERDUTY_PAYLOAD: Final = {
    "summary": str,
    "source": str,
    "severity": str,
    "timestamp": str,
    "component": str,
    "group": str,
    "class": str,
    "custom_details": dict,
}
_PAGERDUTY_LENGTHS: Final = {"summary": 1024, "dedup_key": 255}


@dataclass(frozen=True)
class Received(Generic[Content]):
    """One notification that was taken, and when (`time.monotonic`)."""

    content: Content
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Mail:
    """A mail, as the server was handed it."""

    sender: str
    recipients: list[str]
    subject: str
    text: str
    html: str


class _HttpReceiver(Webhook):
    """A server that takes JSON by POST at one URL."""

    def __init__(self) -> None:
        self.received: list[Received[Json]] = []
        self.faults: list[str] = []
        super().__init__()

    def take(self, path: str, content_type: str | None, body: bytes) -> tuple[int, str, str]:
        """Keep what a request brings, or its faults; return the answer's status, content type and body."""
        faults, payload = self._read(path, content_type, body)
        if faults:
            self.faults += faults
        else:
            self.received.append(Received(payload))
        return self._answer(faults)

    def _read(self, path: str, content_type: str | None, body: bytes) -> tuple[list[str], Json]:
        if path != self.path:
            return [f"nobody is at {path}"], {}
        if (content_type or "").partition(";")[0].strip() != "application/json":
            return [f"the content type is {content_type}"], {}
        try:
            payload = json.loads(body)
        except ValueError as error:
            return [f"no JSON: {error}"], {}
        if not isinstance(payload, dict):
            return ["no JSON object"], {}
        return list(self._faults(payload)), payload

    def _faults(self, payload: Json) -> Iterator[str]:
        raise NotImplementedError

    def _answer(self, faults: list[str]) -> tuple[int, str, str]:
        raise NotImplementedError


class SlackReceiver(_HttpReceiver):
    """A Slack incoming webhook: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks."""

    path = "/services/T00000000/B00000000/an-incoming-webhook-of-the-tests"

    def _faults(self, payload: Json) -> Iterator[str]:
        attachments = payload.get("attachments", [])
        if not attachments and not payload.get("text"):
            yield "no_text"
        if len(attachments) > 100:
            yield f"{len(attachments)} attachments"
        for attachment in attachments:
            yield from _attachment_faults(attachment)

    def _answer(self, faults: list[str]) -> tuple[int, str, str]:
        return (400, "text/plain", "invalid_payload") if faults else (200, "text/plain", "ok")


def _attachment_faults(attachment: Json) -> Iterator[str]:
    yield from _unknown("attachment", attachment, _SLACK_FIELDS)
    yield from _too_long(attachment, _SLACK_LENGTHS)
    if not attachment.get("fallback"):
        yield "an attachment has no fallback"
    if not attachment.get("text") and not attachment.get("title"):
        yield "an attachment has neither text nor title"
    if "color" in attachment and not _COLOR.fullmatch(attachment["color"]):
        yield f"color is {attachment['color']!r}"
    if "title_link" in attachment and not _URL.fullmatch(attachment["title_link"]):
        yield f"title_link is {attachment['title_link']!r}"
    if not set(attachment.get("mrkdwn_in", [])) <= {"fallback", "pretext", "text", "fields"}:
        yield f"mrkdwn_in is {attachment['mrkdwn_in']!r}"
    rest = _SLACK_LINK.sub("", _SLACK_ENTITY.sub("", attachment.get("text", "")))
    if set(rest) & set("<>&"):
        yield f"text has <, > or & that is neither a link nor escaped: {rest!r}"


class PagerDutyReceiver(_HttpReceiver):
    """PagerDuty's Events API v2: https://developer.pagerduty.com/docs/send-alert-event."""

    path = "/v2/enqueue"
    routing_key = "0123456789abcdef0123456789abcdef"

    def _faults(self, payload: Json) -> Iterator[str]:
        if (size := len(json.dumps(payload))) > _PAGERDUTY_BYTES:
            yield f"{size} bytes"
        yield from _unknown("event", payload, _PAGERDUTY_FIELDS)
        yield from _wrong_types(payload, _PAGERDUTY_FIELDS)
        yield from _too_long(payload, _PAGERDUTY_LENGTHS)
        if payload.get("routing_key") != self.routing_key:
            yield "routing_key is wrong"
        yield from _event_faults(payload)
        for kind, required in (("links", "href"), ("images", "src")):
            for item in payload.get(kind) or []:
                if not _URL.fullmatch(item.get(required, "")):
                    yield f"{kind}: {required} is {item.get(required)!r}"

    def _answer(self, faults: list[str]) -> tuple[int, str, str]:
        if faults:
            refusal = {"status": "invalid event", "message": "Event object is invalid", "errors": faults}
            return 400, "application/json", json.dumps(refusal)
        return 202, "application/json", json.dumps({"status": "success", "message": "Event processed"})


def _event_faults(event: Json) -> Iterator[str]:
    action = event.get("event_action")
    if action not in {"trigger", "acknowledge", "resolve"}:
        yield f"event_action is {action!r}"
    if action in {"acknowledge", "resolve"} and not event.get("dedup_key"):
        yield f"{action} without a dedup_key"
    payload = event.get("payload")
    if not payload:
        if action == "trigger":
            yield "trigger without a payload"
        return
    yield from _unknown("payload", payload, _PAGERDUTY_PAYLOAD)
    yield from _wrong_types(payload, _PAGERDUTY_PAYLOAD)
    yield from _too_long(payload, _PAGERDUTY_LENGTHS)
    yield from (
        f"payload without {name}" for name in ("summary", "source", "severity") if not payload.get(name)
    )
    if payload.get("severity") not in {"critical", "error", "warning", "info"}:
        yield f"severity is {payload.get('severity')!r}"


def _unknown(where: str, given: Json, known: set[str] | Mapping[str, type]) -> Iterator[str]:
    yield from (f"{where} has an unknown field {name}" for name in given if name not in known)


def _wrong_types(given: Json, types: Mapping[str, type]) -> Iterator[str]:
    for name, kind in types.items():
        if name in given and not isinstance(given[name], kind):
            yield f"{name} is {given[name]!r}"


def _too_long(given: Json, lengths: Mapping[str, int]) -> Iterator[str]:
    for name, length in lengths.items():
        if len(given.get(name) or "") > length:
            yield f"{name} is {len(given[name])} characters long"


class MailReceiver:
    """A mail server that lets nobody send who does not say who he is; it offers no TLS."""

    username = "robin@example.org"
    password = "the mail server's password"

    def __init__(self) -> None:
        self.received: list[Received[Mail]] = []
        self.faults: list[str] = []
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            authenticator=self._authenticate,
            auth_require_tls=False,
            auth_exclude_mechanism=["LOGIN"],  # its challenge is not the usual one
        )
        self.address = f"127.0.0.1:{self._controller.port}"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._controller.stop()

    def _authenticate(self, *arguments: Any) -> AuthResult:
        login: LoginPassword = arguments[-1]
        success = (login.login.decode(), login.password.decode()) == (self.username, self.password)
        if not success:
            self.faults.append(f"a wrong login of {login.login.decode()}")
        return AuthResult(success=success, handled=False)

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep a mail, or its faults."""
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        faults = list(_mail_faults(message, envelope))
        if not session.authenticated:
            faults.append("nobody has logged in")
        if faults:
            self.faults += faults
            return "550 the mail has no valid form"
        text, html = (part.get_content().replace("\r\n", "\n") for part in message.iter_parts())
        self.received.append(
            Received(
                Mail(
                    sender=str(envelope.mail_from),
                    recipients=[str(recipient) for recipient in envelope.rcpt_tos],
                    subject=message["Subject"],
                    text=text,
                    html=html,
                )
            )
        )
        return "250 taken"


def _mail_faults(message: EmailMessage, envelope: Envelope) -> Iterator[str]:
    yield from (f"a defect: {defect!r}" for defect in message.defects)
    for name in ("From", "To", "Subject", "Date", "Message-Id"):
        if len(message.get_all(name, [])) != 1 or not message[name]:
            yield f"the header {name} is not there exactly once: {message.get_all(name)}"
    for name, addresses in (("From", [envelope.mail_from]), ("To", envelope.rcpt_tos)):
        if [address for _, address in getaddresses(message.get_all(name, []))] != addresses:
            yield f"{name} is {message[name]}, the envelope says {addresses}"
    kinds = [part.get_content_type() for part in message.walk()]
    if kinds != ["multipart/alternative", "text/plain", "text/html"]:
        yield f"the parts are {kinds}"
    elif not all(part.get_content().strip() for part in message.iter_parts()):
        yield "a part is empty"


class Receivers:
    """All three of them."""

    def __init__(self) -> None:
        self.slack = SlackReceiver()
        self.pagerduty = PagerDutyReceiver()
        self.mail = MailReceiver()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for receiver in (self.slack, self.pagerduty, self.mail):
                stack.enter_context(receiver)
            self._close: Callable[[], None] = stack.pop_all().close
        return self

    def __exit__(self, *_exception: object) -> None:
        self._close()

    @property
    def faults(self) -> list[str]:
        """Return what any of them has refused."""
        return [*self.slack.faults, *self.pagerduty.faults, *self.mail.faults]

    def settings(self, secrets: Path) -> dict[str, str]:
        """Write the secrets into a folder, and return the environment that has Alertmanager notify all three."""
        (secrets / "slack_webhook_url").write_text(f"{self.slack.url}\n")
        (secrets / "pagerduty_routing_key").write_text(f"{self.pagerduty.routing_key}\n")
        (secrets / "smtp_password").write_text(f"{self.mail.password}\n")
        return {
            "ALERT_SECRETS_DIR": str(secrets),
            "ALERT_PAGERDUTY_URL": self.pagerduty.url,
            "ALERT_EMAIL_TO": "oncall@example.org",
            "ALERT_EMAIL_FROM": "robin@example.org",
            "ALERT_SMTP_HOST": self.mail.address,
            "ALERT_SMTP_USERNAME": self.mail.username,
            "ALERT_SMTP_REQUIRE_TLS": "false",
        }

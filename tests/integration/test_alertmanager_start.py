"""start.sh starts Alertmanager with what is configured, and never with half of it."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.alertmanager import ALERTMANAGER
from tests.programs import binary

URL: Final = "https://hooks.slack.com/services/T0/B0/secret"
KEY: Final = "0123456789abcdef0123456789abcdef"
EMAIL: Final = {
    "ALERT_EMAIL_TO": "oncall@example.org",
    "ALERT_EMAIL_FROM": "robin@example.org",
    "ALERT_SMTP_HOST": "mail.example.org:587",
}
LOGIN: Final = {**EMAIL, "ALERT_SMTP_USERNAME": "robin"}
# Debian's sh, and that of Alertmanager's image.
SHELLS: Final = [shell for shell in (("dash",), ("busybox", "sh")) if shutil.which(shell[0])]


@dataclass
class Start:
    """A folder that stands for the container's file system; Alertmanager only says how it was called."""

    folder: Path
    as_user: dict[str, Any]
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def secrets(self) -> Path:
        """Return the folder for the secrets."""
        return self.folder / "secrets"

    def secret(self, name: str, content: str) -> Path:
        """Write a secret."""
        file = self.secrets / name
        file.write_text(content)
        return file

    def run(self, *arguments: str, shell: tuple[str, ...] = ("sh",)) -> subprocess.CompletedProcess[str]:
        """Run start.sh to its end."""
        return subprocess.run(
            [*shell, self.folder / "alertmanager" / "start.sh", *arguments],
            env={
                "PATH": os.environ["PATH"],
                "ALERTMANAGER": str(self.folder / "alertmanager" / "program"),
                "ALERTMANAGER_CONFIG_DIR": str(self.folder / "tmp"),
                "ALERT_SECRETS_DIR": str(self.secrets),
                **self.settings,
            },
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            **self.as_user,
        )

    @property
    def rendered(self) -> Path:
        """Return the configuration that Alertmanager is given."""
        return self.folder / "tmp" / "alertmanager.yml"

    def integrations(self) -> dict[str, list[str]]:
        """Return which notifications each receiver has."""
        config = yaml.safe_load(self.rendered.read_text())
        return {
            receiver["name"]: [key for key in receiver if key != "name"] for receiver in config["receivers"]
        }


def unprivileged() -> dict[str, Any]:
    """Return how to run a program that may not read everything."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@pytest.fixture
def start() -> Iterator[Start]:
    """Whatever is needed for a start with nothing configured."""
    # Not pytest's own folder: that one is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="robin-alertmanager-"))
    folder.chmod(0o755)
    program = shutil.copytree(ALERTMANAGER, folder / "alertmanager") / "program"
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    program.chmod(0o755)
    (folder / "secrets").mkdir()
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o777)
    yield Start(folder, unprivileged())
    shutil.rmtree(folder)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_everything_configured_is_in_the_configuration(start: Start, shell: tuple[str, ...]) -> None:
    """And Alertmanager is handed it, with the arguments that came."""
    start.secret("slack_webhook_url", f"{URL}\n")
    start.secret("pagerduty_routing_key", KEY)
    start.secret("smtp_password", "it's 1 'secret'\n")
    start.secret("README.md", "What these are")
    start.settings = {**LOGIN, "ALERT_SMTP_USERNAME": "o'neil"}
    result = start.run("--log.level=debug", "a b", shell=shell)

    assert result.returncode == 0
    assert result.stdout.splitlines() == [f"--config.file={start.rendered}", "--log.level=debug", "a b"]
    assert result.stderr == "alertmanager: notifications: Slack on, PagerDuty on, email on\n"
    assert start.integrations() == {
        "team": ["slack_configs"],
        "oncall": ["pagerduty_configs"],
        "escalation": ["email_configs"],
    }
    (email,) = yaml.safe_load(start.rendered.read_text())["receivers"][2]["email_configs"]
    assert email["auth_username"] == "o'neil"
    assert email["require_tls"] is True


@pytest.mark.parametrize("configured", ["nothing", "everything"])
def test_alertmanagers_own_tool_accepts_the_configuration(start: Start, configured: str) -> None:
    """It does not look for the templates, which lie beside start.sh."""
    if configured == "everything":
        start.secret("slack_webhook_url", URL)
        start.secret("pagerduty_routing_key", KEY)
        start.secret("smtp_password", "secret")
        start.settings = LOGIN
    assert start.run().returncode == 0
    result = subprocess.run(
        [binary("amtool"), "check-config", start.rendered], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (templates,) = yaml.safe_load(start.rendered.read_text())["templates"]
    assert templates == str(start.folder / "alertmanager" / "templates" / "*.tmpl")


def test_nothing_configured_is_nothing_wrong(start: Start) -> None:
    """A setting that is empty, as Docker hands on what is not set, is none."""
    start.settings = dict.fromkeys([*LOGIN, "ALERT_SMTP_REQUIRE_TLS", "ALERT_PAGERDUTY_URL"], "")
    result = start.run()
    assert result.returncode == 0
    assert result.stderr == "alertmanager: notifications: Slack off, PagerDuty off, email off\n"
    assert start.integrations() == {"team": [], "oncall": [], "escalation": []}


def test_mail_needs_no_login(start: Start) -> None:
    """A server of one's own may ask for none."""
    start.settings = {**EMAIL, "ALERT_SMTP_REQUIRE_TLS": "false"}
    assert start.run().returncode == 0
    (email,) = yaml.safe_load(start.rendered.read_text())["receivers"][2]["email_configs"]
    assert "auth_username" not in email
    assert email["require_tls"] is False


def test_pagerduty_has_other_regions(start: Start) -> None:
    """Its address can be set."""
    start.secret("pagerduty_routing_key", KEY)
    start.settings = {"ALERT_PAGERDUTY_URL": "https://events.eu.pagerduty.com/v2/enqueue"}
    assert start.run().returncode == 0
    assert "url: 'https://events.eu.pagerduty.com/v2/enqueue'\n" in start.rendered.read_text()


def test_a_name_is_text_whatever_it_holds(start: Start) -> None:
    """Nothing that is set adds to the configuration."""
    start.settings = {**EMAIL, "ALERT_EMAIL_TO": "a'b@example.org'\n        html: '$(id)`id`\\"}
    assert start.run().returncode == 0
    (email,) = yaml.safe_load(start.rendered.read_text())["receivers"][2]["email_configs"]
    assert email["to"] == "a'b@example.org' html: '$(id)`id`\\"
    assert email["html"].startswith("{{ template")


SECRETS: Final = {
    "slack_webhook_url": [
        ("", "is empty: write the secret into it, or remove it"),
        (" \n", "is empty: write the secret into it, or remove it"),
        ("hooks.slack.com/services", "must hold the webhook's whole URL, https://..."),
        (f"{URL}\n{URL}\n", "must hold one URL and nothing else"),
    ],
    "pagerduty_routing_key": [
        ("\n\n", "is empty: write the secret into it, or remove it"),
        ("two words", "must hold one integration key and nothing else"),
    ],
    "smtp_password": [
        ("", "is empty: write the secret into it, or remove it"),
    ],
}


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [(name, content, reason) for name, cases in SECRETS.items() for content, reason in cases],
)
def test_a_secret_that_cannot_be_one_ends_the_start(
    start: Start, shell: tuple[str, ...], name: str, content: str, reason: str
) -> None:
    """The line names the file, and never what is in it."""
    file = start.secret(name, content)
    start.settings = LOGIN if name == "smtp_password" else {}
    refused(start, f"{file} {reason}", shell=shell)


def test_a_secret_of_windows_is_one(start: Start) -> None:
    """Its line ends with one character more."""
    start.secret("slack_webhook_url", f"{URL}\r\n")
    start.secret("pagerduty_routing_key", f"{KEY}\r\n")
    assert start.run().returncode == 0


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_cannot_be_read_ends_the_start(start: Start, name: str) -> None:
    """Alertmanager would learn it when it wants to send something."""
    file = start.secret(name, KEY)
    file.chmod(0o000)
    refused(
        start,
        f"user {start.as_user.get('user', os.geteuid())} may not read {file}, or it is no file: chmod 644 that file,"
        " or remove it",
    )


def test_a_folder_in_a_secrets_place_ends_the_start(start: Start) -> None:
    """Docker makes one where a file to be mounted is missing."""
    (start.secrets / "smtp_password").mkdir()
    refused(start, "or it is no file")


def test_a_link_that_leads_nowhere_ends_the_start(start: Start) -> None:
    """The secret was meant to be there."""
    (start.secrets / "slack_webhook_url").symlink_to("nowhere")
    refused(start, "or it is no file")


def test_a_folder_that_cannot_be_read_ends_the_start(start: Start) -> None:
    """It would look as if there were no secrets."""
    start.secrets.chmod(0o700)
    if not start.as_user:
        start.secrets.chmod(0o000)
    refused(start, f"may not read the folder {start.secrets}: chmod 755 that folder")


def test_a_folder_that_is_not_there_ends_the_start(start: Start) -> None:
    """Whoever names a folder wants what is in it."""
    start.secrets.rmdir()
    refused(start, f"{start.secrets} is not a folder: correct ALERT_SECRETS_DIR, or unset it")


def test_a_secret_with_another_name_ends_the_start(start: Start) -> None:
    """A slip in a name would switch the notification off."""
    file = start.secret("slack_webhook", URL)
    refused(start, f"{file} is no secret that is known: name it slack_webhook_url, pagerduty_routing_key or")


HALF: Final = [
    *((name, {key: value for key, value in EMAIL.items() if key != name}, "") for name in EMAIL),
    ("ALERT_EMAIL_TO", {"ALERT_SMTP_USERNAME": "robin"}, "secret"),
    ("ALERT_EMAIL_TO", {}, "secret"),
]


@pytest.mark.parametrize(("missing", "settings", "password"), HALF)
def test_half_an_email_configuration_ends_the_start(
    start: Start, missing: str, settings: dict[str, str], password: str
) -> None:
    """The line names what is missing."""
    if password:
        start.secret("smtp_password", password)
    start.settings = settings
    refused(start, f"email is half configured: set {missing} too, or to go without email unset ")


WRONG: Final = [
    ({"ALERT_SMTP_HOST": "mail.example.org"}, "ALERT_SMTP_HOST must be host:port, mail.example.org:587"),
    ({"ALERT_SMTP_HOST": "mail.example.org:smtp"}, "ALERT_SMTP_HOST must be host:port"),
    ({"ALERT_SMTP_HOST": "mail.example.org:"}, "ALERT_SMTP_HOST must be host:port"),
    ({"ALERT_EMAIL_TO": "oncall"}, "ALERT_EMAIL_TO and ALERT_EMAIL_FROM must be email addresses"),
    ({"ALERT_EMAIL_FROM": "robin"}, "ALERT_EMAIL_TO and ALERT_EMAIL_FROM must be email addresses"),
    ({"ALERT_SMTP_REQUIRE_TLS": "yes"}, "ALERT_SMTP_REQUIRE_TLS must be true or false"),
    ({"ALERT_SMTP_REQUIRE_TLS": "false"}, "no password is sent in the clear"),
]


@pytest.mark.parametrize(("settings", "reason"), WRONG)
def test_a_wrong_email_configuration_ends_the_start(
    start: Start, settings: dict[str, str], reason: str
) -> None:
    """The line says how it is right."""
    start.secret("smtp_password", "secret")
    start.settings = {**LOGIN, **settings}
    refused(start, reason)


def test_a_user_without_a_password_ends_the_start(start: Start) -> None:
    """And a password without a user."""
    start.settings = LOGIN
    refused(
        start, f"ALERT_SMTP_USERNAME is set without a password: write it into {start.secrets}/smtp_password,"
    )
    start.secret("smtp_password", "secret")
    start.settings = EMAIL
    refused(start, f"{start.secrets}/smtp_password is there without a name: set ALERT_SMTP_USERNAME, or")


def test_pagerdutys_address_without_a_key_ends_the_start(start: Start) -> None:
    """Somebody wanted to be paged."""
    start.settings = {"ALERT_PAGERDUTY_URL": "https://events.eu.pagerduty.com/v2/enqueue"}
    refused(start, "ALERT_PAGERDUTY_URL is set without a key: write it into ")


def refused(start: Start, reason: str, *, shell: tuple[str, ...] = ("sh",)) -> None:
    """Assert that one line says the reason, that nothing was started, and that no secret was told."""
    result = start.run(shell=shell)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("alertmanager: ")
    assert reason in line
    assert not start.rendered.exists()
    for secret in (URL, KEY, "two words"):
        assert secret not in line

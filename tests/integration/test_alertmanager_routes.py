"""Every alert has its receivers, and the inhibition speaks of alerts that exist."""

import re
import subprocess
from dataclasses import dataclass
from typing import Any, Final

import pytest
import yaml

from tests.alertmanager import ALERTMANAGER, inhibit_rules
from tests.programs import binary
from tests.queries import rules

PROMETHEUS: Final = ALERTMANAGER.parent / "prometheus"
MATCHER: Final = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')
ROUTES: Final = [
    ({"severity": "critical"}, ["oncall", "escalation", "team"]),
    ({"severity": "critical", "service": "document-api", "area": "slo"}, ["oncall", "escalation", "team"]),
    ({"severity": "warning"}, ["team"]),
    ({"severity": "warning", "service": "postgresql", "area": "database"}, ["team"]),
    ({"severity": "info"}, ["team"]),
    ({"service": "nginx"}, ["team"]),
]


@pytest.mark.parametrize(("labels", "receivers"), ROUTES)
def test_an_alert_goes_to_its_receivers(labels: dict[str, str], receivers: list[str]) -> None:
    """As Alertmanager's own tool reads the routes."""
    result = amtool(
        "config",
        "routes",
        "test",
        f"--config.file={ALERTMANAGER / 'alertmanager.yml'}",
        f"--verify.receivers={','.join(receivers)}",
        "alertname=Any",
        *(f"{name}={value}" for name, value in labels.items()),
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_configuration_is_valid_as_it_lies_there() -> None:
    """Also for the stricter reading of matchers that comes; a warning would be a line of its own."""
    config = ALERTMANAGER / "alertmanager.yml"
    result = amtool("check-config", "--enable-feature=utf8-strict-mode", str(config))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "incompatible" not in result.stderr


def test_every_severity_of_the_rules_has_a_route() -> None:
    """Another word for it would be told to the team alone."""
    assert {alert["severity"] for alert in alerts()} == {"critical", "warning"}


Labels = dict[str, str]


@dataclass(frozen=True)
class Matcher:
    """A matcher of Alertmanager."""

    label: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "Matcher":
        """Read a matcher with a value in quotes."""
        found = MATCHER.fullmatch(text)
        assert found, f"no matcher: {text}"
        return cls(*found.groups())

    def accepts(self, labels: Labels) -> bool:
        """Say whether an alert with these labels matches."""
        equal = re.fullmatch(self.value, labels.get(self.label, "")) is not None
        return equal is not (self.operator == "!=")

    def narrowed(self) -> "list[Matcher]":
        """Return a matcher for each thing of which this one speaks."""
        return [Matcher(self.label, "=", value) for value in self.value.split("|")]


def services() -> set[str]:
    """Return what is asked for its health, and what is scraped."""
    probes, scrapes = (
        yaml.safe_load((PROMETHEUS / "targets" / f"{name}.yml").read_text()) for name in ("probe", "scrape")
    )
    return {each["labels"]["service"] for each in probes} | {each["labels"]["job"] for each in scrapes}


def alerts() -> list[Labels]:
    """Return the labels of every alert; one whose service the expression decides stands for each service."""
    return [
        {**labels, "alertname": rule["alert"], "service": service}
        for rule in rules()
        if "alert" in rule
        for labels in [rule["labels"]]
        for service in (services() if "{{" in labels.get("service", "{{") else [labels["service"]])
    ]


def matching(matchers: list[Matcher]) -> list[Labels]:
    """Return the alerts that match."""
    return [alert for alert in alerts() if all(matcher.accepts(alert) for matcher in matchers)]


def sides() -> list[Any]:
    """Return each side of each inhibition."""
    return [
        pytest.param([Matcher.parse(text) for text in rule[f"{side}_matchers"]], id=f"{rule['name']}: {side}")
        for rule in inhibit_rules()
        for side in ("source", "target")
    ]


@pytest.mark.parametrize("matchers", sides())
def test_an_inhibition_speaks_of_alerts_that_exist(matchers: list[Matcher]) -> None:
    """Each name, area, service and severity in it belongs to an alert."""
    for matcher in matchers:
        others = [other for other in matchers if other != matcher and other.operator != "!="]
        for narrowed in matcher.narrowed():
            assert matching([narrowed, *others]), f"no alert has {narrowed.label}={narrowed.value}"


@pytest.mark.parametrize("rule", inhibit_rules(), ids=lambda rule: rule["name"])
def test_no_alert_is_on_both_sides_of_an_inhibition(rule: dict[str, Any]) -> None:
    """Whether it is silent would depend on what else fires."""
    assert matching([Matcher.parse(text) for text in rule["source_matchers"] + rule["target_matchers"]]) == []


def test_labels_that_must_be_equal_exist() -> None:
    """A label that no alert has is equal everywhere."""
    known = {"alertname"} | {label for rule in rules() for label in rule.get("labels", {})}
    for rule in rules():
        for labels in re.findall(r"by \(([^)]*)\)", rule["expr"]):
            known |= set(re.findall(r"\w+", labels))
    assert {label for rule in inhibit_rules() for label in rule.get("equal", [])} <= known


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Alertmanager's tool."""
    return subprocess.run([binary("amtool"), *arguments], capture_output=True, text=True, check=False)

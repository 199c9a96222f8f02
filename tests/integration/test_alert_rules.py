"""Prometheus' own tool tests every alert, and every alert is tested: what is silent below a threshold fires above it."""

import re
import subprocess
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from local_stack.speedup import lay
from tests.programs import binary
from tests.queries import rules

PROMETHEUS: Final = Path(__file__).parents[2] / "monitoring" / "prometheus"
RULE_FILES: Final = sorted((PROMETHEUS / "rules").glob("*.yml"))
TEST_FILES: Final = sorted((PROMETHEUS / "tests").glob("*.yml"))
SEVERITIES: Final = {"critical", "warning"}
AREAS: Final = {"requests", "slo", "database", "resources", "availability", "pipeline"}
DASHBOARDS: Final = "overview|documents|database|pipeline|runtime|logs"
DASHBOARD_LINK: Final = re.compile(
    rf"\{{\{{ \$externalLabels\.grafana_url }}}}/d/robin-({DASHBOARDS})(\?var-service=\S+|\?var-service=\{{\{{ [^}}]+ }}}})?"
)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Prometheus' checker."""
    return subprocess.run(
        [binary("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=300
    )


ALERTS: Final = [rule for rule in rules() if "alert" in rule]
EACH: Final = sorted({(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS})


def cases() -> Iterator[dict[str, Any]]:
    """Return every test of every file."""
    for file in TEST_FILES:
        yield from yaml.safe_load(file.read_text())["tests"]


def expected(case: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Return what a test expects in the order of time: the alert, and the labels of all that fire by that name."""
    for probe in sorted(case.get("alert_rule_test", []), key=lambda probe: _seconds(probe["eval_time"])):
        yield probe["alertname"], [alert["exp_labels"] for alert in probe.get("exp_alerts", [])]


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_every_alert_does_what_its_tests_say(file: Path) -> None:
    """Labels and annotations are compared as a whole."""
    result = promtool("test", "rules", file)
    assert result.returncode == 0, result.stdout + result.stderr


def test_promtool_finds_nothing_to_say_about_the_rules() -> None:
    """Two rules that differ in nothing would overwrite each other."""
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_rules_are_rules_when_they_are_sped_up(tmp_path: Path) -> None:
    """ALERT_SPEEDUP divides durations within the text."""
    lay(PROMETHEUS / "rules", tmp_path / "rules", 20)
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", *(tmp_path / "rules").glob("*.yml"))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_an_alert_says_how_bad_it_is_what_it_is_about_and_where_to_read_on(rule: dict[str, Any]) -> None:
    """The runbook is named as the alert; a label `service` that is not given comes with the metric."""
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["labels"]["area"] in AREAS
    assert set(rule["annotations"]) == {"summary", "description", "dashboard_url", "runbook_url"}
    assert "\n" not in rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == f"{{{{ $externalLabels.runbook_url }}}}/{rule['alert']}.md"
    assert DASHBOARD_LINK.fullmatch(rule["annotations"]["dashboard_url"])


@pytest.mark.parametrize(("alert", "severity"), EACH)
def test_an_alert_is_tested_on_both_sides_of_its_threshold(alert: str, severity: str) -> None:
    """One test sees it silent, fire, and silent again; another sees it silent all the time."""
    stories = {
        _story(severity in {labels["severity"] for labels in firing} for _, firing in probes)
        for case in cases()
        if (probes := [probe for probe in expected(case) if probe[0] == alert])
    }
    assert "silent" in stories
    assert any("silent firing silent" in story for story in stories), stories


def test_every_alert_that_is_expected_has_a_service() -> None:
    """By which it is grouped and kept quiet, wherever the label comes from."""
    fired = [labels for case in cases() for _, firing in expected(case) for labels in firing]
    assert fired
    assert all(labels["service"] for labels in fired)


def test_no_two_tests_have_the_same_name() -> None:
    """A name is what a failure is found by."""
    names = [case["name"] for case in cases()]
    assert len(names) == len(set(names))


def _seconds(duration: str) -> int:
    units = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([dhms])", duration))


def _story(fires: Iterable[bool]) -> str:
    """Say what happened, repetitions left out."""
    return " ".join(state for state, _ in groupby("firing" if each else "silent" for each in fires))

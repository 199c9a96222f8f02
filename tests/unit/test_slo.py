"""The rules of the service level objectives are what monitoring/slo.yaml says, and the command says when they are not."""

from pathlib import Path

import pytest
import yaml

from monitoring.generate import slo
from monitoring.generate.__main__ import MONITORING, main

DEFINITION = yaml.safe_load(slo.DEFINITION.read_text())


def test_the_committed_rules_are_those_of_the_definition() -> None:
    """Whoever changes the one has to generate the other."""
    assert (MONITORING / slo.RULES).read_text() == slo.rules(DEFINITION)


def test_every_objective_and_every_burn_rate_of_the_definition_has_its_rules() -> None:
    """Three series for each objective; one alert for each rate, whatever the objectives are."""
    rules = yaml.safe_load(slo.rules(DEFINITION))["groups"][0]["rules"]
    counted = [rule["labels"]["slo"] for rule in rules if rule.get("record") == "slo:objective:ratio"]
    assert counted == [objective["slo"] for objective in DEFINITION["objectives"]]
    alerts = [
        (rule["labels"]["long_window"], rule["for"], rule["labels"]["severity"])
        for rule in rules
        if "alert" in rule
    ]
    assert alerts == [(rate["long"], rate["for"], rate["severity"]) for rate in DEFINITION["burn_rates"]]
    records = {rule["record"] for rule in rules if "record" in rule}
    windows = {rate[window] for rate in DEFINITION["burn_rates"] for window in ("long", "short")}
    assert {f"slo:error_ratio:rate{window}" for window in windows} <= records


def test_a_check_names_what_differs_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an empty folder, and where one file was changed by hand."""
    assert main(["--check"], folder=tmp_path) == 1
    assert f"{slo.RULES} differs" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())

    assert main([], folder=tmp_path) == 0
    assert f"{slo.RULES} written" in capsys.readouterr().out
    assert main(["--check"], folder=tmp_path) == 0
    assert not capsys.readouterr().out

    by_hand = tmp_path / slo.RULES
    by_hand.write_text(by_hand.read_text() + "# changed\n")
    assert main(["--check"], folder=tmp_path) == 1
    assert capsys.readouterr().out == f"{slo.RULES} differs\n"
    assert main([], folder=tmp_path) == 0
    assert by_hand.read_text() == slo.rules(DEFINITION)

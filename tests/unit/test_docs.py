"""The documents say what the code has: nothing is missing, nothing is left over."""

import re
from pathlib import Path

import pytest
import yaml

from data_store.settings import DataStoreSettings
from document_api.settings import DocumentApiSettings
from local_stack.settings import Settings as StackSettings
from observability.signals import METRICS, Attribute, Span

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DASHBOARD = (ROOT / "observability-dashboard.md").read_text()


def rows(text: str, heading: str) -> dict[str, str]:
    """First code span of each table row below a heading, with the whole row."""
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return {
        match[1]: line for line in section.splitlines() if (match := re.search(r"\| `([A-Z_]+)` \|", line))
    }


def test_readme_lists_exactly_the_settings_of_the_services_with_their_meaning():
    """A setting's description in the code is its row in the README."""
    fields = {**DocumentApiSettings.model_fields, **DataStoreSettings.model_fields}
    documented = rows(README, "Settings")
    assert set(documented) == {name.upper() for name in fields}
    assert all((field.description or "?") in documented[name.upper()] for name, field in fields.items())


def test_readme_lists_exactly_the_ports_with_their_defaults():
    """Every port of the local stack has a row that names its variable and its default."""
    ports = {
        name: field.default for name, field in StackSettings.model_fields.items() if name.endswith("_port")
    }
    documented = rows(README, "Ports")
    assert set(documented) == {name.upper() for name in ports}
    assert all(f"{default or 80}" in documented[name.upper()] for name, default in ports.items())


def test_every_option_of_setup_and_run_is_in_the_readme():
    """The usage of the script and the README agree."""
    usage = (ROOT / "setup-and-run.sh").read_text().split("USAGE")[1]
    options = set(re.findall(r"^  (--[a-z]+)", usage, re.MULTILINE)) - {"--help"}
    assert options
    assert {option for option in options if f"`{option}" not in README} == set()


def test_every_variable_of_the_composed_stack_is_in_the_readme():
    """What the files for Compose read from the environment can be looked up."""
    text = "".join(file.read_text() for file in ROOT.glob("docker-compose*.yml"))
    read = set(re.findall(r"\$\{([A-Z_]+)", text))
    assert read
    assert {variable for variable in read if f"`{variable}`" not in README} == set()


def test_ci_runs_commands_that_exist():
    """CI has no logic of its own: scripts of the checkout, and Docker."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    commands = [step["run"].split() for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {command[0] for command in commands} == {
        "./run-tests.sh",
        "./setup-and-run.sh",
        "python3",
        "docker",
    }
    scripts = [word for command in commands for word in command[:2] if word.endswith((".sh", ".py"))]
    assert [script for script in scripts if not (ROOT / script).exists()] == []


def test_every_metric_span_and_attribute_is_in_the_dashboard_document():
    """What can be asked for is written down."""
    names = [metric.prometheus_name for metric in METRICS] + [*Span, *Attribute]
    assert [name for name in names if f"`{name}" not in DASHBOARD] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "observability-dashboard.md"])
def test_links_and_paths_in_documents_lead_somewhere(document: str):
    """Relative links and folders named in tables exist."""
    text = (ROOT / document).read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text) + re.findall(r"`((?:[a-z_]+/)+)`", text)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_decision_names_what_enforces_it_and_that_exists():
    """A decision without a check is a wish."""
    for decision in sorted((ROOT / "docs" / "adr").glob("*.md")):
        enforced = decision.read_text().split("Enforced by:", 1)
        assert len(enforced) == 2, decision.name
        named = re.findall(r"`([a-z_/0-9.]+)`", enforced[1])
        assert [path for path in named if not (ROOT / path).exists()] == [], decision.name
        assert any(path.startswith("tests/") for path in named), decision.name

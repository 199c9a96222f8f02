"""The documents say what the code has: nothing is missing, nothing is left over."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_store.settings import DataStoreSettings
from document_api.settings import DocumentApiSettings
from local_stack.ports import DEFAULT_HTTP_PORT, DEFAULT_HTTPS_PORT, DEFAULT_POSTGRES_TLS_PORT
from local_stack.settings import Settings as StackSettings
from observability.signals import METRICS, Attribute, Span
from tests.boards import boards
from tests.documents import fenced
from tests.promql import metrics
from tests.queries import document_queries, rules

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DASHBOARD = (ROOT / "observability-dashboard.md").read_text()
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = {page.stem: page.read_text() for page in sorted(RUNBOOKS.glob("*.md")) if page.stem != "README"}
SECTIONS = [
    "Meaning",
    "What the user sees",
    "First three queries",
    "How to mend it",
    "How to know that it is mended",
]
# Trouble that people come with; two of the four are alerts as well.
WITHOUT_AN_ALERT = {"CorrelationIdMissing", "DatabaseTracingNotWorking"}

# Recorded by others than the services: the collector, the host, Prometheus, Alertmanager, the blackbox exporter.
OTHERS_METRICS = re.compile(
    r"up|process_(resident_memory_bytes|start_time_seconds)|system_\w+|probe_\w+|otelcol_\w+|prometheus_\w+|alertmanager_\w+"
)

BOARDS = {board["uid"]: board for board in boards().values()}
MOST_BYTES_OF_A_PICTURE = 200_000


def alerts() -> list[dict[str, Any]]:
    """Return the alerting rules."""
    return [rule for rule in rules() if "alert" in rule]


every_page = pytest.mark.parametrize("name", PAGES)


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
    chosen = {
        "http_port": DEFAULT_HTTP_PORT,
        "https_port": DEFAULT_HTTPS_PORT,
        "postgres_tls_port": DEFAULT_POSTGRES_TLS_PORT,
    }
    assert all(f"{default or chosen[name]}" in documented[name.upper()] for name, default in ports.items())


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
        "./requirements/audit.sh",
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


def sections(text: str) -> dict[str, str]:
    """Return a page's sections by heading, in their order."""
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_alert_has_a_runbook_and_every_runbook_its_reason():
    """A link in an alert at night must not lead nowhere."""
    assert PAGES.keys() == {rule["alert"] for rule in alerts()} | WITHOUT_AN_ALERT


def test_the_index_of_runbooks_lists_each_page_once():
    """A page that is not listed is not found."""
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \|", (RUNBOOKS / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == [(name, name) for name in PAGES]


@every_page
def test_a_runbook_has_its_name_and_its_sections_in_order(name: str):
    """Who has read one knows where to look in all."""
    assert PAGES[name].startswith(f"# {name}\n")
    assert [*sections(PAGES[name])] == SECTIONS
    assert all(text.strip() for text in sections(PAGES[name]).values())


@every_page
def test_a_runbook_tells_when_its_alert_fires(name: str):
    """Each severity with the time that its condition must last, as the rules have them, and no other."""
    opening = PAGES[name].split("\n## ", 1)[0]
    wanted = {
        (rule["labels"]["severity"], rule.get("for", "once")) for rule in alerts() if rule["alert"] == name
    }
    told = set()
    for part in re.split(r"(?=`(?:critical|warning)`)", opening)[1:]:
        severity, *times = re.findall(r"`(\w+)`", part)
        told |= {(severity, time) for time in times or ["once"]}
    assert told == wanted


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_a_runbook_names_the_board_that_its_alert_links_to(rule: dict[str, Any]):
    """Whoever comes from the alert and whoever comes from the page look at the same."""
    uid = re.search(r"/d/([\w-]+)", rule["annotations"]["dashboard_url"])
    assert uid is not None
    named = re.search(r"· board: (.+)", PAGES[rule["alert"]])
    assert named is not None
    assert f"robin: {named[1].lower()}" == BOARDS[uid[1]]["title"]


@every_page
def test_a_runbook_asks_at_least_three_questions_and_every_store_of_logs(name: str):
    """In Docker logs are asked in LogQL, in the local stack in LogsQL."""
    asked = sections(PAGES[name])["First three queries"]
    assert len(fenced(asked, "promql")) + len(fenced(asked, "logsql")) >= 3
    assert len(fenced(PAGES[name], "logsql")) == len(fenced(PAGES[name], "logql"))


@every_page
def test_a_runbook_mends_both_ways_of_running(name: str):
    """Or says that a command is the same for both."""
    mending = sections(PAGES[name])["How to mend it"]
    assert fenced(mending, "sh")
    assert ("Docker" in mending and "local stack" in mending) or "both" in mending


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_links_between_runbooks_lead_somewhere(page: Path):
    """To a page that is there, and to a heading of it."""
    for target, anchor in re.findall(r"\]\((?!http)([^)#]+)(?:#([^)]+))?\)", page.read_text()):
        text = (page.parent / target).read_text()
        headings = {
            heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)", text, re.MULTILINE)
        }
        assert not anchor or anchor in headings


def test_queries_of_documents_ask_for_metrics_that_are_recorded():
    """A name that nobody records would answer nothing, at the worst moment."""
    known = {metric.prometheus_name for metric in METRICS} | {
        rule["record"] for rule in rules() if "record" in rule
    }
    queries = list(document_queries())
    assert queries
    for query in queries:
        unknown = metrics(query.expression) - known
        assert {name for name in unknown if not OTHERS_METRICS.fullmatch(name)} == set(), str(query)


def test_the_guide_shows_every_board_and_every_picture_is_shown_once():
    """The page's in the README. Pictures are named like the boards' files; a picture that is shown nowhere is left over."""
    shown = re.findall(r"!\[[^]]+\]\(docs/pictures/([^)]+)\)", DASHBOARD + README)
    there = sorted(file.name for file in (ROOT / "docs" / "pictures").iterdir())
    assert sorted(shown) == there
    assert boards().keys() <= {Path(name).stem for name in shown}


def test_pictures_are_small():
    """A checkout stays quick."""
    sizes = {file.name: file.stat().st_size for file in (ROOT / "docs" / "pictures").iterdir()}
    assert {name: size for name, size in sizes.items() if size > MOST_BYTES_OF_A_PICTURE} == {}


def test_the_guide_links_each_board_by_its_uid():
    """In the table that says which board answers which question."""
    assert [uid for uid in BOARDS if f"`/d/{uid}`" not in DASHBOARD] == []


@pytest.mark.parametrize("document", ["README.md", "observability-dashboard.md"])
def test_anchors_in_documents_lead_to_headings(document: str):
    """Within the same document."""
    text = (ROOT / document).read_text()
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)", text, re.MULTILINE)
    }
    assert [anchor for anchor in re.findall(r"\]\(#([^)]+)\)", text) if anchor not in headings] == []


def test_every_promise_of_security_names_a_test_that_exists():
    """A promise without a test is a wish."""
    rows = (ROOT / "docs" / "security.md").read_text().split("## Promises", 1)[1].split("\n## ", 1)[0]
    promises = [row for row in rows.splitlines() if row.startswith("| ") and not row.startswith("| promise")]
    assert promises
    for promise in promises:
        named = re.findall(r"`(tests/[a-z0-9_/]+\.py)::(test_\w+)`", promise)
        assert named, promise
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"

"""The command line: arguments, where the servers are, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from observability_checks import options
from observability_checks.checks import CHECKS
from observability_checks.cli import main
from observability_checks.results import Results

CHECKOUT = Path(__file__).parents[2]
NOWHERE = [option for server in options.SERVERS for option in (server.option, "http://127.0.0.1:1")]
ID = "6f1c9a52-7d0e-4b63-9c53-0f6d0f4f7a11"


@pytest.fixture(autouse=True)
def no_local_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stack that runs on this machine must not be found."""
    monkeypatch.setenv("ROBIN_STATE_DIR", str(tmp_path))


def test_a_stack_that_is_not_there_exits_2_and_says_how_to_start_it(capsys: pytest.CaptureFixture[str]):
    """Nothing was checked, so nothing failed: each server that is missing is named, and the command that starts it."""
    assert main(["--all", *NOWHERE]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines[:-1]] == [
        "Jaeger",
        "Prometheus",
        "nginx and document-api",
        "log store",
    ]
    assert lines[-1] == "start the stack with ./setup-and-run.sh"


def test_explaining_without_back_ends_exits_2(capsys: pytest.CaptureFixture[str]):
    """The story needs the back ends, and not the API."""
    assert main(["--explain", ID, *NOWHERE]) == 2
    assert "nginx" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--clients", "0"],
        ["--files", "x"],
        ["--load-factor", "-1"],
        ["--load-factor", "nan"],
        ["--max-errors", "101"],
        ["--explain", "no-uuid"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
def test_a_wrong_argument_exits_2_and_names_it(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    """argparse's own way, for our own types too."""
    with pytest.raises(SystemExit) as leaving:
        main([*arguments, *NOWHERE])
    assert leaving.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def chosen(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the checks that these arguments run, on a stack that answers everything."""
    ran: list[str] = []
    for name in CHECKS:
        monkeypatch.setitem(CHECKS, name, lambda _context, name=name: ran.append(name))  # type: ignore[misc]
    monkeypatch.setattr("observability_checks.cli.reach_back_ends", lambda *_, **__: None)
    assert main(arguments) == 0
    return ran


@pytest.mark.parametrize("arguments", [[], ["--all"], ["--all", "--health"]], ids=str)
def test_without_a_choice_everything_runs(arguments: list[str], monkeypatch: pytest.MonkeyPatch):
    """--all is what no option means, and wins over a single one."""
    assert chosen(arguments, monkeypatch) == ["health", "upload", "retrieval", "errors", "performance"]


def test_chosen_checks_run_in_their_own_order(monkeypatch: pytest.MonkeyPatch):
    """Whatever the order of the options."""
    assert chosen(["--errors", "--health"], monkeypatch) == ["health", "errors"]


def run_with(problems: list[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run one check that finds these problems."""
    monkeypatch.setitem(
        CHECKS, "health", lambda context: context.results.add("health", "nginx", problems, "answers")
    )
    monkeypatch.setattr("observability_checks.cli.reach_back_ends", lambda *_, **__: None)
    return main(["--health", *arguments])


def test_a_failed_check_exits_1_and_the_last_line_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The failure says what was expected and found, verbose or not."""
    assert run_with(["status 500, expected 200"], monkeypatch) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "0 passed, 1 failed"
    assert lines[-3:-1] == ["FAILED health: nginx", "  status 500, expected 200"]


def test_passing_checks_exit_0_and_are_listed_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Quiet by default."""
    assert run_with([], monkeypatch) == 0
    quiet = capsys.readouterr().out
    assert run_with([], monkeypatch, "--verbose") == 0
    verbose = capsys.readouterr().out
    assert "nginx: answers" not in quiet
    assert "nginx: answers" in verbose
    assert quiet.splitlines()[-1] == verbose.splitlines()[-1] == "1 passed, 0 failed"


def test_json_holds_every_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Names, verdicts, details, durations and figures."""
    file = tmp_path / "out.json"
    run_with(["status 500, expected 200"], monkeypatch, "--json", str(file))
    content = json.loads(file.read_text())
    assert (content["passed"], content["failed"], content["figures"]) == (0, 1, {})
    assert content["checks"] == [
        {
            "group": "health",
            "name": "nginx",
            "passed": False,
            "skipped": False,
            "detail": "status 500, expected 200",
            "seconds": 0.0,
        }
    ]


def test_a_skipped_check_is_named_with_its_reason_and_counts_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """What nobody could look at has not passed; it does not fail the run either."""
    file = tmp_path / "out.json"
    monkeypatch.setitem(
        CHECKS, "health", lambda context: context.results.skip("health", "LogQL", "answers 501")
    )
    monkeypatch.setattr("observability_checks.cli.reach_back_ends", lambda *_, **__: None)
    assert main(["--health", "--json", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["SKIPPED health: LogQL: answers 501", "0 passed, 0 failed, 1 skipped"]
    assert any(line.strip() == "skip LogQL" for line in lines)
    content = json.loads(file.read_text())
    assert (content["passed"], content["failed"], content["skipped"]) == (0, 0, 1)
    assert content["checks"][0]["detail"] == "answers 501"


def test_json_that_cannot_be_written_exits_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The result is not silently lost."""
    assert run_with([], monkeypatch, "--json", str(tmp_path / "no-folder" / "out.json")) == 2
    assert "cannot write" in capsys.readouterr().err


def test_results_know_their_failures():
    """A check with problems failed, one without passed."""
    results = Results()
    results.add("upload", "a", [], "fine")
    results.add("upload", "b", ["one", "two"], "fine")
    assert results.verdict == "1 passed, 1 failed"
    assert [check.detail for check in results.checks] == ["fine", "one; two"]


@pytest.mark.parametrize(
    ("given", "environment", "local", "expected"),
    [
        ({}, {}, {}, ()),
        (
            {},
            {},
            {"document_api": ["http://127.0.0.1:1", "http://127.0.0.1:2/"]},
            ("http://127.0.0.1:1", "http://127.0.0.1:2"),
        ),
        (
            {},
            {"DOCUMENT_API_URL": "http://a, http://b/"},
            {"document_api": ["http://x"]},
            ("http://a", "http://b"),
        ),
        ({"document_api": "http://c"}, {"DOCUMENT_API_URL": "http://a"}, {}, ("http://c",)),
    ],
    ids=["through nginx only", "local stack", "variable", "option"],
)
def test_an_address_comes_from_option_variable_stack_or_default(
    given: dict[str, str], environment: dict[str, str], local: dict[str, list[str]], expected: tuple[str, ...]
):
    """In this order."""
    assert options.targets(given, environment, local).all("document_api") == expected


def test_endpoints_of_a_running_local_stack_are_read(tmp_path: Path):
    """The stack writes them where its state is."""
    assert options.local_stack_endpoints(tmp_path) == {}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "endpoints.json").write_text('{"nginx": "http://127.0.0.1:8080"}')
    assert options.local_stack_endpoints(tmp_path) == {"nginx": "http://127.0.0.1:8080"}


def test_a_broken_file_of_endpoints_exits_2_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Checking another stack than the one that was meant would be worse."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "endpoints.json").write_text("{")
    assert main(["--health"]) == 2
    assert "endpoints.json" in capsys.readouterr().err


def shell(*command: str, state: Path) -> subprocess.CompletedProcess[str]:
    """Run test_observability.py as a user does."""
    environment = {**os.environ, "ROBIN_STATE_DIR": str(state)}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=CHECKOUT, check=False, timeout=60
    )


def test_the_shell_without_an_environment_says_how_to_make_it(tmp_path: Path):
    """-S hides installed packages, as the system's Python has none."""
    ended = shell(sys.executable, "-S", "test_observability.py", "--help", state=tmp_path)
    assert ended.returncode == 2
    assert "./setup-and-run.sh" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_shell_starts_again_in_the_projects_environment(tmp_path: Path):
    """Whatever Python it was called with; arguments are kept."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    python = tmp_path / "venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "again: $2 $3"\n')
    python.chmod(0o755)
    ended = shell(sys.executable, "-S", "test_observability.py", "--clients", "2", state=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "again: --clients 2\n")


def test_pytest_finds_nothing_in_the_shell(tmp_path: Path):
    """It is a tool with an unlucky name: collecting it neither runs nor breaks anything."""
    ended = shell(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "test_observability.py",
        state=tmp_path,
    )
    assert ended.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "no tests ran" in ended.stdout


def test_an_address_that_is_no_url_could_not_run(capsys: pytest.CaptureFixture[str]):
    """Exit 2 and one line, like any other server that cannot be reached."""
    assert main(["--health", "--nginx-url", "http://[", "--jaeger-url", "http://["]) == 2
    assert capsys.readouterr().err.strip()

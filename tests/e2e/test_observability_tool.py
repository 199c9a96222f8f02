"""test_observability.py against a whole stack: passes on a good one, fails and gives up as it says."""

import json
import re
import uuid
from pathlib import Path

import httpx
import pytest

from observability_checks.api import Api, Document, sample_text
from observability_checks.checks import CHECKS
from tests.e2e.conftest import RunningStack

# The rate of a machine that runs other things at the same time is no property of robin.
ANY_RATE = ("--min-rate", "1")


@pytest.fixture(scope="module")
def uploaded(stack: RunningStack, http: httpx.Client) -> Document:
    """One document of these tests."""
    return Api(http, stack.endpoints["nginx"]).upload("explained", "story.txt", sample_text(1, 1))


def test_every_check_passes_on_a_good_stack(stack: RunningStack, tmp_path: Path):
    """Exit 0, the verdict on the last line, every check in the JSON, and figures of the load."""
    file = tmp_path / "out.json"
    ended = stack.check(
        "--all", "--clients", "2", "--files", "2", "--load-factor", "0.2", *ANY_RATE, "--json", str(file)
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    content = json.loads(file.read_text())
    assert ended.stdout.splitlines()[-1] == f"{content['passed']} passed, 0 failed"
    assert {check["group"] for check in content["checks"]} == set(CHECKS)
    names = [check["name"] for check in content["checks"] if check["group"] == "upload"]
    assert sum(name.startswith("span tree of ") for name in names) == 4
    assert sum(name.startswith("log lines of ") for name in names) == 4
    assert content["figures"]["mixed"]["requests"] == 100


def test_a_threshold_that_is_not_met_fails(stack: RunningStack):
    """Exit 1, and the line says what was expected and found."""
    ended = stack.check("--performance", "--load-factor", "0.02", "--min-rate", "1000000")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert re.search(r"FAILED performance: rate\n  \d+ requests/s, expected at least 1e\+06\n", ended.stdout)
    assert re.fullmatch(r"\d+ passed, 1 failed", ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("server", ["jaeger", "prometheus", "logs", "nginx"])
def test_a_server_that_is_not_there_exits_2(stack: RunningStack, server: str):
    """Nothing is sent: the address is named, and the command that starts the stack."""
    ended = stack.check("--all", f"--{server}-url", "http://127.0.0.1:9")
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = ended.stderr.splitlines()
    assert len(lines) == 2
    assert "http://127.0.0.1:9" in lines[0]
    assert "./setup-and-run.sh" in lines[1]


def test_other_traffic_is_named_as_a_reason_for_counters_that_rose_too_far(
    stack: RunningStack, tmp_path: Path
):
    """Counters do not know who sent a request: a limit that the services do not have makes them rise by one more."""
    file = tmp_path / "out.json"
    ended = stack.check("--errors", "--max-upload-bytes", "1000", "--deadline", "2", "--json", str(file))
    assert ended.returncode == 1
    failed = {
        check["name"]: check["detail"]
        for check in json.loads(file.read_text())["checks"]
        if not check["passed"]
    }
    assert "status 200, expected 413" in failed["too large, declared: answer"]
    assert "other traffic" in failed["counters in Prometheus"]


def test_a_request_is_explained(stack: RunningStack, uploaded: Document, tmp_path: Path):
    """Span tree, log lines of all services in order, SQL statement, links; the same as JSON."""
    file = tmp_path / "story.json"
    correlation_id = uploaded.exchange.correlation_id

    explained = stack.check("--explain", correlation_id, "--json", str(file))
    assert explained.returncode == 0, explained.stdout + explained.stderr
    story = json.loads(file.read_text())
    assert [span["depth"] for span in story["spans"]] == [0, 1, 2, 3, 3, 2, 2, 3, 4, 5, 5, 5]
    assert len(story["lines"]) == 4
    assert {line["service"] for line in story["lines"]} == {"nginx", "document-api", "data-store"}
    assert [line["time"] for line in story["lines"]] == sorted(line["time"] for line in story["lines"])
    assert story["statements"][0]["text"].startswith("WITH client AS")
    shown = stack.check("--explain", correlation_id).stdout
    for text in (
        f"Request {correlation_id}",
        "sql_execution [data-store client]",
        "PUT /clients/explained/upload-document 200",
        "INSERT document_metadata",
        f"/api/traces/{story['trace_ids'][0]}",
    ):
        assert text in shown


def test_an_unknown_request_has_no_story(stack: RunningStack):
    """Exit 1: the back ends answer, and none knows it."""
    ended = stack.check("--explain", str(uuid.uuid4()))
    assert ended.returncode == 1
    assert "no trace has this correlation ID" in ended.stdout

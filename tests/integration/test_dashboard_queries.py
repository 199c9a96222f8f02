"""Prometheus' own parser takes every PromQL expression of the dashboards and data sources."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from local_stack.build import PROGRAMS, build, cache_dir

ROOT = Path(__file__).parents[2]
# Grafana replaces its variables before it asks.
VARIABLES = re.compile(r"\$__\w+")


@pytest.fixture(scope="module")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prometheus' checker, built where it is missing."""
    program = next(program for program in PROGRAMS if "promtool" in program.binaries)
    log = tmp_path_factory.mktemp("build") / "build.log"
    return next(path for path in build(program, cache_dir(os.environ), log=log) if path.name == "promtool")


def expressions() -> list[str]:
    """Return every PromQL expression of every dashboard."""
    boards = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
    return [
        VARIABLES.sub("5m", target["expr"])
        for board in boards
        for panel in json.loads(board.read_text())["panels"]
        for target in panel.get("targets", [])
        if target["datasource"]["type"] == "prometheus"
    ]


def check(promtool: Path, folder: Path, queries: list[str]) -> subprocess.CompletedProcess[str]:
    """Check expressions as rules, each under a name of its own."""
    file = folder / "rules.yml"
    rules = [{"record": f"query:{index}", "expr": query} for index, query in enumerate(queries)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    return subprocess.run(
        [promtool, "check", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )


def test_every_query_of_the_dashboards_is_promql(promtool: Path, tmp_path: Path) -> None:
    """As the server would read it."""
    queries = expressions()
    assert queries
    result = check(promtool, tmp_path, queries)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_parser_refuses_what_is_no_promql(promtool: Path, tmp_path: Path) -> None:
    """A check that takes everything would check nothing."""
    assert check(promtool, tmp_path, ["sum by job (up)"]).returncode != 0

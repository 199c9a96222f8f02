"""Prometheus' own parser takes every PromQL expression of the dashboards."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_stack.build import PROGRAMS, build, cache_dir
from tests.queries import dashboard_queries

ROOT = Path(__file__).parents[2]
SELECTED = re.compile(r"label_values\((.*), (\w+)\)")


@pytest.fixture(scope="module")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prometheus' checker, built where it is missing."""
    program = next(program for program in PROGRAMS if "promtool" in program.binaries)
    log = tmp_path_factory.mktemp("build") / "build.log"
    return next(path for path in build(program, cache_dir(os.environ), log=log) if path.name == "promtool")


def boards() -> Iterator[dict[str, Any]]:
    """Yield every dashboard."""
    for file in sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json")):
        yield json.loads(file.read_text())


def annotations() -> Iterator[str]:
    """Yield what marks moments on the dashboards."""
    return (each["expr"] for board in boards() for each in board["annotations"]["list"])


def choices() -> Iterator[str]:
    """Yield the series whose labels are the values of a variable."""
    for board in boards():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                found = SELECTED.fullmatch(variable["query"]["query"])
                assert found, variable["query"]
                yield found[1]


def check(promtool: Path, folder: Path, queries: list[str]) -> subprocess.CompletedProcess[str]:
    """Check expressions as rules, each under a name of its own."""
    file = folder / "rules.yml"
    rules = [{"record": f"query:{index}", "expr": query} for index, query in enumerate(queries)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    return subprocess.run(
        [promtool, "check", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )


def test_every_query_of_the_dashboards_is_promql(promtool: Path, tmp_path: Path) -> None:
    """Of panels, annotations and variables, as the server would read it."""
    panels = [query.expression for query in dashboard_queries()]
    assert len(panels) > 100
    result = check(promtool, tmp_path, [*panels, *annotations(), *choices()])
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_parser_refuses_what_is_no_promql(promtool: Path, tmp_path: Path) -> None:
    """A check that takes everything would check nothing."""
    assert check(promtool, tmp_path, ["sum by job (up)"]).returncode != 0

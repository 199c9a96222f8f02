"""Every LogQL expression of the project against Grafana's own grammar: a Loki that could answer is not needed."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_stack.build import cache_dir
from local_stack.services import digest_files
from telemetry_queries import loki
from tests.boards import targets
from tests.documents import fenced
from tests.queries import DOCUMENTS

ROOT = Path(__file__).parents[2]
GRAMMAR = ROOT / "tests" / "logql"
INSTALL_SECONDS = 120
ID = "6f1c9a52-7d0e-4b63-9c53-0f6d0f4f7a11"
# Grafana replaces its variables before it asks: any value of the right form will do.
VARIABLES = re.compile(r"\$+\{[^}]+\}|\$__(interval|range|auto)|\$\w+")

Checker = Callable[[Sequence[str]], list[list[str]]]


@pytest.fixture(scope="module")
def errors_in() -> Checker:
    """Ask node, which runs the grammar, for the errors in each expression."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"LogQL is not checked: {' and '.join(missing)} not installed")
    folder = installed_grammar()

    def check(expressions: Sequence[str]) -> list[list[str]]:
        result = subprocess.run(
            ["node", "check.mjs"],
            cwd=folder,
            input=json.dumps(expressions),
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
        assert result.returncode == 0, result.stderr
        found: list[list[str]] = json.loads(result.stdout)
        return found

    return check


def installed_grammar() -> Path:
    """A folder in the cache with the grammar, pinned by hash; installed whole or not at all."""
    files = [GRAMMAR / name for name in ("package.json", "package-lock.json", "check.mjs")]
    folder = cache_dir(os.environ) / f"logql-{digest_files(files)}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            partial = Path(scratch) / "grammar"
            partial.mkdir()
            for file in files:
                shutil.copy(file, partial)
            command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            result = subprocess.run(
                command, cwd=partial, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
            )
            assert result.returncode == 0, result.stderr
            with suppress(OSError):  # another run was quicker
                partial.rename(folder)
    return folder


def of_the_checks() -> Iterator[str]:
    """What test_observability.py and document_api ask."""
    yield loki.by_correlation_id(ID)
    yield loki.of_the_edge(failed=False)
    yield loki.of_the_edge(failed=True)


def of_grafana() -> Iterator[str]:
    """What Grafana's dashboards, alerts and data sources ask of Loki."""
    for file in sorted((ROOT / "monitoring").rglob("*")):
        if file.suffix in {".json", ".yml", ".yaml"} and "grafana" in file.parts:
            yield from _loki_queries(yaml.safe_load(file.read_text()))


def _loki_queries(node: Any, *, of_loki: bool = False) -> Iterator[str]:
    """Find `expr` and `query` below whatever names Loki as its data source."""
    if isinstance(node, list):
        for each in node:
            yield from _loki_queries(each, of_loki=of_loki)
    elif isinstance(node, dict):
        source = node.get("datasource") or node.get("datasourceUid")
        if source is not None:
            of_loki = "loki" in json.dumps(source).lower()
        for key, value in node.items():
            if of_loki and key in {"expr", "query"} and isinstance(value, str):
                yield value
            else:
                yield from _loki_queries(value, of_loki=of_loki)


def of_the_documents() -> Iterator[str]:
    """Queries to paste, each on a line of its own."""
    for document in DOCUMENTS:
        for block in fenced(document.read_text(), "logql"):
            yield from block.splitlines()


def with_values(expression: str) -> str:
    """Return the expression as it is once Grafana has put in its variables."""
    return VARIABLES.sub(lambda match: "5m" if match[1] else "value", expression)


@pytest.mark.parametrize(
    "source", [of_the_checks, of_grafana, of_the_documents], ids=lambda each: each.__name__
)
def test_every_logql_expression_is_one(source: Callable[[], Iterator[str]], errors_in: Checker):
    """As the server would read it."""
    expressions = list(map(with_values, source()))
    assert expressions
    assert {
        expression: found
        for expression, found in zip(expressions, errors_in(expressions), strict=True)
        if found
    } == {}


def test_no_query_of_a_dashboard_is_missed():
    """Every panel that asks Loki, counted by hand."""
    asked = [target["expr"] for _, _, target in targets("loki")]
    assert len(asked) > 10
    assert set(asked) <= set(of_grafana())


@pytest.mark.parametrize(
    "broken",
    [
        '{service_namespace="robin"} correlation_id="x"',
        '{service_namespace="robin"} |',
        "{service_namespace=robin}",
        '{service_namespace="robin"',
        "",
    ],
)
def test_the_grammar_refuses_what_loki_would_refuse(broken: str, errors_in: Checker):
    """A check that takes everything would check nothing."""
    assert errors_in([broken]) != [[]]


def test_every_logql_expression_of_the_checks_stands_in_one_module():
    """So that the grammar sees all of them."""
    others = [path for path in (ROOT / "observability_checks").rglob("*.py") if path.name != "loki.py"]
    assert others
    assert [
        str(path)
        for path in others
        if "service_namespace=" in path.read_text() or "{service_" in path.read_text()
    ] == []

"""The pictures ask the local stack's log store what the boards ask Loki, and write values for people."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitoring.pictures.logql import NotTranslatedError, translated
from monitoring.pictures.units import shown
from tests.boards import targets

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# What draws, as it is imported and as it is installed.
DRAWING = {"matplotlib": "matplotlib", "PIL": "pillow"}
OURS = {"document_api", "monitoring", "observability", "observability_checks", "telemetry_queries"}


def imported() -> Iterator[str]:
    """Yield the packages that the pictures' modules import."""
    for file in (ROOT / "monitoring" / "pictures").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (each.name.split(".")[0] for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.split(".")[0]


def test_what_draws_is_declared() -> None:
    """Each package by itself: one that comes with another today may not tomorrow."""
    assert set(imported()) - OURS - sys.stdlib_module_names == DRAWING.keys() | {"httpx"}
    declared = {
        re.split(r"[^\w-]", each)[0] for each in PROJECT["project"]["optional-dependencies"]["pictures"]
    }
    assert set(DRAWING.values()) <= declared


def test_types_are_checked_alike_with_what_draws_and_without_it() -> None:
    """Mypy follows it neither where it is installed nor where it is not."""
    (override,) = [
        each
        for each in PROJECT["tool"]["mypy"]["overrides"]
        if set(each["module"]) & {f"{name}.*" for name in DRAWING}
    ]
    assert override == {
        "module": [f"{name}.*" for name in DRAWING],
        "ignore_missing_imports": True,
        "follow_imports": "skip",
        "follow_imports_for_stubs": True,
    }
    sources = [file.read_text() for file in (ROOT / "monitoring" / "pictures").glob("*.py")]
    assert [text for text in sources if "type: ignore" in text] == []


def test_every_question_of_the_boards_to_loki_is_translated() -> None:
    """Lines where the panel lists lines, numbers everywhere else."""
    asked = [(panel["type"], target["expr"]) for _, panel, target in targets("loki")]
    assert asked
    for kind, expression in asked:
        assert bool(translated(expression).statistics) == (kind != "logs"), expression


@pytest.mark.parametrize(
    ("logql", "lines"),
    [
        ('{service_name="nginx"}', '"service.name":="nginx"'),
        ('{service_name=~"a|b", severity_text=~".*"}', '"service.name":~"^(a|b)$"'),
        ('{service_name="a"} |= "Document uploaded"', '"service.name":="a" _msg:~"Document uploaded"'),
        ('{service_name="a"} |~ "slow|failed"', '"service.name":="a" _msg:~"slow|failed"'),
        ('{service_name="a"} | client_id!=""', '"service.name":="a" -"client_id":=""'),
        ('{service_name="a"} | context_data_duration > 1', '"service.name":="a" "context_data.duration":>1'),
        ('{service_name=~".*"} | client_id=~".*" |~ "(?i)"', "*"),
    ],
)
def test_lines_are_chosen_alike(logql: str, lines: str) -> None:
    """A pattern that matches everything is no condition."""
    assert translated(logql).lines == lines


@pytest.mark.parametrize(
    ("logql", "statistics"),
    [
        (
            'sum by (service_name) (count_over_time({service_name="a"} [5m]))',
            '"service.name":="a" | stats by (service.name) count() value',
        ),
        (
            'topk(3, sum by (client_id) (sum_over_time({service_name="a"} | unwrap context_data_file_size [1h])))',
            (
                '"service.name":="a" | stats by (client_id) sum(context_data.file_size) value'
                " | sort by (value desc) | limit 3"
            ),
        ),
        (
            'quantile_over_time(0.95, {service_name="a"} | unwrap context_data_duration [1m]) by (client_id)',
            '"service.name":="a" | stats by (client_id) quantile(0.95, context_data.duration) value',
        ),
    ],
)
def test_numbers_are_asked_for_alike(logql: str, statistics: str) -> None:
    """Counts, sums and quantiles by label, the largest of them."""
    assert translated(logql).statistics == statistics


@pytest.mark.parametrize("logql", ["vector(0)", 'rate({service_name="a"} [1m])'])
def test_what_is_not_known_is_refused(logql: str) -> None:
    """A panel then says so, rather than showing something else."""
    with pytest.raises(NotTranslatedError):
        translated(logql)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "s", "12.3 ms"),
        (0.00002, "s", "20 µs"),
        (90, "s", "90 s"),
        (180, "s", "3 min"),
        (0.0512, "percentunit", "5.12%"),
        (52_428_800, "bytes", "50 MiB"),
        (1234, "short", "1.23 K"),
        (12.5, "reqps", "12.5 req/s"),
        (14.4, "suffix:x", "14.4x"),
        (0, "bytes", "0 B"),
    ],
)
def test_values_are_written_for_people(value: float, unit: str, text: str) -> None:
    """With three digits, and the unit that the board has."""
    assert shown(value, unit) == text

"""What a goal's measurement comes to: tables for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich import table as rich_table
from rich.console import Console


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; the first column is what they are about."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A bar for each thing, at the median of its rounds, which are dots."""

    title: str
    unit: str
    values: Mapping[str, Sequence[float]]
    bound: float | None = None


@dataclass(frozen=True, kw_only=True)
class Stacks:
    """A bar for each thing, made of parts."""

    title: str
    unit: str
    parts: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Curves over one axis."""

    title: str
    unit: str
    axis: str
    points: Mapping[str, Sequence[tuple[float, float]]]
    bound: float | None = None


Chart = Bars | Stacks | Lines


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcome of one goal; `noise` says why it is not to be relied upon, None where a busy machine changes nothing."""

    goal: str
    noise: Sequence[str] | None
    tables: Sequence[Table]
    statements: Sequence[str]
    charts: Sequence[Chart]
    data: Mapping[str, Any]

    def show(self, console: Console) -> None:
        """Print it."""
        for table in self.tables:
            console.print(_rendered(table))
        for statement in self.statements:
            console.print(statement, highlight=False)
        if self.noise:
            console.print("\nTOO NOISY, do not rely on these figures:", style="bold red")
            for reason in self.noise:
                console.print(f"  {reason}", highlight=False)
        elif self.noise is not None:
            console.print("\nThe machine was quiet enough.", style="green")

    def write(self, file: Path, description: Mapping[str, Any]) -> None:
        """Write all of it, with what it was measured on."""
        content = {
            "goal": self.goal,
            **description,
            "noise": self.noise,
            "statements": self.statements,
            **self.data,
        }
        file.write_text(json.dumps(content, indent=1, default=_plain) + "\n")


def _rendered(table: Table) -> rich_table.Table:
    rendered = rich_table.Table(title=table.title, title_justify="left", box=box.SIMPLE)
    for index, name in enumerate(table.head):
        rendered.add_column(name, justify="right" if index else "left", no_wrap=True)
    for row in table.rows:
        rendered.add_row(*row)
    return rendered


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")

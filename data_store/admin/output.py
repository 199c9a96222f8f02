"""How answers are written: for people or for programs."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import Any

from observability.fields import rfc3339

Row = Mapping[str, Any]


def table(rows: Sequence[Row]) -> str:
    """Return rows below their names, numbers to the right; 'none' where there is no row."""
    if not rows:
        return "none"
    names = list(rows[0])
    lines = [
        [name.replace("_", " ") for name in names],
        *([cell(row[name]) for name in names] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [{type(row[name]) for row in rows} - {NoneType} == {int} for name in names]
    return "\n".join(
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def cell(value: object) -> str:
    """Return a value as people read it."""
    if value is None:
        return "-"
    return when(value) if isinstance(value, datetime) else str(value)


def when(moment: datetime) -> str:
    """Return a moment to the second, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def as_json(data: object) -> str:
    """Return data for programs; moments are RFC 3339."""
    return json.dumps(data, ensure_ascii=False, default=_plain)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"{value!r} has no JSON")

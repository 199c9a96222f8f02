"""The boards' LogQL as LogsQL, since the local stack's logs are in VictoriaLogs: no more of the language than they use."""

import re
from dataclasses import dataclass
from typing import Final

_SELECTOR: Final = re.compile(r"\{([^}]*)\}((?:[^\[\"]|\"[^\"]*\")*)")
_FILTER: Final = re.compile(r'(\w+)\s*(=~|!=|=|>)\s*("[^"]*"|[\d.]+)')
_LINE: Final = re.compile(r'\|([=~])\s*("[^"]*")')
_UNWRAP: Final = re.compile(r"\|\s*unwrap\s+(\w+)")
_BY: Final = re.compile(r"\bby \(([^)]*)\)")
_TOP: Final = re.compile(r"^topk\((\d+),")
_QUANTILE: Final = re.compile(r"quantile_over_time\(([\d.]+),")


class NotTranslatedError(Exception):
    """The expression uses more of LogQL than is known here."""


@dataclass(frozen=True)
class LogsQuery:
    """What VictoriaLogs is asked: for lines, or for statistics of them."""

    lines: str
    statistics: str = ""


def translated(expression: str) -> LogsQuery:
    """Return the same question in LogsQL; raise NotTranslatedError."""
    found = _SELECTOR.search(expression)
    if found is None:
        raise NotTranslatedError(expression)
    lines = " ".join([*_filters(found[1]), *_filters(_LINE.sub("", found[2])), *_texts(found[2])]) or "*"
    function = _function(expression, found[2])
    if not function:
        return LogsQuery(lines)
    by = _BY.search(expression)
    labels = ", ".join(map(_field, by[1].split(", "))) if by else ""
    top = _TOP.match(expression)
    best = f" | sort by (value desc) | limit {top[1]}" if top else ""
    return LogsQuery(lines, f"{lines} | stats by ({labels}) {function} value{best}")


def label(field: str) -> str:
    """Return the name under which Loki would know a field."""
    return field.replace(".", "_")


def _function(expression: str, stages: str) -> str:
    unwrapped = _UNWRAP.search(stages)
    if quantile := _QUANTILE.search(expression):
        if unwrapped is None:
            raise NotTranslatedError(expression)
        return f"quantile({quantile[1]}, {_field(unwrapped[1])})"
    if "sum_over_time(" in expression and unwrapped:
        return f"sum({_field(unwrapped[1])})"
    if "count_over_time(" in expression:
        return "count()"
    if "(" in expression.split("{", 1)[0]:
        raise NotTranslatedError(expression)
    return ""


def _filters(text: str) -> list[str]:
    return [
        written
        for name, operator, value in _FILTER.findall(_UNWRAP.sub("", text))
        if (written := _filter(_field(name), operator, value))
    ]


def _filter(field: str, operator: str, value: str) -> str:
    if operator == "=~":
        # In Loki a pattern is anchored, and what is missing is empty.
        return "" if re.fullmatch(value[1:-1], "") else f'"{field}":~"^({value[1:-1]})$"'
    if operator == "!=":
        return f'-"{field}":={value}'
    return f'"{field}":{operator}{value}'


def _texts(stages: str) -> list[str]:
    """Return what lines must contain; a pattern that matches everything is no condition."""
    return [
        f"_msg:~{text if operator == '~' else _escaped(text)}"
        for operator, text in _LINE.findall(stages)
        if not re.fullmatch(text[1:-1], "")
    ]


def _escaped(text: str) -> str:
    return f'"{re.escape(text[1:-1])}"'.replace("\\ ", " ")


def _field(name: str) -> str:
    for prefix in ("service_", "context_data_"):
        if name.startswith(prefix):
            return prefix[:-1] + "." + name.removeprefix(prefix)
    return name

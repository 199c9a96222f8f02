"""Boards of Grafana as data: rows of panels, laid out from left to right, with variables and annotations."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from monitoring.generate.panels import Json, Panel, data_source
from observability.signals import PROCESS_CPU_TIME

_COLUMNS: Final = 24
_TAG: Final = "robin"

_RESTARTS: Final = (
    f'resets({PROCESS_CPU_TIME.prometheus_name}{{type="user"}}[1m]) > 0'
    " or changes(process_start_time_seconds[1m]) > 0"
    " or resets(otelcol_process_uptime_seconds_total[1m]) > 0"
)


_SHOWN: Final = {
    "datasource": data_source("prometheus"),
    "enable": True,
    "hide": False,
    "step": "60s",
}
_ANNOTATIONS: Final = (
    {
        **_SHOWN,
        "name": "Alerts",
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{service}} {{severity}}",
        "tagKeys": "severity,area",
    },
    {
        **_SHOWN,
        "name": "Restarts",
        "iconColor": "blue",
        "expr": _RESTARTS,
        "titleFormat": "{{job}} has restarted",
        "textFormat": "{{instance}}",
        "tagKeys": "job",
    },
)

# The boards' own links: to each other, with the time shown and the variables.
_LINKS: Final = {
    "type": "dashboards",
    "title": "",
    "tags": [_TAG],
    "asDropdown": False,
    "includeVars": True,
    "keepTime": True,
    "targetBlank": False,
    "icon": "external link",
    "tooltip": "",
    "url": "",
}


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A choice at the top of a board: of values that a query finds, of values given, or free text."""

    name: str
    label: str
    description: str
    query: str = ""
    values: tuple[str, ...] = ()

    def json(self) -> Json:
        """Return the variable; where there is a choice, all of it is chosen."""
        named: Json = {
            "name": self.name,
            "label": self.label,
            "description": self.description,
            "hide": 0,
            "options": [],
        }
        if not self.query and not self.values:
            return {**named, "type": "textbox", "query": "", "current": {"text": "", "value": ""}}
        several = {
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }
        if self.values:
            return {**named, **several, "type": "custom", "query": ",".join(self.values)}
        return {
            **named,
            **several,
            "type": "query",
            "datasource": data_source("prometheus"),
            "definition": self.query,
            "query": {"query": self.query, "refId": self.name},
            "refresh": 2,
            "regex": "",
            "sort": 1,
        }


@dataclass(frozen=True)
class Row:
    """A heading and the panels under it."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A dashboard; its file has the name of its module."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = field(default_factory=tuple)
    refresh: str = "30s"

    def text(self, titles: Mapping[str, str]) -> str:
        """Return the file; `titles` are those of all boards, by uid."""
        board = {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [_TAG],
            "schemaVersion": 41,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": self.refresh,
            "time": {"from": "now-30m", "to": "now"},
            "timezone": "utc",
            "annotations": {"list": _ANNOTATIONS},
            "links": [_LINKS],
            "templating": {"list": [variable.json() for variable in self.variables]},
            "panels": list(self._panels(titles)),
        }
        return json.dumps(board, indent=2, ensure_ascii=False) + "\n"

    def _panels(self, titles: Mapping[str, str]) -> Iterator[Json]:
        number, top = 0, 0
        for row in self.rows:
            number += 1
            place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
            yield {
                "id": number,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
            left, top, height = 0, top + 1, 0
            for panel in row.panels:
                if left + panel.width > _COLUMNS:
                    left, top, height = 0, top + height, 0
                number += 1
                place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
                yield panel.json(number, place, titles)
                left, height = left + panel.width, max(height, panel.height)
            top += height

"""Panels of Grafana as data: what is asked, how it is shown, and where one goes from there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from observability.signals import METRICS

Json = dict[str, Any]
Kind = Literal["stat", "timeseries", "table", "state-timeline", "heatmap", "bargauge", "logs"]
Source = Literal["prometheus", "loki", "jaeger"]
Step = tuple[float, str]

# By Grafana's proxy of its data source to Prometheus, which serves the runbooks: meant to be right on whatever ports the
# two listen. Prometheus' half is tested; that Grafana hands it on is its documentation's word, tried by nobody here.
RUNBOOKS: Final = "/api/datasources/proxy/uid/prometheus/user/runbooks"
_OVER_TIME: Final = frozenset({"timeseries", "heatmap", "state-timeline", "logs"})
# Prometheus keeps a histogram's at its buckets.
_WITH_EXEMPLARS: Final = re.compile(
    "|".join(
        rf"\b{metric.prometheus_name}{'_bucket' if metric.kind == 'histogram' else ''}\b"
        for metric in METRICS
        if metric.exemplars
    )
)


def above(*limits: float) -> tuple[Step, ...]:
    """Warn above the first limit; above the second it is critical."""
    return tuple(zip(limits, ("orange", "red"), strict=False))


def below(warning: float, critical: float) -> tuple[Step, ...]:
    """Warn below the first limit; below the second it is critical."""
    return ((float("-inf"), "red"), (critical, "orange"), (warning, "green"))


def data_source(source: Source) -> Json:
    """Name a data source as panels do."""
    return {"type": source, "uid": source}


@dataclass(frozen=True, kw_only=True)
class Target:
    """One query. `{{label}}` in the legend is filled in by Grafana."""

    expr: str
    legend: str = ""
    source: Source = "prometheus"
    options: Mapping[str, Any] = field(default_factory=dict)

    def json(self, ref: str, kind: Kind) -> Json:
        """Return what the data source is asked for a panel of this kind."""
        target: Json = {"refId": ref, "datasource": data_source(self.source)}
        if self.source == "jaeger":
            return {**target, **self.options}
        target["expr"] = self.expr
        if kind != "logs":
            target["legendFormat"] = self.legend
        return {**target, **(self._prometheus(kind) if self.source == "prometheus" else self._loki(kind))}

    def _prometheus(self, kind: Kind) -> Json:
        over_time = self.options.get("over_time", kind in _OVER_TIME)
        form = {"table": "table", "heatmap": "heatmap"}.get(kind, "time_series")
        asked: Json = {"range": over_time, "instant": not over_time, "format": form}
        if kind in {"timeseries", "heatmap"} and _WITH_EXEMPLARS.search(self.expr):
            asked["exemplar"] = True
        if interval := self.options.get("interval"):
            asked["interval"] = interval
        return asked

    def _loki(self, kind: Kind) -> Json:
        return {"queryType": "range" if kind in _OVER_TIME else "instant"}


@dataclass(frozen=True)
class Column:
    """A column of a table: a label, or `Value #A` of the query A; its heading and its unit."""

    name: str
    title: str
    unit: str = ""
    steps: tuple[Step, ...] = ()
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. `steps` are its thresholds, `alerts` those that watch the same quantity, `links` uids of boards."""

    kind: Kind
    title: str
    description: str
    targets: Sequence[Target]
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: tuple[Step, ...] = ()
    alerts: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    no_value: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()

    @property
    def source(self) -> Source:
        """Return the data source, one for all queries."""
        (source,) = {target.source for target in self.targets}
        return source

    def json(self, number: int, place: Json, titles: Mapping[str, str]) -> Json:
        """Return the panel at its place; `titles` are those of all boards, by uid."""
        panel: Json = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": data_source(self.source),
            "gridPos": place,
            "fieldConfig": {"defaults": self._defaults(), "overrides": [*map(_override, self.columns)]},
            "options": dict(self.options),
            "links": [*map(_runbook, self.alerts), *(_link(uid, titles[uid]) for uid in self.links)],
            "targets": [
                target.json(chr(ord("A") + index), self.kind) for index, target in enumerate(self.targets)
            ],
        }
        if self.columns:
            panel["transformations"] = _arranged(self.columns)
        return panel

    def _defaults(self) -> Json:
        defaults: Json = {"unit": self.unit, "thresholds": thresholds(self.steps), **self.defaults}
        if self.no_value:
            defaults["noValue"] = self.no_value
        if self.kind == "timeseries" and self.steps:
            defaults["custom"] = {**defaults["custom"], "thresholdsStyle": {"mode": "dashed"}}
        return defaults


def thresholds(steps: Sequence[Step]) -> Json:
    """Return thresholds as Grafana has them: the first is the base and has no value."""
    base, rest = ("red", steps[1:]) if steps and steps[0][0] == float("-inf") else ("green", steps)
    return {
        "mode": "absolute",
        "steps": [{"color": base, "value": None}, *({"color": c, "value": v} for v, c in rest)],
    }


def _runbook(alert: str) -> Json:
    return {"title": f"Runbook: {alert}", "url": f"{RUNBOOKS}/{alert}.md", "targetBlank": True}


def _link(uid: str, title: str) -> Json:
    return {"title": title, "url": f"/d/{uid}?${{__url_time_range}}&${{__all_variables}}"}


def _override(column: Column) -> Json:
    properties: list[Json] = []
    if column.unit:
        properties.append({"id": "unit", "value": column.unit})
    if column.steps:
        properties += [
            {"id": "thresholds", "value": thresholds(column.steps)},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ]
    if column.url:
        link = {"title": "Runbook", "url": column.url, "targetBlank": True}
        properties.append({"id": "links", "value": [link]})
    return {"matcher": {"id": "byName", "options": column.title}, "properties": properties}


def _arranged(columns: Sequence[Column]) -> list[Json]:
    """Join the queries' tables by their labels, and name, order and choose the columns."""
    arrangement = {
        "excludeByName": {"Time": True},
        "indexByName": {column.name: index for index, column in enumerate(columns)},
        "renameByName": {column.name: column.title for column in columns},
    }
    return [{"id": "merge", "options": {}}, {"id": "organize", "options": arrangement}]


_LEGEND: Final = {"displayMode": "list", "placement": "bottom", "showLegend": True}


def stat(title: str, description: str, *targets: Target, over_time: bool = True, **more: Any) -> Panel:
    """Show the newest value large; over time with a small graph behind it."""
    return Panel(
        kind="stat",
        title=title,
        description=description,
        targets=[_stretched(target, over_time=over_time) for target in targets],
        options={
            "graphMode": "area" if over_time else "none",
            "colorMode": "value",
            "justifyMode": "auto",
            "textMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        **{"width": 6, "height": 4, **more},
    )


def _stretched(target: Target, *, over_time: bool) -> Target:
    return Target(
        expr=target.expr,
        legend=target.legend,
        source=target.source,
        options={"over_time": over_time, **target.options},
    )


def lines(
    title: str,
    description: str,
    *targets: Target,
    bars: bool = False,
    stacked: bool = False,
    below_zero: bool = False,
    **more: Any,
) -> Panel:
    """Draw over time, from zero upwards unless there may be something below."""
    custom: Json = {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 60 if bars else 10,
        "showPoints": "never",
        "spanNulls": 60000,
    }
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    if below_zero:
        custom["axisSoftMin"] = 0
    return Panel(
        kind="timeseries",
        title=title,
        description=description,
        targets=targets,
        defaults={
            **({} if below_zero else {"min": 0}),
            "color": {"mode": "palette-classic"},
            "custom": custom,
            **more.pop("defaults", {}),
        },
        options={"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
        **more,
    )


def heatmap(title: str, description: str, target: Target, *, unit: str, **more: Any) -> Panel:
    """Draw a histogram's buckets over time."""
    return Panel(
        kind="heatmap",
        title=title,
        description=description,
        targets=[target],
        defaults={"custom": {"scaleDistribution": {"type": "linear"}}},
        options={
            "calculate": False,
            "cellGap": 1,
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "exponent": 0.5,
                "scale": "exponential",
                "fill": "dark-orange",
                "steps": 64,
                "reverse": False,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "showValue": "never",
            "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
        },
        **more,
    )


def table(title: str, description: str, *targets: Target, columns: Sequence[Column], **more: Any) -> Panel:
    """List the newest values; the queries are joined by their labels."""
    return Panel(
        kind="table",
        title=title,
        description=description,
        targets=targets,
        columns=tuple(columns),
        options={"showHeader": True, "cellHeight": "sm"},
        **more,
    )


def states(
    title: str, description: str, *targets: Target, names: Mapping[int, tuple[str, str]], **more: Any
) -> Panel:
    """Draw states over time; `names` gives each value its text and colour."""
    mapped = {
        str(value): {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(names.items())
    }
    return Panel(
        kind="state-timeline",
        title=title,
        description=description,
        targets=targets,
        defaults={
            "color": {"mode": "thresholds"},
            "custom": {"fillOpacity": 70, "lineWidth": 0},
            "mappings": [{"type": "value", "options": mapped}],
        },
        options={
            "mergeValues": True,
            "showValue": "never",
            "alignValue": "left",
            "rowHeight": 0.9,
            "legend": _LEGEND,
            "tooltip": {"mode": "single", "sort": "none"},
        },
        **more,
    )


def ranking(title: str, description: str, target: Target, **more: Any) -> Panel:
    """Compare the newest values as bars."""
    return Panel(
        kind="bargauge",
        title=title,
        description=description,
        targets=[target],
        defaults={"min": 0, "color": {"mode": "continuous-BlPu"}},
        options={
            "displayMode": "gradient",
            "orientation": "horizontal",
            "showUnfilled": True,
            "valueMode": "color",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        **more,
    )


def log_lines(title: str, description: str, expression: str, **more: Any) -> Panel:
    """List log lines, the newest first."""
    return Panel(
        kind="logs",
        title=title,
        description=description,
        targets=[Target(expr=expression, source="loki")],
        unit="string",
        options={
            "showTime": True,
            "wrapLogMessage": True,
            "enableLogDetails": True,
            "sortOrder": "Descending",
            "dedupStrategy": "none",
            "prettifyLogMessage": False,
        },
        **{"width": 24, "height": 9, **more},
    )


def found_traces(title: str, description: str, *, service: str, tags: str, **more: Any) -> Panel:
    """List the traces that Jaeger finds by their tags."""
    search = {"queryType": "search", "service": service, "tags": tags, "limit": 20}
    return Panel(
        kind="table",
        title=title,
        description=description,
        targets=[Target(expr="", source="jaeger", options=search)],
        unit="string",
        **more,
    )

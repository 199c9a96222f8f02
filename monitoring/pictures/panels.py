"""Each kind of panel, drawn from its JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from matplotlib.dates import DateFormatter
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from monitoring.pictures.sources import Series, Sources
from monitoring.pictures.units import shown

Panel = Mapping[str, Any]
Axes = Any

GREY: Final = "#6b7280"
PALETTE: Final = (
    "#3b7dd8",
    "#e08a1e",
    "#4fa35a",
    "#c9473f",
    "#8764b8",
    "#20a3a8",
    "#b0577b",
    "#8c8c3a",
    "#5f6fa8",
    "#a0673f",
)
_COLORS: Final = {
    "green": "#3c9a4b",
    "orange": "#e08a1e",
    "yellow": "#d9b400",
    "red": "#cf3f36",
    "blue": "#3b7dd8",
}
_EXEMPLAR: Final = "#b13fb1"
_LEGEND_ROWS: Final = 3
_LEGEND_TEXT: Final = 34
_CHARACTER: Final = 5.1  # pixels of a character in lists
_TABLE_CHARACTER: Final = 5.8
_LINE: Final = 15  # pixels of a line in lists


@dataclass(frozen=True)
class Margins:
    """Pixels between a panel's frame and what is drawn."""

    left: int = 10
    right: int = 10
    top: int = 24
    bottom: int = 8


MARGINS: Final = {
    "stat": Margins(),
    "timeseries": Margins(left=48, bottom=58),
    "heatmap": Margins(left=48, bottom=24),
    "state-timeline": Margins(left=190, bottom=24),
    "bargauge": Margins(left=80, right=60),
    "table": Margins(),
    "logs": Margins(),
}


def say(axes: Axes, text: str) -> None:
    """Write instead of drawing."""
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes, size=8)


def stat(axes: Axes, panel: Panel, sources: Sources) -> None:
    """Write the newest values large, with their course behind them."""
    found = _found(panel, sources)
    if not found:
        say(axes, _defaults(panel).get("noValue", "no data"))
        return
    axes.axis("off")
    for index, series in enumerate(found):
        color = _color(panel, series.last)
        centre = (index + 0.5) / len(found)
        axes.text(
            centre,
            0.58,
            _value(panel, series.last),
            ha="center",
            va="center",
            size=17 if len(found) == 1 else 12,
            weight="bold",
            color=color,
            transform=axes.transAxes,
        )
        if len(found) > 1:
            axes.text(centre, 0.9, series.legend, ha="center", size=6, color=GREY, transform=axes.transAxes)
    if len(found) == 1 and len(found[0].points) > 1:
        course = axes.inset_axes((0, 0, 1, 0.3))
        course.axis("off")
        times, values = _columns(found[0])
        course.fill_between(times, values, min([0.0, *values]), color=color, alpha=0.25, linewidth=0)


def timeseries(axes: Axes, panel: Panel, sources: Sources) -> None:
    """Draw lines or bars, thresholds, and exemplars as points."""
    found = _found(panel, sources)
    if not found:
        say(axes, _defaults(panel).get("noValue", "no data"))
        return
    custom = _defaults(panel)["custom"]
    floor: dict[datetime, float] = {}
    for index, series in enumerate(found):
        color = PALETTE[index % len(PALETTE)]
        times, values = _columns(_with_gaps(series, custom["spanNulls"] / 1000))
        bottom = [floor.get(time, 0.0) for time in times] if "stacking" in custom else [0.0] * len(times)
        values = [low + value for low, value in zip(bottom, values, strict=True)]
        floor.update(zip(times, values, strict=True))
        if custom["drawStyle"] == "bars":
            axes.bar(
                times,
                [value - low for low, value in zip(bottom, values, strict=True)],
                width=sources.window.step / 86400,
                bottom=bottom,
                color=color,
                alpha=0.75,
                label=series.legend,
            )
        else:
            axes.plot(times, values, linewidth=1.1, color=color, label=series.legend)
            axes.fill_between(times, values, bottom, color=color, alpha=0.08, linewidth=0)
    _time_axis(axes, sources)
    _value_axis(axes, panel, found)
    _thresholds(axes, panel)
    _exemplars(axes, panel, sources)
    _legend(axes, found)


def heatmap(axes: Axes, panel: Panel, sources: Sources) -> None:
    """Draw how many fell into which bucket, from one bound to the next."""
    found = sorted(_found(panel, sources), key=lambda series: float(series.labels["le"]))
    if not found:
        say(axes, _defaults(panel).get("noValue", "no data"))
        return
    times = sorted({time for series in found for time, _ in series.points})
    below = [0.0] * len(times)
    rows = []
    for series in found:
        counts = dict(series.points)
        here = [counts.get(time, 0.0) for time in times]
        rows.append([max(0.0, new - old) for new, old in zip(here, below, strict=True)])
        below = here
    axes.pcolormesh(
        [_moment(time) for time in times],
        range(len(rows)),
        [[math.sqrt(count) if count > 0 else math.nan for count in row] for row in rows],
        cmap="Oranges",
        shading="nearest",
    )
    unit = panel["options"]["yAxis"]["unit"]
    axes.set_yticks(
        range(len(rows)),
        [_bound(series.labels["le"], unit) for series in found],
        size=6,
    )
    _time_axis(axes, sources)


def states(axes: Axes, panel: Panel, sources: Sources) -> None:
    """Draw each state as a bar as long as it lasted."""
    found = _found(panel, sources)[::-1]
    if not found:
        say(axes, _defaults(panel).get("noValue", "no data"))
        return
    mapped = {
        float(value): each
        for mapping in _defaults(panel).get("mappings", [])
        for value, each in mapping["options"].items()
    }
    width = sources.window.step / 86400
    for row, series in enumerate(found):
        times, values = _columns(series)
        colors = [
            _COLORS.get(mapped.get(value, {}).get("color", ""), _color(panel, value)) for value in values
        ]
        axes.barh([row] * len(times), [width] * len(times), 0.7, left=times, color=colors, alpha=0.8)
    axes.set_yticks(range(len(found)), [_shortened(series.legend, 38) for series in found], size=6)
    axes.set_ylim(-0.6, max(len(found), 4) - 0.4)
    _time_axis(axes, sources)


def ranking(axes: Axes, panel: Panel, sources: Sources) -> None:
    """Draw the newest values as bars, the largest on top."""
    found = sorted(_found(panel, sources), key=lambda series: series.last)[-10:]
    if not found:
        say(axes, _defaults(panel).get("noValue", "no data"))
        return
    axes.barh(range(len(found)), [series.last for series in found], 0.6, color=PALETTE[0], alpha=0.8)
    for row, series in enumerate(found):
        axes.text(series.last, row, f" {_value(panel, series.last)}", va="center", size=7)
    axes.set_yticks(range(len(found)), [series.legend for series in found])
    axes.set_xticks([])
    axes.set_ylim(-0.6, max(len(found), 5) - 0.4)
    axes.spines["bottom"].set_visible(False)


def table(axes: Axes, panel: Panel, sources: Sources) -> None:
    """Write the newest values; the queries' answers are joined by their labels."""
    if panel["datasource"]["type"] != "prometheus":
        say(axes, "the traces that Jaeger has of it: request.png shows one")
        return
    (arrangement,) = (each["options"] for each in panel["transformations"] if each["id"] == "organize")
    names = sorted(arrangement["indexByName"], key=arrangement["indexByName"].__getitem__)
    rows = _joined(panel, sources)
    if not rows:
        say(axes, _defaults(panel).get("noValue", "no data"))
        return
    titles = [arrangement["renameByName"][name] for name in names]
    units = {
        each["matcher"]["options"]: prop["value"]
        for each in panel["fieldConfig"]["overrides"]
        for prop in each["properties"]
        if prop["id"] == "unit"
    }
    cells = [
        [_cell(row.get(name), units.get(title, "short")) for name, title in zip(names, titles, strict=True)]
        for row in rows
    ]
    _grid(axes, titles, cells)


def log_lines(axes: Axes, panel: Panel, sources: Sources) -> None:
    """Write the newest lines."""
    box = axes.get_window_extent()
    found = sources.lines(panel["targets"][0]["expr"], limit=int(box.height / _LINE))
    if not found:
        say(axes, _defaults(panel).get("noValue", "no lines"))
        return
    axes.axis("off")
    for row, line in enumerate(found):
        level = line.get("severity_text", "")
        text = f"{line['_time'][11:23]} {level:8} {line.get('service.name', ''):12} {line['_msg']}"
        if duration := line.get("context_data.duration"):
            text += f"  duration={float(duration):.3g}"
        if client := line.get("client_id"):
            text += f"  client_id={client}"
        axes.text(
            0,
            1 - (row + 0.5) * _LINE / box.height,
            _shortened(text, int(box.width / _CHARACTER)),
            family="monospace",
            size=6,
            va="center",
            color={"WARNING": _COLORS["orange"], "ERROR": _COLORS["red"]}.get(level, "black"),
            transform=axes.transAxes,
        )


def _joined(panel: Panel, sources: Sources) -> list[dict[str, str | float]]:
    rows: dict[tuple[tuple[str, str], ...], dict[str, str | float]] = {}
    several = len(panel["targets"]) > 1
    for target in panel["targets"]:
        value = f"Value #{target['refId']}" if several else "Value"
        for series in sources.series(target):
            labels = {name: text for name, text in series.labels.items() if name != "__name__"}
            row = rows.setdefault(tuple(sorted(labels.items())), {**labels})
            row[value] = row[f"Value #{target['refId']}"] = series.last
    return [*rows.values()]


def _grid(axes: Axes, titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    axes.axis("off")
    box = axes.get_window_extent()
    widths = [max(map(len, column)) + 2 for column in zip(titles, *cells, strict=True)]
    while sum(widths) > max(len(widths), box.width / _TABLE_CHARACTER):
        widths[widths.index(max(widths))] -= 1  # the widest yields
    scale = 1 / max(sum(widths), 1)
    for number, row in enumerate([titles, *cells[: int(box.height / _LINE) - 1]]):
        at = 0
        for text, width in zip(row, widths, strict=True):
            axes.text(
                at * scale,
                1 - (number + 0.5) * _LINE / box.height,
                _shortened(text, width - 1),
                size=7,
                va="center",
                weight="bold" if number == 0 else "normal",
                transform=axes.transAxes,
            )
            at += width


def _cell(value: str | float | None, unit: str) -> str:
    if value is None:
        return ""
    return shown(value, unit) if isinstance(value, float) else value


def _found(panel: Panel, sources: Sources) -> list[Series]:
    return [
        series
        for target in panel["targets"]
        for series in sources.series(target)
        if any(math.isfinite(value) for _, value in series.points)
    ]


def _defaults(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = panel["fieldConfig"]["defaults"]
    return defaults


def _value(panel: Panel, value: float) -> str:
    for mapping in _defaults(panel).get("mappings", []):
        if mapping["type"] == "value" and (text := mapping["options"].get(f"{value:g}")):
            return str(text["text"])
    return shown(value, _defaults(panel).get("unit", "short"))


def _color(panel: Panel, value: float) -> str:
    steps = _defaults(panel)["thresholds"]["steps"]
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return _COLORS.get(reached[-1], GREY)


def _columns(series: Series) -> tuple[list[datetime], list[float]]:
    return [_moment(time) for time, _ in series.points], [value for _, value in series.points]


def _with_gaps(series: Series, seconds: float) -> Series:
    """Break the line where nothing was measured for longer."""
    points: list[tuple[float, float]] = []
    for time, value in series.points:
        if points and time - points[-1][0] > seconds:
            points.append((points[-1][0] + 1, math.nan))
        points.append((time, value))
    return replace(series, points=points)


def _moment(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC)


def _bound(text: str, unit: str) -> str:
    value = float(text)
    return shown(value, unit) if math.isfinite(value) else "more"


def _time_axis(axes: Axes, sources: Sources) -> None:
    axes.set_xlim(_moment(sources.window.start), _moment(sources.window.end))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(axes.xaxis.get_major_locator().__class__(maxticks=7))
    axes.tick_params(length=2, labelsize=6)


def _value_axis(axes: Axes, panel: Panel, found: Sequence[Series]) -> None:
    unit = _defaults(panel).get("unit", "short")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, unit)))
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    values = [value for series in found for _, value in series.points]
    # Not below zero, or there only where something is.
    lowest = 0 if _defaults(panel).get("min") == 0 else min([0.0, *values])
    highest = max([0.0, *values])
    axes.set_ylim(lowest * 1.05, highest * 1.05 if highest > 0 else 1)


def _thresholds(axes: Axes, panel: Panel) -> None:
    """Draw those that are near enough to matter."""
    top = axes.get_ylim()[1]
    for step in _defaults(panel)["thresholds"]["steps"]:
        if step["value"] is not None and step["value"] <= top * 1.5:
            axes.axhline(step["value"], color=_COLORS.get(step["color"], GREY), linewidth=0.8, linestyle="--")


def _exemplars(axes: Axes, panel: Panel, sources: Sources) -> None:
    """Draw measurements of quantities; a counter's are all 1. What lies above the axis is drawn at its edge."""
    if _defaults(panel).get("unit") not in {"s", "bytes"}:
        return
    top = axes.get_ylim()[1]
    for target in panel["targets"][:1]:
        if not target.get("exemplar"):
            continue
        kept = sources.exemplars(target["expr"])
        kept = kept[:: max(1, len(kept) // 200)]
        axes.scatter(
            [_moment(time) for time, _ in kept],
            [min(value, top) for _, value in kept],
            s=7,
            marker="D",
            color=_EXEMPLAR,
            alpha=0.6,
            linewidths=0,
            zorder=3,
        )
        axes.set_ylim(top=top)


def _legend(axes: Axes, found: Sequence[Series]) -> None:
    """Name the lines below the graph, as many as there is room for."""
    if len(found) == 1 and not found[0].legend:
        return
    handles, texts = axes.get_legend_handles_labels()
    box = axes.get_window_extent()
    room = int(box.width / _CHARACTER)
    columns = max(1, min(4, room // (min(_LEGEND_TEXT, max(map(len, texts))) + 5)))
    fit = columns * _LEGEND_ROWS
    texts = [_shortened(text, room // columns - 5) for text in texts]
    if len(texts) > fit:
        texts[fit - 1] = f"and {len(texts) - fit + 1} more"
        handles[fit - 1] = Line2D([], [], linestyle="none")
    axes.legend(
        handles[:fit],
        texts[:fit],
        loc="upper left",
        bbox_to_anchor=(-40 / box.width, -16 / box.height),
        ncol=columns,
        fontsize=6,
        frameon=False,
        handlelength=1,
        columnspacing=1,
        labelspacing=0.25,
        borderaxespad=0,
    )


def _shortened(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: max(1, characters - 1)] + "…"

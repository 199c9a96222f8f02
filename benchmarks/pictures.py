"""Draws what a goal's measurement comes to, beside its figures."""

from collections.abc import Iterable, Sequence
from math import ceil
from pathlib import Path
from statistics import median
from textwrap import fill

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report import Bars, Chart, Lines, Stacks

WIDTH, HEIGHT, TALL = 6.5, 3.4, 5.5  # inches, of each chart
MOST_STANDING_BARS = 8
COLUMNS = 2
DOTS_PER_INCH = 110
BAR_COLOR, DOT_COLOR, BOUND_COLOR = "#4c78a8", "#222222", "#c44e52"
LONGEST_LABEL = 12
PALETTE = "tab20"


def draw(title: str, charts: Sequence[Chart], file: Path) -> None:
    """Write one picture with all charts of a goal."""
    columns = min(COLUMNS, len(charts))
    rows = ceil(len(charts) / columns)
    height = TALL if any(map(_is_lying, charts)) else HEIGHT
    figure = Figure(figsize=(WIDTH * columns, height * rows), layout="constrained")
    figure.suptitle(title)
    for place, chart in enumerate(charts, 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(chart.title, loc="left", fontsize="medium")
        axes.set_ylabel(chart.unit)
        axes.tick_params(labelsize="small")
        axes.spines[["top", "right"]].set_visible(False)
        _draw_chart(axes, chart)
    figure.savefig(file, dpi=DOTS_PER_INCH)


def _draw_chart(axes: Axes, chart: Chart) -> None:
    match chart:
        case Bars():
            _draw_bars(axes, chart)
        case Stacks():
            _draw_stacks(axes, chart)
        case Lines():
            _draw_lines(axes, chart)


def _draw_bars(axes: Axes, chart: Bars) -> None:
    axes.bar(_labels(chart.values), [median(values) for values in chart.values.values()], color=BAR_COLOR)
    for place, values in enumerate(chart.values.values()):
        axes.scatter([place] * len(values), values, color=DOT_COLOR, s=8, zorder=3)
    _draw_bound(axes, chart.bound)


def _draw_stacks(axes: Axes, chart: Stacks) -> None:
    names = list(dict.fromkeys(name for parts in chart.parts.values() for name in parts))
    axes.set_prop_cycle(color=colormaps[PALETTE].colors)
    below = [0.0] * len(chart.parts)
    for name in names:
        sizes = [parts.get(name, 0.0) for parts in chart.parts.values()]
        if _is_lying(chart):
            axes.barh(list(chart.parts), sizes, left=below, label=name)
        else:
            axes.bar(_labels(chart.parts), sizes, bottom=below, label=name)
        below = [low + size for low, size in zip(below, sizes, strict=True)]
    if _is_lying(chart):
        axes.invert_yaxis()  # the first on top
        axes.set_xlabel(chart.unit)
        axes.set_ylabel("")
        axes.legend(fontsize="small", loc="center right")
    else:
        axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)


def _is_lying(chart: Chart) -> bool:
    """Say whether a chart has so many bars that their names need lines of their own."""
    return isinstance(chart, Stacks) and len(chart.parts) > MOST_STANDING_BARS


def _draw_lines(axes: Axes, chart: Lines) -> None:
    for name, points in chart.points.items():
        axes.plot([x for x, _ in points], [y for _, y in points], label=name, marker=".")
    axes.set_xlabel(chart.axis)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    _draw_bound(axes, chart.bound)


def _draw_bound(axes: Axes, bound: float | None) -> None:
    if bound is not None:
        axes.axhline(bound, color=BOUND_COLOR, linestyle="--", linewidth=1)


def _labels(names: Iterable[str]) -> list[str]:
    return [fill(name, LONGEST_LABEL) for name in names]

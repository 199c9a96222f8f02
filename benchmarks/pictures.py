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

WIDTH, HEIGHT = 6.5, 3.4  # inches, of each chart
COLUMNS = 2
DOTS_PER_INCH = 110
BAR_COLOR, DOT_COLOR, BOUND_COLOR = "#4c78a8", "#222222", "#c44e52"
LONGEST_LABEL = 12
PALETTE = "tab20"


def draw(title: str, charts: Sequence[Chart], file: Path) -> None:
    """Write one picture with all charts of a goal."""
    columns = min(COLUMNS, len(charts))
    rows = ceil(len(charts) / columns)
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows), layout="constrained")
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
    labels = _labels(chart.parts)
    names = list(dict.fromkeys(name for parts in chart.parts.values() for name in parts))
    axes.set_prop_cycle(color=colormaps[PALETTE].colors)
    below = [0.0] * len(labels)
    for name in names:
        heights = [parts.get(name, 0.0) for parts in chart.parts.values()]
        axes.bar(labels, heights, bottom=below, label=name)
        below = [low + high for low, high in zip(below, heights, strict=True)]
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)


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

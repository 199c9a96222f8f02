"""The story of one request on one sheet: its spans as a waterfall, below them its log lines and its SQL."""

from collections.abc import Sequence
from typing import Any, Final

from matplotlib.figure import Figure

from monitoring.pictures.panels import GREY, PALETTE
from telemetry_queries.story import Story, StorySpan

_WIDTH: Final = 1200
_DPI: Final = 100
_ROW: Final = 22
_HEAD: Final = 62
_NAMES: Final = 340  # pixels for the spans' names


def draw(story: Story) -> Figure:
    """Draw what is known of a request."""
    texts = [*_lines(story), "", *_statements(story)]
    height = _HEAD + _ROW * (len(story.spans) + 2) + 16 * (len(texts) + 2)
    figure = Figure(figsize=(_WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor="white")

    def write(left: float, top: float, text: str, **style: Any) -> None:
        figure.text(left / _WIDTH, 1 - top / height, text, va="center", **style)

    write(10, 20, f"Request {story.correlation_id}", size=13, weight="bold")
    told = (
        f"Trace {', '.join(story.trace_ids)}. Drawn by python -m monitoring.pictures from Jaeger and the log store;"
        " not Jaeger's own page."
    )
    write(10, 44, told, size=8, color=GREY)
    bottom = 1 - (_HEAD + _ROW * (len(story.spans) + 1)) / height
    axes = figure.add_axes(
        (_NAMES / _WIDTH, bottom, 1 - (_NAMES + 80) / _WIDTH, _ROW * len(story.spans) / height)
    )
    _waterfall(axes, story.spans)
    top = _HEAD + _ROW * (len(story.spans) + 3)
    for number, text in enumerate(texts):
        write(10, top + 16 * number, text, size=7, family="monospace")
    return figure


def _waterfall(axes: Any, spans: Sequence[StorySpan]) -> None:
    colors = {
        service: PALETTE[index] for index, service in enumerate(dict.fromkeys(span.service for span in spans))
    }
    for row, span in enumerate(spans):
        color = "#cf3f36" if span.failed else colors[span.service]
        axes.barh(row, span.duration_ms, 0.6, left=span.offset_ms, color=color)
        axes.text(
            span.offset_ms + span.duration_ms,
            row,
            f" {span.duration_ms:.1f} ms",
            va="center",
            size=7,
            clip_on=False,
        )
        indented = "   " * span.depth + span.name
        axes.annotate(
            indented,
            (0, row),
            xycoords=("axes fraction", "data"),
            xytext=(10 - _NAMES, 0),
            textcoords="offset pixels",
            va="center",
            size=8,
            color=colors[span.service],
            annotation_clip=False,
        )
    axes.set_ylim(len(spans) - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_xlim(left=0)
    axes.xaxis.tick_top()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} ms")
    axes.tick_params(labelsize=7, colors=GREY)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("right", "bottom"):
        axes.spines[side].set_visible(False)
    for column, (service, color) in enumerate(colors.items()):
        axes.annotate(
            service,
            (1, 1),
            xycoords="axes fraction",
            xytext=(-110 * column, 44),
            textcoords="offset pixels",
            ha="right",
            size=9,
            weight="bold",
            color=color,
        )


def _lines(story: Story) -> list[str]:
    return ["Log lines"] + [
        f"{line.offset_ms or 0:9.1f} ms  {line.level:8} {line.service:13} {line.message}"
        for line in story.lines
    ]


def _statements(story: Story) -> list[str]:
    return ["SQL"] + [
        f"{statement.duration_ms:9.1f} ms  {statement.service:13} {statement.summary} /*{statement.comment}*/"
        for statement in story.statements
    ]

"""One dashboard on one sheet: every panel where Grafana would have it."""

import json
import textwrap
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from monitoring.pictures import panels
from monitoring.pictures.logql import NotTranslatedError
from monitoring.pictures.sources import Sources

Panel = dict[str, Any]

_COLUMNS: Final = 24
_WIDTH: Final = 1200
_ROW: Final = 30  # pixels for each of Grafana's rows
_HEAD: Final = 58
_DPI: Final = 100
_GAP: Final = 5

mpl.rcParams.update(
    {
        "font.size": 7,
        "axes.edgecolor": "#c8ccd2",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": panels.GREY,
        "ytick.color": panels.GREY,
        "axes.prop_cycle": mpl.cycler(color=panels.PALETTE),
    }
)

_DRAW: Final[Mapping[str, Callable[[Any, Panel, Sources], None]]] = {
    "stat": panels.stat,
    "timeseries": panels.timeseries,
    "heatmap": panels.heatmap,
    "state-timeline": panels.states,
    "bargauge": panels.ranking,
    "table": panels.table,
    "logs": panels.log_lines,
}


def draw(board: Path, sources: Sources) -> Figure:
    """Draw a dashboard's file."""
    content = json.loads(board.read_text())
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in content["panels"])
    sheet = _Sheet(height * _ROW + _HEAD)
    sheet.heading(content, sources)
    for panel in content["panels"]:
        if panel["type"] == "row":
            sheet.row(panel)
        else:
            sheet.panel(panel, sources)
    return sheet.figure


class _Sheet:
    """A figure measured in pixels from its upper left corner."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.figure = Figure(figsize=(_WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor="#f2f3f5")

    def heading(self, board: Mapping[str, Any], sources: Sources) -> None:
        """Say which board this is, of when, and what it is not."""
        start, end = (datetime.fromtimestamp(at, UTC) for at in (sources.window.start, sources.window.end))
        self._text(10, 20, board["title"], size=13, weight="bold")
        told = (
            f"{start:%Y-%m-%d %H:%M} to {end:%H:%M} UTC. Drawn by python -m monitoring.pictures from the data"
            " of a run; not Grafana's own page."
        )
        self._text(10, 42, told, size=8, color=panels.GREY)

    def row(self, panel: Panel) -> None:
        """Write the heading of a row of panels."""
        top = panel["gridPos"]["y"] * _ROW + _HEAD + _ROW * 0.6
        self._text(10, top, panel["title"], size=9, weight="bold")

    def panel(self, panel: Panel, sources: Sources) -> None:
        """Draw a panel's frame, its title, and what it shows."""
        place = panel["gridPos"]
        left, top = place["x"] * _WIDTH / _COLUMNS + _GAP, place["y"] * _ROW + _HEAD + _GAP
        width, height = place["w"] * _WIDTH / _COLUMNS - 2 * _GAP, place["h"] * _ROW - 2 * _GAP
        frame = self.figure.add_axes(self._box(left, top, width, height), facecolor="white")
        frame.set(xticks=[], yticks=[])
        self._text(left + 7, top + 11, textwrap.shorten(panel["title"], int(width / 6)), size=8)
        margins = panels.MARGINS[panel["type"]]
        axes = self.figure.add_axes(
            self._box(
                left + margins.left,
                top + margins.top,
                width - margins.left - margins.right,
                height - margins.top - margins.bottom,
            ),
            facecolor="white",
        )
        try:
            _DRAW[panel["type"]](axes, panel, sources)
        except NotTranslatedError:
            panels.say(axes, "needs Loki")

    def _box(self, left: float, top: float, width: float, height: float) -> tuple[float, ...]:
        return (
            left / _WIDTH,
            1 - (top + height) / self.height,
            width / _WIDTH,
            height / self.height,
        )

    def _text(self, left: float, top: float, text: str, **style: Any) -> None:
        self.figure.text(left / _WIDTH, 1 - top / self.height, text, va="center", **style)

"""What the panels show: series, exemplars and lines out of Prometheus and VictoriaLogs."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from monitoring.pictures.logql import label, translated

_POINTS: Final = 200
_SCRAPE_SECONDS: Final = 15
_RATE_SECONDS: Final = 60
_VARIABLE: Final = re.compile(r"\$\{?([A-Za-z_]\w*)(?::\w+)?\}?")


@dataclass(frozen=True)
class Window:
    """The time that is shown, in unix seconds."""

    start: float
    end: float

    @property
    def step(self) -> int:
        """Seconds between two points, whole intervals of scraping."""
        return max(1, round((self.end - self.start) / _POINTS / _SCRAPE_SECONDS)) * _SCRAPE_SECONDS


@dataclass(frozen=True)
class Series:
    """One line of a graph."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    legend: str = ""

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


@dataclass(frozen=True)
class Sources:
    """The servers, the time shown, and what stands for the boards' variables."""

    http: httpx.Client
    prometheus: str
    logs: str
    window: Window
    variables: Mapping[str, str] = field(default_factory=dict)

    def series(self, target: Mapping[str, Any]) -> list[Series]:
        """Ask a target's question, over time or for now as it says."""
        expression = self.filled(target["expr"])
        instant = target.get("instant") or target.get("queryType") == "instant"
        if target["datasource"]["type"] == "loki":
            url, query = f"{self.logs}/select/logsql/stats_query", translated(expression).statistics
        else:
            url, query = f"{self.prometheus}/api/v1/query", expression
        found = self._asked(url, query, over_time=not instant)
        return [_series(each, target.get("legendFormat", "")) for each in found]

    def exemplars(self, expression: str) -> list[tuple[float, float]]:
        """Return time and value of the measurements that were kept with the IDs of their requests."""
        answer = self.http.get(
            f"{self.prometheus}/api/v1/query_exemplars",
            params={"query": self.filled(expression), "start": self.window.start, "end": self.window.end},
        )
        found = answer.raise_for_status().json()["data"] or []
        return [(float(one["timestamp"]), float(one["value"])) for each in found for one in each["exemplars"]]

    def lines(self, expression: str, limit: int) -> list[dict[str, str]]:
        """Return the newest log lines."""
        answer = self.http.get(
            f"{self.logs}/select/logsql/query",
            params={
                "query": f"{translated(self.filled(expression)).lines} | sort by (_time desc)",
                "start": self.window.start,
                "end": self.window.end,
                "limit": limit,
            },
        )
        return [json.loads(line) for line in answer.raise_for_status().text.splitlines()]

    def filled(self, expression: str) -> str:
        """Put in what Grafana would for its variables; all that is not given is chosen."""
        times = {
            "__rate_interval": f"{_RATE_SECONDS}s",
            "__interval": f"{self.window.step}s",
            "__auto": f"{self.window.step}s",
            "__range": f"{round(self.window.end - self.window.start)}s",
        }
        return _VARIABLE.sub(lambda found: {**self.variables, **times}.get(found[1], ".*"), expression)

    def _asked(self, url: str, query: str, *, over_time: bool) -> list[dict[str, Any]]:
        window = self.window
        times: dict[str, Any] = {"start": window.start, "end": window.end, "step": f"{window.step}s"}
        if not over_time:
            # VictoriaLogs counts what lies between, Prometheus looks back from the end.
            times = {"time": window.end, "start": window.start, "end": window.end}
        answer = self.http.get(
            f"{url}_range" if over_time else url, params={"query": query, **times}
        ).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found


def _series(found: Mapping[str, Any], legend: str) -> Series:
    labels = {label(name): value for name, value in found["metric"].items()}
    values = found["values"] if "values" in found else [found["value"]]
    points = [(float(time), float(value)) for time, value in values if value != "NaN"]
    named = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), legend)
    return Series(labels, points or [(0.0, float("nan"))], named or ", ".join(labels.values()))

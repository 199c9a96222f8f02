"""Metrics and exemplars out of Prometheus."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import httpx

from telemetry_queries.failures import json_of
from telemetry_queries.models import Alert, Exemplar, RangeSeries, Sample


class Prometheus:
    """Asks the HTTP API."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client = client
        self.url = url

    def ping(self) -> None:
        """Raise unless it is ready."""
        self._client.get(f"{self.url}/-/ready").raise_for_status()

    def query(self, expression: str) -> list[Sample]:
        """Instant query now."""
        data = self._get("query", query=expression)
        return [Sample(each["metric"], float(each["value"][1])) for each in data["result"]]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[RangeSeries]:
        """Values from start to end (unix seconds), `step` seconds apart."""
        data = self._get("query_range", query=expression, start=start, end=end, step=step)
        return [RangeSeries(each["metric"], tuple(_numbers(each["values"]))) for each in data["result"]]

    def alerts(self) -> list[Alert]:
        """All alerts that are pending or firing."""
        return [_alert(each) for each in self._get("alerts")["alerts"]]

    def exemplars(self, expression: str, start: float, end: float) -> list[Exemplar]:
        """All exemplars of the series that the expression selects."""
        found = self._get("query_exemplars", query=expression, start=start, end=end)
        return [
            Exemplar(series["seriesLabels"], one["labels"], float(one["value"]), float(one["timestamp"]))
            for series in found or ()
            for one in series["exemplars"]
        ]

    def _get(self, path: str, **parameters: str | float) -> Any:
        answer = self._client.get(f"{self.url}/api/v1/{path}", params=parameters)
        return json_of(answer)["data"]


def _numbers(values: Iterable[tuple[float, str]]) -> Iterator[tuple[float, float]]:
    """Leave out what JSON has no word for."""
    pairs = ((moment, float(value)) for moment, value in values)
    return ((moment, value) for moment, value in pairs if math.isfinite(value))


def _alert(data: Mapping[str, Any]) -> Alert:
    labels, annotations = data["labels"], data["annotations"]
    return Alert(
        name=labels["alertname"],
        severity=labels.get("severity", ""),
        service=labels.get("service", ""),
        state=data["state"],
        since=data["activeAt"],
        summary=annotations.get("summary", ""),
    )

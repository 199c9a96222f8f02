"""Metrics and exemplars out of Prometheus."""

from typing import Any

import httpx

from telemetry_queries.models import Exemplar, Sample


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
        answer.raise_for_status()
        return answer.json()["data"]

"""A real Alertmanager, started as Docker and the local stack start it, for the tests."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from local_stack.speedup import sped_up
from tests.ports import free_port
from tests.programs import binary
from tests.waiting import until_up

ALERTMANAGER: Final = Path(__file__).parents[1] / "monitoring" / "alertmanager"
SPEEDUP: Final = 300
_DEADLINE: Final = 30

Alert = dict[str, Any]
Labels = list[tuple[str, str]]


def fast_copy(folder: Path) -> Path:
    """Copy what Alertmanager is started from, with waits that are shorter by `SPEEDUP`."""
    copy = shutil.copytree(ALERTMANAGER, folder / "alertmanager")
    config = copy / "alertmanager.yml"
    config.write_text(sped_up(config.read_text(), SPEEDUP))
    return copy


def alert(name: str, *, severity: str, service: str, area: str = "requests", **labels: str) -> Alert:
    """Return an alert as Prometheus sends it."""
    return {
        "labels": {"alertname": name, "severity": severity, "service": service, "area": area, **labels},
        "annotations": {
            "summary": f"{service} has {name}",
            "description": f"12.3% of {', '.join([service, *labels.values()])}.",
            "dashboard_url": f"http://localhost:3000/d/robin-overview?var-service={service}",
            "runbook_url": f"http://localhost:9090/user/runbooks/{name}.md",
        },
    }


@dataclass(frozen=True)
class Alertmanager:
    """An Alertmanager that runs."""

    external_url = "http://alertmanager.example.org"

    url: str
    config: Path
    log: Path

    def fire(self, *alerts: Alert) -> None:
        """Have alerts fire, all in one request."""
        httpx.post(f"{self.url}/api/v2/alerts", json=list(alerts)).raise_for_status()

    def resolve(self, *alerts: Alert) -> None:
        """Have alerts that fire end now."""
        now = datetime.now(UTC).isoformat()
        self.fire(*({**alert, "endsAt": now} for alert in alerts))

    @contextmanager
    def firing(self, *alerts: Alert) -> Iterator[None]:
        """Have alerts fire for as long as this lasts."""
        self.fire(*alerts)
        try:
            yield
        finally:
            self.resolve(*alerts)

    def alerts(self) -> list[dict[str, Any]]:
        """Return what fires, with its state."""
        listed: list[dict[str, Any]] = httpx.get(f"{self.url}/api/v2/alerts").raise_for_status().json()
        return listed

    def inhibited(self) -> list[Labels]:
        """Return the labels of what another alert silences."""
        return labels_of(listed for listed in self.alerts() if listed["status"]["inhibitedBy"])

    def count(self, metric: str, **labels: str) -> float:
        """Return the sum of a metric's series that have these labels."""
        lines = httpx.get(f"{self.url}/metrics").raise_for_status().text.splitlines()
        wanted = {f'{name}="{value}"' for name, value in labels.items()}
        return sum(
            float(value)
            for series, _, value in (line.rpartition(" ") for line in lines)
            if series.partition("{")[0] == metric and wanted <= set(re.findall(r'\w+="[^"]*"', series))
        )


def labels_of(alerts: Iterable[Alert]) -> list[Labels]:
    """Return the labels of alerts in an order of their own."""
    return sorted(sorted(alert["labels"].items()) for alert in alerts)


def inhibit_rules() -> list[dict[str, Any]]:
    """Return the configured inhibition."""
    config = yaml.safe_load((ALERTMANAGER / "alertmanager.yml").read_text())
    rules: list[dict[str, Any]] = config["inhibit_rules"]
    return rules


@contextmanager
def running_alertmanager(folder: Path, environment: Mapping[str, str]) -> Iterator[Alertmanager]:
    """Start Alertmanager by start.sh in a folder, with short waits and with these settings alone."""
    port = free_port()
    alertmanager = Alertmanager(
        f"http://127.0.0.1:{port}", folder / "alertmanager.yml", folder / "alertmanager.log"
    )
    with alertmanager.log.open("wb") as log:
        process = subprocess.Popen(
            [
                fast_copy(folder) / "start.sh",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--web.external-url={alertmanager.external_url}",
                "--web.route-prefix=/",
                "--cluster.listen-address=",
                "--log.level=debug",
            ],
            env={
                "PATH": os.environ["PATH"],
                "ALERTMANAGER": str(binary("alertmanager")),
                "ALERTMANAGER_CONFIG_DIR": str(folder),
                **environment,
            },
            stdout=log,
            stderr=log,
        )
    try:
        until_up(process, lambda: _is_ready(alertmanager.url), seconds=_DEADLINE)
        yield alertmanager
    finally:
        process.terminate()
        process.wait(_DEADLINE)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.TransportError:
        return False

"""The back ends' own programs accept their configuration, as Docker and as the local stack use it."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

from local_stack.back_ends import BackEnds
from local_stack.services import Service
from local_stack.settings import Settings
from local_stack.state import State
from tests.ports import free_port
from tests.programs import binary
from tests.waiting import eventually, until_up
from tests.webhook import Webhook

MONITORING = Path(__file__).parents[2] / "monitoring"
DEADLINE = 30
RULE = """
groups:
  - name: test
    rules:
      - alert: Test
        expr: vector(1)
        annotations:
          dashboard_url: "{{ $externalLabels.grafana_url }}/d/x"
          runbook_url: "{{ $externalLabels.runbook_url }}/Test.md"
"""


def test_prometheus_accepts_dockers_files() -> None:
    """The folder as it is mounted, targets and rules included."""
    _check_prometheus(binary("promtool"), MONITORING / "prometheus")


@pytest.mark.parametrize("speedup", [1, 20, 60])
def test_prometheus_accepts_the_local_stacks_files(tmp_path: Path, speedup: float) -> None:
    """The same file beside targets that have this machine's ports; rules and intervals sped up or not."""
    state = State(tmp_path)
    settings = Settings(http_port=12344, prometheus_port=12345, alert_speedup=speedup)
    BackEnds(settings, state).service("prometheus", binary("prometheus"))
    folder = state.config / "prometheus"
    _check_prometheus(binary("promtool"), folder)
    targets = "".join(file.read_text() for file in (folder / "targets").iterdir())
    assert "127.0.0.1:12345" in targets
    assert "$" not in targets


def test_both_ways_of_running_scrape_the_same_jobs() -> None:
    """A job that only one of them has is the log store, which differs, and Grafana."""
    docker, local = (_jobs(MONITORING / "prometheus" / name) for name in ("targets", "targets.local"))
    assert docker - {"loki", "grafana"} == local - {"victorialogs"}


def test_both_ways_of_running_probe_the_same_services() -> None:
    """In the same way."""
    docker, local = (_probes(MONITORING / "prometheus" / name) for name in ("targets", "targets.local"))
    assert docker == local


def test_the_blackbox_exporter_accepts_its_configuration_and_has_every_module_that_is_asked_for() -> None:
    """One that it does not have would be a failed probe for ever."""
    config = MONITORING / "blackbox" / "blackbox.yml"
    _check([binary("blackbox_exporter"), f"--config.file={config}", "--config.check"])
    asked_for = {module for _, module in _probes(MONITORING / "prometheus" / "targets")}
    assert asked_for == yaml.safe_load(config.read_text())["modules"].keys()


def test_jaeger_accepts_its_configuration_with_the_defaults_alone() -> None:
    """Docker sets no variable that it need not set."""
    _check([binary("jaeger"), "validate", "--config", MONITORING / "jaeger" / "config.yaml"])


@pytest.mark.parametrize("speedup", [1, 20])
def test_alertmanager_starts_as_the_local_stack_starts_it(tmp_path: Path, speedup: float) -> None:
    """With nothing configured, and with a configuration that its own tool accepts."""
    state = State(tmp_path / "state")
    state.create()
    (tmp_path / "secrets").mkdir()
    port = free_port()
    settings = Settings(alertmanager_port=port, alert_speedup=speedup, alert_secrets_dir=tmp_path / "secrets")
    service = BackEnds(settings, state).service("alertmanager", binary("alertmanager"))
    with running(service, lambda: _is_ready(port)):
        _check([binary("amtool"), "check-config", state.run / "alertmanager.yml"])


class AlertReceiver(Webhook):
    """Takes the place of Alertmanager, and keeps the alerts that Prometheus sends."""

    path = "/api/v2/alerts"

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        super().__init__()

    def take(self, path: str, _content_type: str | None, body: bytes) -> tuple[int, str, str]:
        """Keep what comes."""
        if path != self.path:
            return HTTPStatus.NOT_FOUND, "text/plain", ""
        self.alerts.extend(json.loads(body))
        return HTTPStatus.OK, "text/plain", ""


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    """A receiver that listens."""
    with AlertReceiver() as server:
        yield server


@pytest.mark.parametrize(
    ("environment", "links"),
    [
        (
            {"GRAFANA_URL": "http://grafana:3000", "RUNBOOK_URL": "http://runbooks/all"},
            {"dashboard_url": "http://grafana:3000/d/x", "runbook_url": "http://runbooks/all/Test.md"},
        ),
        ({}, {"dashboard_url": "/d/x", "runbook_url": "/Test.md"}),
    ],
)
def test_alerts_link_to_where_the_environment_says_and_are_not_labelled_with_it(
    tmp_path: Path,
    receiver: AlertReceiver,
    environment: dict[str, str],
    links: dict[str, str],
) -> None:
    """Without the two variables Prometheus works as well, and the links have no host."""
    state = State(tmp_path)
    state.create()
    port = free_port()
    settings = Settings(http_port=1, prometheus_port=port, alertmanager_port=receiver.port, alert_speedup=60)
    service = BackEnds(settings, state).service("prometheus", binary("prometheus"))
    rule = state.config / "prometheus" / "rules" / "test.yml"
    rule.write_text(RULE)
    with running(replace(service, environment=environment), lambda: _is_ready(port)):
        alert = eventually(
            lambda: next(
                (alert for alert in receiver.alerts if alert["labels"]["alertname"] == "Test"), None
            ),
            "an alert arrives",
            seconds=DEADLINE,
        )
        with urlopen(f"http://127.0.0.1:{port}/user/adr/0001-one-correlation-id.md", timeout=5) as page:
            assert page.headers.get_content_maintype() == "text"
    assert alert["annotations"] == links
    assert alert["labels"] == {"alertname": "Test"}


@contextmanager
def running(service: Service, is_up: Callable[[], object]) -> Iterator[None]:
    """Run a service as supervisor does."""
    process = subprocess.Popen(
        service.command,
        cwd=service.directory,
        env={"PATH": os.environ["PATH"], **service.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until_up(process, is_up, seconds=DEADLINE)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)


def _check_prometheus(promtool: Path, folder: Path) -> None:
    _check([promtool, "check", "config", folder / "prometheus.yml"])
    for target in ("scrape", "alertmanager", "probe"):
        assert (folder / "targets" / f"{target}.yml").is_file()


def _check(command: list[str | Path]) -> None:
    result = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def _jobs(folder: Path) -> set[str]:
    return set(re.findall(r"job: (\S+?)}", (folder / "scrape.yml").read_text()))


def _probes(folder: Path) -> set[tuple[str, str]]:
    groups = yaml.safe_load((folder / "probe.yml").read_text())
    return {(group["labels"]["service"], group["labels"]["__param_module"]) for group in groups}


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
            return True
    except (URLError, ConnectionError):
        return False

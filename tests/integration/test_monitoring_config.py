"""The back ends' own programs accept their configuration, as Docker and as the local stack use it."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

from local_stack.back_ends import BackEnds
from local_stack.build import PROGRAMS, build, cache_dir
from local_stack.settings import Settings
from local_stack.state import State
from tests.ports import free_port
from tests.waiting import until_up

MONITORING = Path(__file__).parents[2] / "monitoring"
DEADLINE = 30


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a program's binary, built where it is missing."""

    def find(name: str) -> Path:
        wanted = next(program for program in PROGRAMS if name in program.binaries)
        log = tmp_path_factory.mktemp("build") / "build.log"
        return next(path for path in build(wanted, cache_dir(os.environ), log=log) if path.name == name)

    return find


def test_prometheus_accepts_dockers_files(program: Callable[[str], Path]) -> None:
    """The folder as it is mounted, targets and rules included."""
    _check_prometheus(program("promtool"), MONITORING / "prometheus")


def test_prometheus_accepts_the_local_stacks_files(program: Callable[[str], Path], tmp_path: Path) -> None:
    """The same file beside targets that have this machine's ports."""
    state = State(tmp_path)
    settings = Settings(http_port=12344, prometheus_port=12345)
    BackEnds(settings, state).service("prometheus", program("prometheus"))
    folder = state.config / "prometheus"
    _check_prometheus(program("promtool"), folder)
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


def test_the_blackbox_exporter_accepts_its_configuration_and_has_every_module_that_is_asked_for(
    program: Callable[[str], Path],
) -> None:
    """One that it does not have would be a failed probe for ever."""
    config = MONITORING / "blackbox" / "blackbox.yml"
    _check([program("blackbox_exporter"), f"--config.file={config}", "--config.check"])
    asked_for = {module for _, module in _probes(MONITORING / "prometheus" / "targets")}
    assert asked_for == yaml.safe_load(config.read_text())["modules"].keys()


def test_jaeger_accepts_its_configuration_with_the_defaults_alone(program: Callable[[str], Path]) -> None:
    """Docker sets no variable that it need not set."""
    _check([program("jaeger"), "validate", "--config", MONITORING / "jaeger" / "config.yaml"])


def test_alertmanager_starts_with_its_configuration(program: Callable[[str], Path], tmp_path: Path) -> None:
    """It has no way to check a file but to run with it."""
    port = free_port()
    (tmp_path / "alertmanager").mkdir()
    service = BackEnds(Settings(alertmanager_port=port), State(tmp_path)).service(
        "alertmanager", program("alertmanager")
    )
    process = subprocess.Popen(service.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_up(process, lambda: _is_ready(port), seconds=DEADLINE)
    finally:
        process.terminate()
        process.wait(DEADLINE)


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

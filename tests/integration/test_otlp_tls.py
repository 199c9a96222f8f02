"""OTLP over TLS: the collector with its overlay, and the services' own exporters as the standard variables set them up."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import trustme

from local_stack.back_ends import COLLECTOR_CONFIG, COLLECTOR_TLS_CONFIG
from local_stack.certificates import KeyPair
from tests.certificates import authority_file, issue
from tests.ports import free_port
from tests.programs import binary
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
START_SECONDS = 30
SIGNALS = ("spans", "metric_points", "log_records")
# What a service does: a span and a log record of its own, the metrics of its process, and an orderly end.
SENDER = """\
import logging
from observability.telemetry import Identity, configure
telemetry = configure(Identity("document-api", "1", "test", "test"), log_level="INFO", workers=1)
with telemetry.step("a step"):
    logging.getLogger("a.logger").info("a line")
telemetry.shutdown()
"""


@dataclass
class Collector:
    """A collector that takes OTLP over TLS alone."""

    port: int
    metrics_port: int

    def accepted(self) -> set[str]:
        """Return the signals of which it has taken anything from a service."""
        try:
            with urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except (URLError, ConnectionError):
            return set()
        pattern = r'^otelcol_receiver_accepted_(\w+?)(?:__\w+_)?_total{.*receiver="otlp".*} ([1-9]\d*)$'
        return {name for name, _ in re.findall(pattern, text, re.MULTILINE)}


@contextmanager
def collecting(folder: Path, pair: KeyPair, client_ca: Path) -> Iterator[Collector]:
    """Run the collector with both of its configurations and a certificate."""
    collector, health = Collector(free_port(), free_port()), free_port()
    environment = {
        "OTLP_GRPC_LISTEN": f"127.0.0.1:{collector.port}",
        "COLLECTOR_HEALTH_LISTEN": f"127.0.0.1:{health}",
        "COLLECTOR_METRICS_HOST": "127.0.0.1",
        "COLLECTOR_METRICS_PORT": str(collector.metrics_port),
        "COLLECTOR_STORAGE_DIR": str(folder / "storage"),
        # Nobody is there: what it has taken waits in its queues.
        "JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{free_port()}",
        "PROMETHEUS_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}/v1/metrics",
        "LOGS_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}/v1/logs",
        "NGINX_ACCESS_LOG": str(folder / "access.json"),
        "POSTGRES_LOG": str(folder / "postgres.json"),
        "COLLECTOR_TLS_CERTIFICATE": str(pair.certificate),
        "COLLECTOR_TLS_KEY": str(pair.key),
        "COLLECTOR_TLS_CLIENT_CA": str(client_ca),
    }
    command = [
        str(binary("otelcol")),
        "--config",
        str(COLLECTOR_CONFIG),
        "--config",
        str(COLLECTOR_TLS_CONFIG),
    ]
    with (folder / "collector.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        eventually(lambda: answers(health), (folder / "collector.log").read_text, seconds=START_SECONDS)
        yield collector
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def answers(port: int) -> bool:
    """Say whether the collector is up."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, ConnectionError):
        return False


def send(collector: Collector, environment: Mapping[str, str], scheme: str = "https") -> None:
    """Let a service send what it has, if it can, and end."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{scheme}://127.0.0.1:{collector.port}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        **environment,
    }
    subprocess.run(
        [sys.executable, "-c", SENDER],
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        check=True,
        timeout=60,
    )


def variables_of(authority: Path, pair: KeyPair | None) -> dict[str, str]:
    """Return the standard variables: whom to trust, and who one is."""
    trust = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority)}
    if pair is None:
        return trust
    return trust | {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(pair.certificate),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(pair.key),
    }


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whose certificates both sides have."""
    return trustme.CA()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all files lie."""
    return tmp_path_factory.mktemp("otlp-tls")


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, folder: Path) -> Path:
    """What both sides trust."""
    return authority_file(authority, folder / "ca.pem")


@pytest.fixture(scope="module")
def client(authority: trustme.CA, folder: Path) -> KeyPair:
    """The certificate of a service."""
    return issue(authority, folder / "document-api", "document-api")


@pytest.fixture
def collector(authority: trustme.CA, ca_file: Path, tmp_path: Path) -> Iterator[Collector]:
    """A collector with a good certificate, which has taken nothing yet."""
    with collecting(tmp_path, issue(authority, tmp_path / "server", "127.0.0.1"), ca_file) as running:
        yield running


def test_a_service_with_a_certificate_is_listened_to(
    collector: Collector, ca_file: Path, client: KeyPair
) -> None:
    """Spans, metrics and log records."""
    send(collector, variables_of(ca_file, client))
    eventually(lambda: collector.accepted() == set(SIGNALS), lambda: str(collector.accepted()))


def test_who_shows_no_good_certificate_is_refused(
    collector: Collector, authority: trustme.CA, ca_file: Path, client: KeyPair, tmp_path: Path
) -> None:
    """None, a stranger's, one that has ended, and no TLS at all; afterwards a service is still listened to."""
    stranger = issue(trustme.CA(), tmp_path / "stranger", "document-api")
    ended = issue(authority, tmp_path / "ended", "document-api", ended=True)
    for pair in (None, stranger, ended):
        send(collector, variables_of(ca_file, pair))
    send(collector, {}, scheme="http")
    assert collector.accepted() == set()
    send(collector, variables_of(ca_file, client))
    eventually(lambda: collector.accepted() == set(SIGNALS), lambda: str(collector.accepted()))


@pytest.mark.parametrize(("name", "ended"), [("127.0.0.1", True), ("localhost", False)])
def test_a_service_tells_nothing_to_who_is_not_the_collector(
    authority: trustme.CA, ca_file: Path, client: KeyPair, tmp_path: Path, name: str, *, ended: bool
) -> None:
    """A certificate that has ended, and one of another host."""
    pair = issue(authority, tmp_path / "server", name, ended=ended)
    with collecting(tmp_path, pair, ca_file) as collector:
        send(collector, variables_of(ca_file, client))
        assert collector.accepted() == set()


def test_a_service_tells_nothing_to_a_strangers_collector(
    ca_file: Path, client: KeyPair, tmp_path: Path
) -> None:
    """Of the right name, but nobody vouches for it."""
    pair = issue(trustme.CA(), tmp_path / "server", "127.0.0.1")
    with collecting(tmp_path, pair, ca_file) as collector:
        send(collector, variables_of(ca_file, client))
        assert collector.accepted() == set()


def test_the_collector_finds_no_fault_with_its_overlay(
    authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    """What `validate` says of both files together."""
    pair = issue(authority, tmp_path / "server", "127.0.0.1")
    configs = ["--config", str(COLLECTOR_CONFIG), "--config", str(COLLECTOR_TLS_CONFIG)]
    command = [str(binary("otelcol")), "validate", *configs]
    environment = {
        "COLLECTOR_TLS_CERTIFICATE": str(pair.certificate),
        "COLLECTOR_TLS_KEY": str(pair.key),
        "COLLECTOR_TLS_CLIENT_CA": str(ca_file),
    }
    checked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr

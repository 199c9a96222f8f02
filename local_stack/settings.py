"""Ports and limits of the local stack out of the environment, checked before anything starts."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from document_api.settings import DocumentApiSettings
from local_stack.errors import UsageError
from observability.sampling import TraceSampling
from observability.service import ServiceSettings

CHECKOUT = Path(__file__).resolve().parent.parent
PORT_STEP = 10  # between two instances of document_api
LAST_PORT = 65535

Port = Annotated[int, Field(ge=1, le=LAST_PORT)]


class Settings(BaseSettings):
    """Every variable of the local stack; the field's name in capitals is the variable's."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    robin_state_dir: Path = CHECKOUT / ".robin"
    http_port: Port | None = None
    https_port: Port | None = None  # with TLS only
    document_api_port: Port = 8000
    document_api_instances: Annotated[int, Field(ge=1, le=20)] = 2
    data_store_port: Port = 8001
    postgres_port: Port = 5432
    postgres_tls_port: Port | None = None  # with TLS only
    otlp_grpc_port: Port = 4317
    collector_health_port: Port = 13133
    collector_metrics_port: Port = 8888
    jaeger_port: Port = 16686
    jaeger_otlp_port: Port = 4327
    jaeger_health_port: Port = 13134
    jaeger_metrics_port: Port = 8889
    prometheus_port: Port = 9090
    alertmanager_port: Port = 9093
    blackbox_port: Port = 9115
    victorialogs_port: Port = 9428
    max_upload_bytes: Annotated[int, Field(ge=1)] = DocumentApiSettings.model_fields[
        "max_upload_bytes"
    ].default
    shutdown_seconds: Annotated[int, Field(ge=0)] = ServiceSettings.model_fields["shutdown_seconds"].default
    deployment_environment: str = "development"
    environment: Literal["development", "production"] = "development"
    auth_mode: Literal["open", "required"] = "open"
    trace_sampling: TraceSampling = TraceSampling.ALL
    tls: bool = False
    public_tls: bool = False  # something in front of nginx ends it
    tls_dir: Path | None = None  # fullchain.pem and privkey.pem for nginx; none: made on this machine
    # What two processes of document_api take of a client: most of what one key sends too much is slowed down here.
    edge_requests_per_second: Annotated[int, Field(ge=1, le=100_000)] = 40
    edge_requests_per_second_per_address: Annotated[int, Field(ge=1, le=100_000)] = 200
    edge_connections_per_address: Annotated[int, Field(ge=1, le=65_535)] = 128
    edge_connections_per_instance: Annotated[int, Field(ge=1, le=65_535)] = 96
    grafana_url: str = "http://localhost:3000"
    runbook_url: str = ""  # none: where the stack's own Prometheus serves them
    alert_secrets_dir: Path = CHECKOUT / "secrets" / "alertmanager"
    # A shorter scrape interval leaves no time for an answer.
    alert_speedup: Annotated[float, Field(ge=1, le=60)] = 1

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment; a wrong value is one line that names the variable."""
        try:
            settings = cls()
        except ValidationError as error:
            first = error.errors()[0]
            variable = str(first["loc"][0]).upper()
            raise UsageError(f"{variable}={first['input']!r}: {first['msg']}") from None
        settings.check_distinct_ports()
        return settings

    @property
    def state_dir(self) -> Path:
        """The one folder with everything the stack writes."""
        return self.robin_state_dir.expanduser().absolute()

    @property
    def document_api_ports(self) -> tuple[int, ...]:
        """One port for each instance."""
        return tuple(self.document_api_port + PORT_STEP * i for i in range(self.document_api_instances))

    def ports(self) -> list[tuple[str, int]]:
        """Return every port with the variable that sets it; nginx's is not among them while it is open."""
        fields = [name for name in type(self).model_fields if name.endswith("_port")]
        single = [(name, getattr(self, name)) for name in fields if name != "document_api_port"]
        instances = [("document_api_port", port) for port in self.document_api_ports]
        return [(name.upper(), port) for name, port in [*single, *instances] if port is not None]

    def check_distinct_ports(self) -> None:
        """Refuse two services on one port, and ports that do not exist."""
        last = self.document_api_ports[-1]
        if last > LAST_PORT:
            raise UsageError(
                f"DOCUMENT_API_PORT={self.document_api_port} and DOCUMENT_API_INSTANCES={self.document_api_instances} "
                f"lead to port {last}, which does not exist: lower one of them"
            )
        seen: dict[int, str] = {}
        for variable, port in self.ports():
            if port in seen:
                raise UsageError(
                    f"{variable} and {seen[port]} both want port {port}: set one of them to another port"
                )
            seen[port] = variable

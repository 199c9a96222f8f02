"""What the shells of both services share: settings that fail in one line, and uvicorn with the flags telemetry needs."""

import os
import socket
import ssl
import sys
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

import uvicorn
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from observability import server
from observability.protocol import ProblemProtocol
from observability.sampling import KeptTraces, TraceSampling

USAGE_ERROR: Final = 2
# Whatever holds this is a default for demonstrations, which everybody knows.
DEMONSTRATION: Final = "demo-only"
_MIN_SECRET_CHARS: Final = 16


class Environment(StrEnum):
    """What the system is run for: production refuses what is only good for a demonstration."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class AuthMode(StrEnum):
    """Whether requests need a credential."""

    OPEN = "open"
    REQUIRED = "required"


class ServiceSettings(BaseSettings):
    """Settings that every service has, each from the environment variable of its name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    environment: Environment = Field(
        Environment.DEVELOPMENT,
        description="`production` refuses to start with anything that is only good for a demonstration",
    )
    auth_mode: AuthMode = Field(
        AuthMode.OPEN,
        validate_default=True,
        description="`required`: every request for documents needs an API key or a bearer token; `open`: none does",
    )
    service_token: SecretStr | None = Field(
        None,
        validate_default=True,
        description="What document_api shows to data_store, the same in both; needed with `AUTH_MODE=required`. Where it"
        " is being changed, data_store takes several, separated by commas",
    )
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on")
    workers: int = Field(1, ge=1, le=64, description="Worker processes")
    log_level: str = Field(
        "INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR|CRITICAL)$",
        description="Least severe level that is logged",
    )
    deployment_environment: str = Field(
        default_factory=lambda known: str(known.get("environment", Environment.DEVELOPMENT)),
        min_length=1,
        description="Resource attribute deployment.environment.name; that of `ENVIRONMENT` by default",
    )
    requests_in_hand: int = Field(
        12,
        ge=1,
        description="Requests that each process works on at once; others wait up to a second, and an eighth of those that may be open,"
        " with those whose body is still on its way; beyond, 503 with `Retry-After`",
    )
    log_records_per_second: int = Field(
        1000,
        ge=0,
        description="Log records a second that each process writes of ERROR and above, of WARNING, and of all below; what is"
        " more is counted in `telemetry_dropped_total` and told in one line; 0: any number",
    )
    trace_sampling: TraceSampling = Field(
        TraceSampling.ALL,
        description="`tail`: the collector keeps only the traces that failed, that were slow, that an exemplar points to, and"
        " a share of the rest; it needs `otel-collector-tail.yaml`, too",
    )
    trace_sampling_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="With `TRACE_SAMPLING=tail` the share of all traces that is kept in any case",
    )
    slow_request_seconds: float = Field(
        1.0, gt=0, description="Requests slower than this are logged as WARNING"
    )
    health_deadline_seconds: float = Field(2.0, gt=0, description="Time each health check may take")
    reuse_port: bool = Field(
        False,
        description="Let another process of the same user listen on the same port, so that a successor can begin before"
        " this one ends",
    )
    service_instance_id: str | None = Field(
        None, min_length=1, description="Resource attribute service.instance.id; host and port by default"
    )
    shutdown_seconds: int = Field(
        30,
        ge=0,
        description="Time that running requests may take after SIGTERM, once nobody is connected any more who could send another",
    )
    tls_certificate_file: Path | None = Field(
        None, description="Certificate, with its chain, to listen with over TLS (PEM); none: plain HTTP"
    )
    tls_key_file: Path | None = Field(None, description="Key of `TLS_CERTIFICATE_FILE` (PEM)")
    tls_client_ca_file: Path | None = Field(
        None, description="Only callers with a certificate of these authorities are let in (PEM)"
    )

    @field_validator("auth_mode")
    @classmethod
    def _production_asks_who(cls, value: AuthMode, info: ValidationInfo) -> AuthMode:
        if value is AuthMode.OPEN and is_production(info):
            raise ValueError("must be 'required' with ENVIRONMENT=production")
        return value

    @field_validator("service_token")
    @classmethod
    def _token_is_a_secret(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            if info.data.get("auth_mode") is AuthMode.REQUIRED:
                raise ValueError(
                    "must be set with AUTH_MODE=required, the same for document_api and data_store"
                )
            return None
        for token in value.get_secret_value().split(","):
            check_secret(token.strip(), info)
        return value

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("TLS_CERTIFICATE_FILE and TLS_KEY_FILE must be set together")
        if self.tls_client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError("TLS_CLIENT_CA_FILE needs TLS_CERTIFICATE_FILE and TLS_KEY_FILE")
        return self

    @property
    def kept_traces(self) -> KeptTraces | None:
        """Return which traces exemplars may point to; None: all are kept."""
        return KeptTraces(self.trace_sampling_share) if self.trace_sampling is TraceSampling.TAIL else None

    @property
    def instance_id(self) -> str:
        """Return what tells this process from its siblings: by default host and port, and the process where several share them."""
        name = self.service_instance_id or f"{socket.gethostname()}:{self.port}"
        return name if self.workers == 1 else f"{name}:{os.getpid()}"


class _OtlpEndpoints(BaseSettings):
    """Where OpenTelemetry's own variables send telemetry."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)

    otel_exporter_otlp_traces_endpoint: str = ""
    otel_exporter_otlp_metrics_endpoint: str = ""
    otel_exporter_otlp_logs_endpoint: str = ""
    otel_exporter_otlp_endpoint: str = ""

    def first_insecure(self) -> str | None:
        """Return the first variable that may send unencrypted to another host."""
        return next((name.upper() for name, url in self if url and not stays_private(url)), None)


def stays_private(url: str) -> bool:
    """Tell whether what is sent to an address is encrypted, or does not leave this machine."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and is_this_host(parts.hostname or ""))
    except ValueError:
        return False


def is_this_host(name: str) -> bool:
    """Tell whether a host's name or address is this machine's loopback."""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def is_production(info: ValidationInfo) -> bool:
    """Tell a validator whether the settings are for production; a bad ENVIRONMENT has its own line."""
    return info.data.get("environment") is Environment.PRODUCTION


def check_secret(value: str, info: ValidationInfo) -> None:
    """Raise ValueError for a secret that production must not have: a default one, or one that can be guessed."""
    if not value:
        raise ValueError("must not be empty")
    if not is_production(info):
        return
    if DEMONSTRATION in value:
        raise ValueError("must not be the demonstration's with ENVIRONMENT=production")
    if len(value) < _MIN_SECRET_CHARS:
        raise ValueError(f"must have at least {_MIN_SECRET_CHARS} characters with ENVIRONMENT=production")


Settings = TypeVar("Settings", bound=ServiceSettings)


def load_settings(settings: type[Settings]) -> Settings:
    """Read the settings from the environment; on a bad value exit with 2 and one line that names the variable."""
    try:
        loaded = settings()
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        fail(f"{str(first['loc'][0]).upper()}: {message}" if first["loc"] else message)
    if loaded.environment is Environment.PRODUCTION and (variable := _OtlpEndpoints().first_insecure()):
        fail(f"{variable}: must be https://, or http:// to this host, with ENVIRONMENT=production")
    return loaded


def fail(message: str) -> NoReturn:
    """Leave with one line on stderr."""
    sys.stderr.write(f"{message}\n")
    raise SystemExit(USAGE_ERROR)


def _check_certificate(settings: ServiceSettings) -> None:
    if settings.tls_certificate_file is None:
        return
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.tls_client_ca_file)
        context.load_cert_chain(settings.tls_certificate_file, settings.tls_key_file)
    except OSError as error:
        fail(f"TLS_CERTIFICATE_FILE, TLS_KEY_FILE or TLS_CLIENT_CA_FILE cannot be used: {error}")


def serve(app_factory: str, settings: ServiceSettings) -> None:
    """Run uvicorn until SIGTERM or SIGINT; `app_factory` is "module:function"."""
    _check_certificate(settings)
    config = uvicorn.Config(
        app_factory,
        factory=True,
        workers=settings.workers,
        http=ProblemProtocol,
        ws="none",
        log_config=None,  # logging is ours: observability.logs
        access_log=False,  # the middleware writes the one line of each request
        server_header=False,
        proxy_headers=True,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        reset_contextvars=True,  # else one request's trace leaks into the next on its connection
        ssl_certfile=settings.tls_certificate_file,
        ssl_keyfile=settings.tls_key_file,
        ssl_ca_certs=str(settings.tls_client_ca_file) if settings.tls_client_ca_file else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca_file else ssl.CERT_NONE,
    )
    try:
        listener = server.bound(settings.host, settings.port, reuse_port=settings.reuse_port)
    except OSError as error:
        fail(f"HOST, PORT: cannot listen on {settings.host}:{settings.port}: {error.strerror}")
    server.run(config, listener)

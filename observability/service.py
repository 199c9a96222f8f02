"""What the shells of both services share: settings that fail in one line, and uvicorn with the flags telemetry needs."""

import os
import socket
import sys
from typing import Final, NoReturn, TypeVar

import uvicorn
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

USAGE_ERROR: Final = 2


class ServiceSettings(BaseSettings):
    """Settings that every service has, each from the environment variable of its name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on")
    workers: int = Field(1, ge=1, le=64, description="Worker processes")
    log_level: str = Field(
        "INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR|CRITICAL)$",
        description="Least severe level that is logged",
    )
    deployment_environment: str = Field(
        "development", min_length=1, description="Resource attribute deployment.environment.name"
    )
    slow_request_seconds: float = Field(
        1.0, gt=0, description="Requests slower than this are logged as WARNING"
    )
    health_deadline_seconds: float = Field(2.0, gt=0, description="Time each health check may take")
    shutdown_seconds: int = Field(10, ge=0, description="Time that running requests may take after SIGTERM")

    @property
    def instance_id(self) -> str:
        """Return what tells this process from its siblings: host and port, and the process where several share them."""
        name = f"{socket.gethostname()}:{self.port}"
        return name if self.workers == 1 else f"{name}:{os.getpid()}"


Settings = TypeVar("Settings", bound=ServiceSettings)


def load_settings(settings: type[Settings]) -> Settings:
    """Read the settings from the environment; on a bad value exit with 2 and one line that names the variable."""
    try:
        return settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = str(first["loc"][0]).upper() if first["loc"] else "settings"
        fail(f"{variable}: {first['msg']}")


def fail(message: str) -> NoReturn:
    """Leave with one line on stderr."""
    sys.stderr.write(f"{message}\n")
    raise SystemExit(USAGE_ERROR)


def serve(app_factory: str, settings: ServiceSettings) -> None:
    """Run uvicorn until SIGTERM or SIGINT; `app_factory` is "module:function"."""
    uvicorn.run(
        app_factory,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,  # logging is ours: observability.logs
        access_log=False,  # the middleware writes the one line of each request
        server_header=False,
        proxy_headers=True,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        reset_contextvars=True,  # else one request's trace leaks into the next on its connection
    )

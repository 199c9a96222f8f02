"""Settings of the data store, read once from the environment."""

from typing import Final

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from observability.service import DEMONSTRATION, ServiceSettings, check_secret, is_production

_DRIVERS: Final = ("postgresql", "postgresql+psycopg2")


class DataStoreSettings(ServiceSettings):
    """What the data store needs to know; DATABASE_URL is the only one without a default."""

    port: int = Field(8001, ge=1, le=65535, description="Port to listen on")
    database_url: SecretStr = Field(
        description="PostgreSQL, as postgresql://user:password@host:port/database"
    )
    database_pool_size: int = Field(
        8, ge=1, le=1000, description="Requests served at once, each with a connection of its own"
    )
    database_pool_timeout_seconds: float = Field(
        5.0, gt=0, description="Time that a request waits for a connection"
    )
    database_wait_seconds: float = Field(
        60.0, ge=0, description="Time that the start waits for PostgreSQL to accept connections"
    )
    statement_timeout_seconds: float = Field(
        5.0, ge=0.001, description="Time after which PostgreSQL cancels a statement"
    )
    slow_statement_seconds: float = Field(
        0.25, gt=0, description="Statements slower than this are logged as WARNING"
    )
    api_key_pepper: SecretStr = Field(
        SecretStr(f"robin-{DEMONSTRATION}"),
        validate_default=True,
        description="Secret with which API keys are hashed; another one makes every key invalid",
    )
    credential_cache_seconds: float = Field(
        1.0,
        ge=0,
        le=3600,
        description="How long document_api may believe what it was told of a credential: a revoked one is refused after that",
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr) -> SecretStr:
        try:
            url = make_url(value.get_secret_value())
        except (ArgumentError, ValueError):
            url = None
        if url is None or url.drivername not in _DRIVERS or not url.database:
            raise ValueError("must be postgresql://user:password@host:port/database")
        return value

    @field_validator("database_url")
    @classmethod
    def _password_is_no_default(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        password = make_url(value.get_secret_value()).password or ""
        if is_production(info) and DEMONSTRATION in password:
            raise ValueError("must not hold the demonstration's password with ENVIRONMENT=production")
        return value

    @field_validator("api_key_pepper")
    @classmethod
    def _pepper_is_a_secret(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        check_secret(value.get_secret_value(), info)
        return value

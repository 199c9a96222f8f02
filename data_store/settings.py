"""Settings of the data store, read once from the environment."""

from typing import Final
from urllib.parse import unquote

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from observability.fields import INT64_MAX
from observability.service import DEMONSTRATION, AuthMode, ServiceSettings, check_secret, is_production

_DRIVERS: Final = ("postgresql", "postgresql+psycopg2")
# The admin command line waits so long after it has withdrawn something: no data store can have told a longer time.
MAX_CREDENTIAL_CACHE_SECONDS: Final = 5.0
# For what PostgreSQL cancels to be told, before the connection is taken for dead.
GRACE_SECONDS: Final = 0.5


class DataStoreSettings(ServiceSettings):
    """What the data store needs to know; DATABASE_URL is the only one without a default."""

    port: int = Field(8001, ge=1, le=65535, description="Port to listen on")
    requests_in_hand: int = Field(
        24,
        ge=1,
        # As much as two document_apis have in hand: what is too much is refused there, before a file is written for it.
        description="Requests that each process works on at once; others wait up to a second, and an eighth of those that may be open,"
        " with those whose body is still on its way; beyond, 503 with `Retry-After`",
    )
    database_url: SecretStr = Field(
        description="PostgreSQL, as postgresql://user:password@host:port/database; in production as a role that owns nothing"
    )
    migration_database_url: SecretStr | None = Field(
        None,
        description="The same database as the tables' owner: migrates, and grants the role of `DATABASE_URL` what it needs;"
        " none: `DATABASE_URL`",
    )
    database_pool_size: int = Field(
        8, ge=1, le=1000, description="Requests served at once, each with a connection of its own"
    )
    database_pool_timeout_seconds: float = Field(
        1.0, gt=0, description="Time that a request waits for a connection"
    )
    database_wait_seconds: float = Field(
        60.0, ge=0, description="Time that the start waits for PostgreSQL to accept connections"
    )
    lock_timeout_seconds: float = Field(
        2.0, ge=0.001, description="Time after which PostgreSQL cancels a statement that waits for a lock"
    )
    statement_timeout_seconds: float = Field(
        3.0,
        ge=0.001,
        validate_default=True,
        description="Time after which PostgreSQL cancels a statement; longer than `LOCK_TIMEOUT_SECONDS`",
    )
    slow_statement_seconds: float = Field(
        0.25, gt=0, description="Statements slower than this are logged as WARNING"
    )
    tenant_max_documents: int | None = Field(
        None,
        ge=0,
        le=INT64_MAX,
        description="Documents of a client, unless its own limit is set; none: no limit",
    )
    tenant_max_stored_bytes: int | None = Field(
        None,
        ge=0,
        le=INT64_MAX,
        description="Bytes of all documents of a client, unless its own limit is set; none: no limit",
    )
    restore_seconds: float = Field(
        30 * 86400.0,
        ge=0,
        le=100 * 365 * 86400,
        description="How long a deleted document can be restored; after that it is purged, with its bytes",
    )
    audit_reads: bool | None = Field(
        None,
        description="Whether reading a document is written into the audit log, as storing one always is; none: with"
        " `AUTH_MODE=required`",
    )
    api_key_pepper: SecretStr = Field(
        SecretStr(f"robin-{DEMONSTRATION}"),
        validate_default=True,
        description="Secret with which API keys are hashed; another one makes every key invalid",
    )
    credential_cache_seconds: float = Field(
        1.0,
        ge=0,
        le=MAX_CREDENTIAL_CACHE_SECONDS,
        description="How long document_api may believe what it was told of a credential: a revoked one is refused after that",
    )

    @property
    def work_seconds(self) -> float:
        """Return how long work may last beyond the wait for a connection: what PostgreSQL does not end by then is cut off."""
        return self.statement_timeout_seconds + GRACE_SECONDS

    @property
    def longest_answer_seconds(self) -> float:
        """Return when a request is answered at the latest, whatever the database does."""
        return self.database_pool_timeout_seconds + self.work_seconds

    @property
    def owner_url(self) -> str:
        """Return the URL of the role that owns the tables."""
        return (self.migration_database_url or self.database_url).get_secret_value()

    @property
    def service_role(self) -> str | None:
        """Return the role that must be let at the tables; None where it owns them."""
        owner, service = (
            make_url(url).username for url in (self.owner_url, self.database_url.get_secret_value())
        )
        return service if service != owner else None

    @property
    def audits_reads(self) -> bool:
        """Tell whether reading a document is audited."""
        return self.auth_mode is AuthMode.REQUIRED if self.audit_reads is None else self.audit_reads

    @field_validator("statement_timeout_seconds")
    @classmethod
    def _locks_are_waited_for_less(cls, value: float, info: ValidationInfo) -> float:
        # Else the wait for a lock would end as a slow statement, and nobody could tell the two apart.
        lock_timeout = info.data.get("lock_timeout_seconds")
        if lock_timeout is not None and value <= lock_timeout:
            raise ValueError(f"must be longer than LOCK_TIMEOUT_SECONDS, which is {lock_timeout:g}")
        return value

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            url = make_url(value.get_secret_value())
        except (ArgumentError, ValueError):
            url = None
        if url is None or url.drivername not in _DRIVERS or not url.database:
            raise ValueError("must be postgresql://user:password@host:port/database")
        return value

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _password_is_no_default(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # In the whole URL: libpq takes a password among its parameters, too.
        if is_production(info) and value is not None and DEMONSTRATION in unquote(value.get_secret_value()):
            raise ValueError("must not hold the demonstration's password with ENVIRONMENT=production")
        return value

    @field_validator("api_key_pepper")
    @classmethod
    def _pepper_is_a_secret(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        check_secret(value.get_secret_value(), info)
        return value

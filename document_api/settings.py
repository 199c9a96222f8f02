"""Settings of the document API, each from the environment variable of its name."""

from pathlib import Path
from typing import Final, Self

from pydantic import Field, HttpUrl, SecretStr, ValidationInfo, field_validator, model_validator

from document_api.summaries import MessageContent, OfflineSummary
from observability.service import AuthMode, ServiceSettings, is_production, stays_private

# What boundaries, part headers and other fields may add to a document of max_upload_bytes; nginx allows the same.
MULTIPART_ENVELOPE_BYTES: Final = 64 * 1024
_STORAGE_URL: Final = r"^s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"
# host:port, [IPv6]:port, or an absolute path.
_CLAMD_ADDRESS: Final = r"^(/.+|\[[0-9a-fA-F:.]+\]:\d{1,5}|[A-Za-z0-9._-]+:\d{1,5})$"
# Signatures that only the issuer can make: with a shared secret whoever verifies could as well sign.
_ALGORITHMS: Final = frozenset({"RS256", "ES256", "EdDSA"})
# Of each process where everybody says who he is; elsewhere one client may be all there are.
_REQUESTS_PER_SECOND: Final = 20
_AT_ONCE: Final = 4
_CONCURRENT_UPLOADS: Final = 4


class DocumentApiSettings(ServiceSettings):
    """What the document API can be told."""

    data_store_url: HttpUrl = Field(HttpUrl("http://127.0.0.1:8001"), description="Address of the data store")
    data_store_timeout_seconds: float = Field(
        5.0, gt=0, description="Time an answer of the data store may take"
    )
    data_store_deadline_seconds: float = Field(
        10.0, gt=0, description="Time all attempts of a call to the data store may take together"
    )
    request_deadline_seconds: float = Field(
        30.0,
        gt=0,
        description="Time that an upload may take once its body is there; beyond it is given up and answered 503 or 504",
    )
    data_store_connections: int = Field(100, ge=1, description="Most connections to the data store at once")
    data_store_ca_file: Path | None = Field(
        None,
        description="Authorities that the certificate of an https `DATA_STORE_URL` is held against (PEM); none: the system's",
    )
    data_store_certificate_file: Path | None = Field(
        None, description="Certificate that is shown to the data store (PEM), for its `TLS_CLIENT_CA_FILE`"
    )
    data_store_key_file: Path | None = Field(None, description="Key of `DATA_STORE_CERTIFICATE_FILE` (PEM)")
    public_tls: bool = Field(
        False,
        validate_default=True,
        description="Whether clients reach this service by TLS, ended by the load balancer; production refuses to start without",
    )
    jwt_issuer: str | None = Field(
        None, min_length=1, description="`iss` of the bearer tokens that are accepted; none: no tokens are"
    )
    jwt_audience: str | None = Field(
        None, min_length=1, description="`aud` of the bearer tokens that are accepted"
    )
    jwt_algorithms: str = Field(
        "RS256,ES256,EdDSA", description="Algorithms of the bearer tokens that are accepted, of these three"
    )
    jwt_jwks_url: HttpUrl | None = Field(None, description="Where the issuer's public keys are (JWKS)")
    jwt_key_file: Path | None = Field(
        None,
        description="The issuer's public keys (PEM or JWKS), instead of `JWT_JWKS_URL`; read again when it changes",
    )
    jwt_leeway_seconds: float = Field(
        0.0, ge=0, le=300, description="How far the issuer's clock may be off, for the times in bearer tokens"
    )
    tenant_requests_per_second: int | None = Field(
        None,
        ge=0,
        description="Requests a second that each client may send to each process of this service, an upload being two; 0: any"
        f" number, which is the default with `AUTH_MODE=open`, else {_REQUESTS_PER_SECOND}",
    )
    requests_at_once: int | None = Field(
        None,
        ge=0,
        description="Files, and records, that each process of this service works on at once, while further requests wait and"
        f" all clients have turns; 0: any number, which is the default with `AUTH_MODE=open`, else {_AT_ONCE}",
    )
    tenant_concurrent_uploads: int | None = Field(
        None,
        ge=0,
        description="Uploads at once that each client may send to each process of this service; 0: any number, which is the"
        f" default with `AUTH_MODE=open`, else {_CONCURRENT_UPLOADS}",
    )
    wrong_credentials_per_second: int = Field(
        10,
        ge=0,
        description="Wrong credentials a second that each address may show to each process of this service; beyond, whoever"
        " was not let in within the last hour is refused unseen, after half a second; 0: any number",
    )
    tenant_metrics_limit: int = Field(
        50, ge=0, le=1000, description="Clients that metrics name, the first ones; all others are `other`"
    )
    min_upload_bytes_per_second: int = Field(
        1024,
        ge=0,
        description="Slowest that an upload may come, on average after its first 30 s; 0: as slow as it likes",
    )
    upload_dir: Path = Field(Path("uploads"), description="Folder that keeps the documents' bytes")
    storage_url: str | None = Field(
        None,
        pattern=_STORAGE_URL,
        description="Bucket of an S3-compatible store that keeps the documents' bytes, as s3://bucket or s3://bucket/prefix; `UPLOAD_DIR`"
        " then has uploads under way only; none: `UPLOAD_DIR` keeps them",
    )
    aws_endpoint_url: HttpUrl | None = Field(
        None, validate_default=True, description="Address of the store of `STORAGE_URL`; none: AWS's"
    )
    aws_region: str = Field("us-east-1", min_length=1, description="Region of that bucket")
    aws_access_key_id: str | None = Field(
        None, min_length=1, description="Who asks that store; none: the machine's own role (AWS)"
    )
    aws_secret_access_key: SecretStr | None = Field(None, description="Secret of `AWS_ACCESS_KEY_ID`")
    max_upload_bytes: int = Field(
        50 * 1024 * 1024, ge=1, description="Largest document that is accepted, in bytes"
    )
    sync_uploads: bool = Field(
        True,
        description="Answer an upload when its bytes are safe on the disk; `false`: a power cut may lose documents of the"
        " last half minute that were answered 200",
    )
    sweep_seconds: float = Field(
        600.0, gt=0, description="How often is looked for what killed processes have left in `UPLOAD_DIR`"
    )
    sweep_after_seconds: float = Field(
        600.0,
        ge=0,
        description="How long such a file must not have changed; longer than a data store may be at storing a record",
    )
    text_seconds: float = Field(
        5.0,
        gt=0,
        description="Time that reading the text of a PDF, DOCX, HTML or JSON file may take, unless `REQUEST_DEADLINE_SECONDS` leaves"
        " less; beyond, the process that reads it is ended and replaced",
    )
    text_memory_bytes: int = Field(
        256 * 1024 * 1024,
        ge=32 * 1024 * 1024,
        description="Memory that reading the text of such a file may take",
    )
    text_processes: int = Field(
        2,
        ge=1,
        le=64,
        description="Such files that each process of this service reads at once, each in a process",
    )
    clamd_address: str | None = Field(
        None,
        pattern=_CLAMD_ADDRESS,
        description="clamd that looks for viruses in each upload: host:port, or the path of its socket; none: nobody looks",
    )
    clamd_timeout_seconds: float = Field(
        10.0, gt=0, description="Time that clamd may take for an upload; beyond it is refused (503)"
    )
    summary_max_chars: int = Field(500, ge=50, le=10_000, description="Longest summary, in characters")
    summary_input_bytes: int = Field(
        64 * 1024,
        ge=1024,
        description="How much of a document's text, from its start, is read for the summary",
    )
    offline_summary: OfflineSummary = Field(
        OfflineSummary.SENTENCES,
        description="What is a summary without a model: `sentences`, the most telling ones, or the `beginning`, which"
        " takes next to no CPU time",
    )
    llm_base_url: HttpUrl | None = Field(
        None,
        description="OpenAI-compatible API that writes the summaries, up to and with /v1; none: offline summaries",
    )
    llm_model: str | None = Field(None, min_length=1, description="Model to ask; needed with LLM_BASE_URL")
    llm_api_key: SecretStr | None = Field(None, description="Bearer token for LLM_BASE_URL")
    llm_timeout_seconds: float = Field(
        10.0,
        gt=0,
        description="Time that all calls to the model for one document may take together, before the offline summary;"
        " shorter than `REQUEST_DEADLINE_SECONDS`",
    )
    llm_async_timeout_seconds: float = Field(
        120.0,
        gt=0,
        le=3600,
        description="The same for a summary that is written after the upload (`?summary=async`)",
    )
    summary_attempts: int = Field(
        5,
        ge=1,
        le=100,
        description="How often the model is asked for such a summary, before the offline summary; each pause is twice as"
        " long as the one before it, the first one somewhat longer than `LLM_ASYNC_TIMEOUT_SECONDS`",
    )
    summary_queue_seconds: float = Field(
        60.0,
        gt=0,
        description="How often is looked for such summaries that other processes have left",
    )
    llm_concurrency: int = Field(
        4,
        ge=1,
        description="Calls to the model at once from each process; others wait, within `LLM_TIMEOUT_SECONDS`, and all clients have turns",
    )
    llm_max_calls: int = Field(
        8,
        ge=1,
        le=100,
        description="Most calls to the model for one document: one that is too long for one call is summarised in parts, and"
        " what does not fit into them is left out at its end; with less than 3 there are no parts",
    )
    llm_max_input_tokens: int = Field(
        8000,
        ge=500,
        description="Most tokens that the model is given in one call, instruction included, a token being taken for three bytes",
    )
    llm_max_output_tokens: int = Field(
        250, ge=16, description="Most tokens that the model may answer in one call (`max_tokens`)"
    )
    otel_instrumentation_genai_capture_message_content: MessageContent = Field(
        MessageContent.NO_CONTENT,
        description="`SPAN_ONLY`: what the model is told and answers, the document's text therefore, is recorded on its span",
    )

    jaeger_url: HttpUrl | None = Field(
        None,
        description="Where this service asks Jaeger for `/observability/`, which is off unless this and the next two are set",
    )
    prometheus_url: HttpUrl | None = Field(None, description="Where it asks Prometheus")
    logs_url: HttpUrl | None = Field(
        None, description="Where it asks the log store, a Loki or a VictoriaLogs"
    )
    jaeger_public_url: HttpUrl | None = Field(
        None, description="Where people's browsers find Jaeger, for links; none: no links"
    )
    prometheus_public_url: HttpUrl | None = Field(
        None, description="Where people's browsers find Prometheus, likewise"
    )
    logs_public_url: HttpUrl | None = Field(
        None, description="Where people's browsers find the log store, likewise"
    )
    grafana_url: HttpUrl | None = Field(None, description="Where people's browsers find Grafana, likewise")

    @property
    def requests_per_second(self) -> int | None:
        """Return how many requests a second each client may send, None for any number."""
        return self._limit(self.tenant_requests_per_second, _REQUESTS_PER_SECOND)

    @property
    def at_once(self) -> int | None:
        """Return how many requests are worked on at once, None for any number."""
        return self._limit(self.requests_at_once, _AT_ONCE)

    @property
    def concurrent_uploads(self) -> int | None:
        """Return how many documents each client may upload at once, None for any number."""
        return self._limit(self.tenant_concurrent_uploads, _CONCURRENT_UPLOADS)

    def _limit(self, told: int | None, required: int) -> int | None:
        """Return a limit as it is told, else what it is where everybody says who he is."""
        if told is None:
            return required if self.auth_mode is AuthMode.REQUIRED else None
        return told or None

    @property
    def algorithms(self) -> list[str]:
        """Return the algorithms of bearer tokens that are accepted."""
        return [name.strip() for name in self.jwt_algorithms.split(",")]

    @field_validator("data_store_url")
    @classmethod
    def _has_no_password(cls, value: HttpUrl) -> HttpUrl:
        if value.username or value.password:
            raise ValueError("must not hold a user or password: the data store is shown SERVICE_TOKEN")
        return value

    @field_validator("jwt_jwks_url")
    @classmethod
    def _keys_come_from_the_issuer(cls, value: HttpUrl | None, info: ValidationInfo) -> HttpUrl | None:
        if value is not None and is_production(info) and not stays_private(str(value)):
            raise ValueError("must be https://, or http:// to this host, with ENVIRONMENT=production")
        return value

    @field_validator("aws_endpoint_url")
    @classmethod
    def _documents_are_sent_encrypted(cls, value: HttpUrl | None, info: ValidationInfo) -> HttpUrl | None:
        if value is not None and is_production(info) and not stays_private(str(value)):
            raise ValueError("must be https://, or http:// to this host, with ENVIRONMENT=production")
        return value

    @field_validator("public_tls")
    @classmethod
    def _production_is_encrypted(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  pydantic's way
        if not value and is_production(info):
            raise ValueError(
                "must be true with ENVIRONMENT=production: clients reach robin by TLS only (./setup-and-run.sh --tls)"
            )
        return value

    @field_validator("jwt_algorithms")
    @classmethod
    def _only_public_keys(cls, value: str) -> str:
        if not {name.strip() for name in value.split(",")} <= _ALGORITHMS:
            raise ValueError(f"must be of {', '.join(sorted(_ALGORITHMS))}, separated by commas")
        return value

    @model_validator(mode="after")
    def _tokens_can_be_verified(self) -> Self:
        if self.jwt_issuer is None:
            return self
        if self.jwt_audience is None:
            raise ValueError("JWT_AUDIENCE must say for whom the tokens of JWT_ISSUER are")
        if (self.jwt_jwks_url is None) == (self.jwt_key_file is None):
            raise ValueError(
                "JWT_JWKS_URL or JWT_KEY_FILE, one of them, must have the public keys of JWT_ISSUER"
            )
        return self

    @model_validator(mode="after")
    def _key_has_its_secret(self) -> Self:
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError(
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together: set both, or none of them"
            )
        return self

    @model_validator(mode="after")
    def _model_is_named(self) -> Self:
        if self.llm_base_url is not None and self.llm_model is None:
            msg = "LLM_MODEL must name the model to ask at LLM_BASE_URL"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _upload_outlives_its_model(self) -> Self:
        if self.llm_base_url is not None and self.llm_timeout_seconds >= self.request_deadline_seconds:
            raise ValueError(
                "LLM_TIMEOUT_SECONDS must be less than REQUEST_DEADLINE_SECONDS: an upload would be given up for its summary"
            )
        return self

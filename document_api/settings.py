"""Settings of the document API, each from the environment variable of its name."""

from pathlib import Path
from typing import Final, Self

from pydantic import Field, HttpUrl, SecretStr, model_validator

from document_api.summaries import OfflineSummary
from observability.service import ServiceSettings

# What boundaries, part headers and other fields may add to a document of max_upload_bytes; nginx allows the same.
MULTIPART_ENVELOPE_BYTES: Final = 64 * 1024


class DocumentApiSettings(ServiceSettings):
    """What the document API can be told."""

    data_store_url: HttpUrl = Field(HttpUrl("http://127.0.0.1:8001"), description="Address of the data store")
    data_store_timeout_seconds: float = Field(
        5.0, gt=0, description="Time an answer of the data store may take"
    )
    data_store_connections: int = Field(100, ge=1, description="Most connections to the data store at once")
    upload_dir: Path = Field(Path("uploads"), description="Folder that keeps the documents' bytes")
    max_upload_bytes: int = Field(
        50 * 1024 * 1024, ge=1, description="Largest document that is accepted, in bytes"
    )
    sync_uploads: bool = Field(
        True,
        description="Answer an upload when its bytes are safe on the disk; `false`: a power cut may lose documents of the"
        " last half minute that were answered 200",
    )
    summary_max_chars: int = Field(500, ge=50, le=10_000, description="Longest summary, in characters")
    summary_input_bytes: int = Field(
        64 * 1024, ge=1024, description="How much of a document, from its start, is read for the summary"
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
        10.0, gt=0, description="Time the model may take before the offline summary"
    )

    @model_validator(mode="after")
    def _model_is_named(self) -> Self:
        if self.llm_base_url is not None and self.llm_model is None:
            msg = "LLM_MODEL must name the model to ask at LLM_BASE_URL"
            raise ValueError(msg)
        return self

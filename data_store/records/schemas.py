"""What goes in and out of the records' endpoints."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from observability.fields import INT64_MAX, Timestamp


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain NUL characters: PostgreSQL cannot store them")
    return value


StoredText = Annotated[str, AfterValidator(_without_nul)]


class NewDocument(BaseModel):
    """What the document API knows of a document whose bytes it has stored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    filename: StoredText = Field(min_length=1, max_length=255)
    file_size: int = Field(gt=0, le=INT64_MAX, description="Bytes")
    file_type: StoredText = Field(
        min_length=1, max_length=255, description="Media type", examples=["text/plain"]
    )
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    storage_key: StoredText = Field(
        min_length=1, max_length=1024, description="Where the bytes are; opaque here"
    )
    summary: StoredText | None = Field(max_length=100_000)
    summary_source: Literal["extractive", "llm", "none"]
    summary_reason: StoredText | None = Field(max_length=1000)
    idempotency_digest: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of what a repetition of this upload has in common with it; none: every one is another",
    )

    @model_validator(mode="after")
    def _summary_has_its_source(self) -> Self:
        if (self.summary is None) != (self.summary_source == "none"):
            raise ValueError("summary must be null when summary_source is 'none', and only then")
        return self


class Document(BaseModel):
    """The record of a stored document."""

    id: int
    client_id: str
    filename: str
    file_size: int
    file_type: str
    sha256: str
    storage_key: str
    summary: str | None
    summary_source: str
    summary_reason: str | None
    upload_timestamp: Timestamp


class StorageKeys(BaseModel):
    """Names of stored bytes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    keys: list[Annotated[StoredText, Field(min_length=1, max_length=1024)]] = Field(max_length=1000)

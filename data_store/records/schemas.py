"""What goes in and out of the records' endpoints."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from observability.fields import JSON_INTEGER_MAX, Timestamp


def _storable(value: str) -> str:
    """Return a text that PostgreSQL can store; pydantic lets surrogates pass where it has no length to count."""
    if "\0" in value:
        raise ValueError("must not contain NUL characters: PostgreSQL cannot store them")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain surrogates: they are no characters") from None
    return value


def _as_integer(value: object) -> object:
    """Return 50.0 as 50, which it is in JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


StoredText = Annotated[str, AfterValidator(_storable), Field(json_schema_extra={"pattern": "^[^\\x00]*$"})]


# What _summary_has_its_source holds, in the words of JSON Schema.
_SUMMARY_HAS_ITS_SOURCE: Final[JsonDict] = {
    "oneOf": [
        {"properties": {"summary": {"type": "null"}, "summary_source": {"const": "none"}}},
        {"properties": {"summary": {"type": "string"}, "summary_source": {"enum": ["extractive", "llm"]}}},
    ]
}


class NewDocument(BaseModel):
    """What the document API knows of a document whose bytes it has stored."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra=_SUMMARY_HAS_ITS_SOURCE
    )

    filename: StoredText = Field(min_length=1, max_length=255)
    file_size: Annotated[int, BeforeValidator(_as_integer)] = Field(
        gt=0, le=JSON_INTEGER_MAX, description="Bytes"
    )
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

"""What goes in and out of the records' endpoints."""

from enum import StrEnum
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.config import JsonDict

from observability.fields import (
    INT32_MAX,
    JSON_INTEGER_MAX,
    MAX_TAGS,
    Moment,
    StoredText,
    Tag,
    TagName,
    TagValue,
    Timestamp,
)

MAX_PAGE: Final = 200
MAX_TEXT_CHARS: Final = 100_000
MAX_CLAIMED: Final = 16


def _as_integer(value: object) -> object:
    """Return 50.0 as 50, which it is in JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _tag(told: str) -> tuple[str, str]:
    name, _, value = told.partition(":")
    return name, value


# What _summary_has_its_source holds, in the words of JSON Schema.
_SUMMARY_HAS_ITS_SOURCE: Final[JsonDict] = {
    "oneOf": [
        {"properties": {"summary": {"type": "null"}, "summary_source": {"const": "none"}}},
        {"properties": {"summary": {"type": "string"}, "summary_source": {"enum": ["extractive", "llm"]}}},
    ]
}


class SummaryLater(BaseModel):
    """What is needed to write a summary after the upload."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    input_chars: Annotated[int, BeforeValidator(_as_integer)] = Field(
        gt=0, le=MAX_TEXT_CHARS, description="How much of the text is summarised, from its beginning"
    )
    traceparent: str | None = Field(
        None, pattern="^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$", description="The upload's span (W3C)"
    )


class _Summarised(BaseModel):
    """A summary and who wrote it, or why there is none."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra=_SUMMARY_HAS_ITS_SOURCE
    )

    summary: StoredText | None = Field(max_length=100_000)
    summary_source: Literal["extractive", "llm", "none"]
    summary_reason: StoredText | None = Field(max_length=1000)

    @model_validator(mode="after")
    def _summary_has_its_source(self) -> Self:
        if (self.summary is None) != (self.summary_source == "none"):
            raise ValueError("summary must be null when summary_source is 'none', and only then")
        return self


class NewDocument(_Summarised):
    """What the document API knows of a document whose bytes it has stored."""

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
    idempotency_digest: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of what a repetition of this upload has in common with it; none: every one is another",
    )
    text: StoredText = Field("", max_length=MAX_TEXT_CHARS, description="What is searched beside the name")
    summary_later: SummaryLater | None = Field(
        None, description="The summary is not written yet: what is needed to write it; none: it is"
    )


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
    version: int
    tags: dict[str, str]
    deleted_at: Timestamp | None
    summary_status: str


class Tags(BaseModel):
    """Tags to set; null takes one away (RFC 7396)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tags: dict[TagName, TagValue | None] = Field(
        min_length=1, max_length=MAX_TAGS, json_schema_extra={"additionalProperties": False}
    )


class Versions(BaseModel):
    """What a document is and was, the newest first; tags are the document's."""

    versions: list[Document]


class Order(StrEnum):
    """What a list begins with."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"


class Page(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(50, ge=1, le=MAX_PAGE)
    cursor: StoredText | None = Field(None, max_length=2000)


class Listing(Page):
    """Which documents, and in which order."""

    order: Order = Order.NEWEST
    deleted: bool = False
    file_type: StoredText | None = Field(None, max_length=255)
    name: StoredText | None = Field(
        None, min_length=1, max_length=255, description="A part of the name, in any case"
    )
    uploaded_from: Moment | None = None
    uploaded_before: Moment | None = None
    tag: list[Tag] = Field(default_factory=list, max_length=MAX_TAGS, description="name:value, all of them")

    @property
    def tags(self) -> dict[str, str]:
        """The tags that documents must have."""
        return dict(_tag(each) for each in self.tag)


class Search(Page):
    """What is searched for."""

    q: StoredText = Field(min_length=1, max_length=1000)


class DocumentPage(BaseModel):
    """A part of a list of documents; `next` is the cursor of what follows."""

    documents: list[Document]
    next: str | None


class Found(BaseModel):
    """A document that was found; `highlights` are the places of the words in the excerpt, in characters."""

    document: Document
    rank: float
    excerpt: str
    highlights: list[tuple[int, int]]


class FoundPage(BaseModel):
    """A part of what was found, the best first."""

    found: list[Found]
    next: str | None


class StorageKeys(BaseModel):
    """Names of stored bytes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    keys: list[Annotated[StoredText, Field(min_length=1, max_length=1024)]] = Field(max_length=1000)


class Claim(BaseModel):
    """How many jobs are taken, and for how long."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    most: Annotated[int, BeforeValidator(_as_integer)] = Field(gt=0, le=MAX_CLAIMED)
    kept_seconds: float = Field(
        gt=0,
        le=86_400,
        description="Until a job is anybody's again, unless its summary is written; twice as long each time it is taken",
    )


class SummaryJob(BaseModel):
    """A summary that is to be written within `lasts_seconds`, and of which upload it is."""

    client_id: str
    document_id: int
    version: int
    content: str
    attempt: int
    lasts_seconds: float
    waited_seconds: float
    traceparent: str | None
    correlation_id: UUID | None


class SummaryJobs(BaseModel):
    """The jobs that were taken; `next_seconds` is when one that somebody else has is due, null where there is none."""

    jobs: list[SummaryJob]
    next_seconds: float | None


class WrittenSummary(_Summarised):
    """The summary of a version of a document."""

    version: Annotated[int, BeforeValidator(_as_integer)] = Field(gt=0, le=INT32_MAX)

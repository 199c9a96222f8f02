"""What clients see of a document, and what the data store is told."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from document_api.summaries import SummarySource, SummaryStatus
from document_api.text import MAX_CHARS
from observability.fields import (
    INT32_MAX,
    MAX_TAGS,
    Moment,
    StoredText,
    Tag,
    TagName,
    TagValue,
    Timestamp,
)


class Document(BaseModel):
    """Metadata of a stored document."""

    model_config = ConfigDict(extra="ignore")  # the data store's own fields stay inside

    id: int = Field(examples=[5])
    client_id: str = Field(examples=["test-client-123"])
    filename: str = Field(examples=["test_file.txt"])
    file_size: int = Field(description="Bytes", examples=[50])
    file_type: str = Field(description="Media type", examples=["text/plain"])
    upload_timestamp: Timestamp = Field(examples=["2025-08-20T08:10:48.108442Z"])
    sha256: str = Field(description="Digest of the bytes, hexadecimal")
    summary: str | None = Field(
        description="None when the text could not be read, as summary_reason says, and while summary_status is pending"
    )
    summary_source: SummarySource
    summary_reason: str | None = Field(
        description="Why there is no summary, or why the model did not write it"
    )
    # With defaults: a data store that is not yet this version does not say them.
    version: int = Field(1, description="1, and one more with each new version", examples=[1])
    tags: dict[str, str] = Field(default_factory=dict, examples=[{"year": "2026"}])
    deleted_at: Timestamp | None = Field(None, description="When it was deleted; null: it is not")
    summary_status: SummaryStatus = Field(
        SummaryStatus.COMPLETE,
        description="`pending` until the summary of an upload with `summary=async` is written",
    )


class Recorded(Document):
    """A document as the data store knows it."""

    storage_key: str = Field(exclude=True)  # stays inside


class UploadResponse(BaseModel):
    """Answer to an upload."""

    message: str = "Document uploaded successfully"
    client_id: str
    document_id: int
    metadata: Document


class UploadResult(BaseModel):
    """What became of one file of several: its document, or the problem."""

    filename: str
    status: int = Field(description="As if it had been sent alone", examples=[200])
    document: Document | None
    repeated: bool = Field(description="An earlier upload that is the same has made the document")
    problem: dict[str, Any] | None = Field(description="RFC 9457; null where the file is stored")


class UploadResults(BaseModel):
    """Answer to several files, in their order."""

    client_id: str
    results: list[UploadResult]


class When(StrEnum):
    """When a summary is written: before the answer to the upload, or after it."""

    SYNC = "sync"
    ASYNC = "async"


class SummaryLater(BaseModel):
    """What is needed to write a summary after the upload: so much of the text, and the upload's span."""

    input_chars: int
    traceparent: str | None


class NewDocument(BaseModel):
    """A document whose bytes are safe and whose metadata is to be recorded."""

    filename: str
    file_size: int
    file_type: str
    sha256: str
    storage_key: str
    summary: str | None
    summary_source: SummarySource
    summary_reason: str | None
    idempotency_digest: str
    text: str = Field(max_length=MAX_CHARS)  # what is searched
    summary_later: SummaryLater | None = None


class TagChange(BaseModel):
    """Tags to set; null takes one away (JSON Merge Patch, RFC 7396)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tags: dict[TagName, TagValue | None] = Field(
        min_length=1,
        max_length=MAX_TAGS,
        examples=[{"year": "2026", "draft": None}],
        json_schema_extra={"additionalProperties": False},
    )


class Order(StrEnum):
    """What a list begins with."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"


class _Page(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(50, ge=1, le=200, description="Documents of a page")
    cursor: StoredText | None = Field(None, max_length=2000, description="`next` of the page before")


class ListedDocuments(_Page):
    """Which documents, and in which order."""

    order: Order = Field(Order.NEWEST, description="What the list begins with")
    deleted: bool = Field(False, description="Those that are deleted and can be restored")
    file_type: StoredText | None = Field(None, max_length=255, examples=["text/plain"])
    name: StoredText | None = Field(
        None, min_length=1, max_length=255, description="A part of the name, in any case"
    )
    uploaded_from: Moment | None = Field(None, examples=["2026-01-01T00:00:00Z"])
    uploaded_before: Moment | None = Field(None, examples=["2027-01-01T00:00:00Z"])
    tag: list[Tag] = Field(
        default_factory=list, max_length=MAX_TAGS, description="name:value; several: all of them"
    )


class SearchedDocuments(_Page):
    """What is searched for."""

    q: StoredText = Field(
        min_length=1,
        max_length=1000,
        description='Words that must all be in the name or the text; "in quotes" beside one another, OR either, -not',
        examples=['report "third quarter" -draft'],
    )


class WhichVersion(BaseModel):
    """Which version of a document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int | None = Field(None, ge=1, le=INT32_MAX, description="None: the newest")


class DocumentList(BaseModel):
    """A page of documents; `next` is the cursor of the page that follows, null where none does."""

    documents: list[Document]
    next: str | None


class FoundDocument(BaseModel):
    """A document that was found, how well it fits, and where: `highlights` are places in the excerpt, in characters."""

    document: Document
    rank: float
    excerpt: str = Field(examples=["A quiet report about robins"])
    highlights: list[tuple[int, int]] = Field(examples=[[[8, 14]]])


class FoundList(BaseModel):
    """A page of what was found, the best first; `next` as in a list."""

    found: list[FoundDocument]
    next: str | None


class Versions(BaseModel):
    """What a document is and was, the newest first."""

    versions: list[Document]

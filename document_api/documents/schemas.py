"""What clients see of a document, and what the data store is told."""

from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

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

# What README.md uploads, as it is answered and shown in the OpenAPI document.
_CLIENT: Final = "test-client-123"
_DOCUMENT: Final[JsonDict] = {
    "id": 1,
    "client_id": _CLIENT,
    "filename": "test_file.txt",
    "file_size": 50,
    "file_type": "text/plain",
    "upload_timestamp": "2026-11-27T22:05:08.939685Z",
    "sha256": "1a2c04b539e27b1ba492961238030aedbc0cec1da2558399846e33691f71a26a",
    "summary": "The quick brown fox jumps over the lazy dog today.",
    "summary_source": "extractive",
    "summary_reason": None,
    "version": 1,
    "tags": {"year": "2026"},
    "deleted_at": None,
    "summary_status": "complete",
}
_CURSOR: Final = "eyJvIjoibmV3ZXN0In0"


def _shown(example: JsonDict) -> JsonDict:
    return {"examples": [example]}


class Document(BaseModel):
    """Metadata of a stored document."""

    # The data store's own fields stay inside.
    model_config = ConfigDict(extra="ignore", json_schema_extra=_shown(_DOCUMENT))

    id: int
    client_id: str
    filename: str
    file_size: int = Field(description="Bytes")
    file_type: str = Field(description="Media type")
    upload_timestamp: Timestamp
    sha256: str = Field(description="Digest of the bytes, hexadecimal")
    summary: str | None = Field(
        description="None when the text could not be read, as summary_reason says, and while summary_status is pending"
    )
    summary_source: SummarySource
    summary_reason: str | None = Field(
        description="Why there is no summary, or why the model did not write it"
    )
    # With defaults: a data store that is not yet this version does not say them.
    version: int = Field(1, description="1, and one more with each new version")
    tags: dict[str, str] = Field(default_factory=dict)
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

    model_config = ConfigDict(
        json_schema_extra=_shown(
            {
                "message": "Document uploaded successfully",
                "client_id": _CLIENT,
                "document_id": 1,
                "metadata": _DOCUMENT | {"tags": {}},
            }
        )
    )

    message: str = "Document uploaded successfully"
    client_id: str
    document_id: int
    metadata: Document


class UploadResult(BaseModel):
    """What became of one file of several: its document, or the problem."""

    filename: str
    status: int = Field(description="As if it had been sent alone")
    document: Document | None
    repeated: bool = Field(description="An earlier upload that is the same has made the document")
    problem: dict[str, Any] | None = Field(description="RFC 9457; null where the file is stored")


class UploadResults(BaseModel):
    """Answer to several files, in their order."""

    model_config = ConfigDict(
        json_schema_extra=_shown(
            {
                "client_id": _CLIENT,
                "results": [
                    {
                        "filename": "test_file.txt",
                        "status": 200,
                        "document": _DOCUMENT | {"tags": {}},
                        "repeated": False,
                        "problem": None,
                    },
                    {
                        "filename": "empty.txt",
                        "status": 422,
                        "document": None,
                        "repeated": False,
                        "problem": {
                            "type": "about:blank",
                            "title": "Unprocessable Content",
                            "status": 422,
                            "detail": "The file is empty; send one multipart/form-data part named 'file' with a file name and at least one byte.",
                            "correlation_id": "246e400f-b2e9-4944-89f9-2184a195e531",
                        },
                    },
                ],
            }
        )
    )

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

    model_config = ConfigDict(json_schema_extra=_shown({"documents": [_DOCUMENT], "next": _CURSOR}))

    documents: list[Document]
    next: str | None


class FoundDocument(BaseModel):
    """A document that was found, how well it fits, and where: `highlights` are places in the excerpt, in characters."""

    document: Document
    rank: float
    excerpt: str
    highlights: list[tuple[int, int]]


class FoundList(BaseModel):
    """A page of what was found, the best first; `next` as in a list."""

    model_config = ConfigDict(
        json_schema_extra=_shown(
            {
                "found": [
                    {
                        "document": _DOCUMENT,
                        "rank": 0.0991,
                        "excerpt": "The quick brown fox jumps over the lazy dog today.",
                        "highlights": [[10, 15], [16, 19]],
                    }
                ],
                "next": None,
            }
        )
    )

    found: list[FoundDocument]
    next: str | None


class Versions(BaseModel):
    """What a document is and was, the newest first."""

    model_config = ConfigDict(json_schema_extra=_shown({"versions": [_DOCUMENT | {"version": 2}, _DOCUMENT]}))

    versions: list[Document]

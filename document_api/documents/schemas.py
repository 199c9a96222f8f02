"""What clients see of a document, and what the data store is told."""

from pydantic import BaseModel, ConfigDict, Field

from document_api.summaries import SummarySource
from observability.fields import Timestamp


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
    summary: str | None = Field(description="None when the text could not be read: summary_reason says why")
    summary_source: SummarySource
    summary_reason: str | None = Field(
        description="Why there is no summary, or why the model did not write it"
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

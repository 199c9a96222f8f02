"""What both services say of a document."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class DocumentCreate(BaseModel):
    """A document that is to be recorded."""

    filename: str
    file_size: int
    file_type: str
    summary: str


class Document(DocumentCreate):
    """A document that has been recorded."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    client_id: str
    upload_timestamp: datetime


class UploadResponse(BaseModel):
    """The answer to an upload."""

    message: str
    document_id: int
    metadata: Document

"""The public service: takes uploads, keeps the bytes, and asks the store over HTTP."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import httpx
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, UploadFile
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from benchmarks.peers.stock import telemetry
from benchmarks.peers.stock.schemas import Document, DocumentCreate, UploadResponse

logger = logging.getLogger(__name__)
UPLOADS = Path(os.environ["UPLOAD_DIR"])
SUMMARY_CHARS = 500


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one client for all requests."""
    async with httpx.AsyncClient(base_url=os.environ["DATA_STORE_URL"]) as client:
        app.state.client = client
        yield


def get_client(request: Request) -> httpx.AsyncClient:
    """Return the client of the store."""
    client: httpx.AsyncClient = request.app.state.client
    return client


Client = Annotated[httpx.AsyncClient, Depends(get_client)]
app = FastAPI(title="Documents", lifespan=lifespan)


@app.put("/clients/{client_id}/upload-document")
async def upload_document(client_id: str, file: UploadFile, client: Client) -> UploadResponse:
    """Keep a document and record it."""
    content = await file.read()
    (UPLOADS / str(uuid4())).write_bytes(content)
    new = DocumentCreate(
        filename=file.filename or "unnamed",
        file_size=len(content),
        file_type=file.content_type or "application/octet-stream",
        summary=content.decode(errors="replace")[:SUMMARY_CHARS],
    )
    response = await client.post(f"/clients/{client_id}/documents", json=new.model_dump())
    response.raise_for_status()
    document = Document.model_validate(response.json())
    logger.info("Document %s uploaded by %s", document.id, client_id)
    return UploadResponse(message="Document uploaded", document_id=document.id, metadata=document)


@app.get("/clients/{client_id}/documents/{document_id}")
async def get_document(client_id: str, document_id: int, client: Client) -> Document:
    """Return what is known of a document."""
    response = await client.get(f"/clients/{client_id}/documents/{document_id}")
    if response.status_code == httpx.codes.NOT_FOUND:
        raise HTTPException(404, "Document not found")
    response.raise_for_status()
    logger.info("Document %s retrieved by %s", document_id, client_id)
    return Document.model_validate(response.json())


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that the service runs."""
    return {"status": "healthy"}


if __name__ == "__main__":
    UPLOADS.mkdir(parents=True, exist_ok=True)
    telemetry.log_to_stdout()
    if telemetry.enabled():
        telemetry.set_up(app, "stock-api")
        HTTPXClientInstrumentor().instrument()
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]))

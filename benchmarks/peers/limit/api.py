"""The public service: passes on what the store answers."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.datastructures import UploadFile

SUMMARY_CHARS = 500


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one client for all requests."""
    async with aiohttp.ClientSession(os.environ["DATA_STORE_URL"]) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan, telemetry={"tracing": False, "metrics": False, "logs": False})


@app.put("/clients/{client_id}/upload-document")
async def upload_document(client_id: str, request: Request) -> Response:
    """Record a document."""
    async with request.form() as form:
        file = form["file"]
        if not isinstance(file, UploadFile):
            return Response(status_code=422)
        content = await file.read()
    new = {
        "filename": file.filename,
        "file_size": len(content),
        "file_type": file.content_type,
        "summary": content.decode(errors="replace")[:SUMMARY_CHARS],
    }
    client: aiohttp.ClientSession = request.app.state.client
    headers = {"Content-Type": "application/json"}
    async with client.post(
        f"/clients/{client_id}/documents", data=orjson.dumps(new), headers=headers
    ) as response:
        document = orjson.loads(await response.read())
    answer = {"message": "Document uploaded", "document_id": document["id"], "metadata": document}
    return Response(orjson.dumps(answer), media_type="application/json")


@app.get("/clients/{client_id}/documents/{document_id}")
async def get_document(client_id: str, document_id: int, request: Request) -> Response:
    """Return what is known of a document."""
    client: aiohttp.ClientSession = request.app.state.client
    async with client.get(f"/clients/{client_id}/documents/{document_id}") as response:
        return Response(await response.read(), response.status, media_type="application/json")


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that the service runs."""
    return {"status": "healthy"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False)

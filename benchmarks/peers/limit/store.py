"""The internal service: one statement for each request, each a transaction of its own, on 8 threads."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    MetaData,
    Table,
    Text,
    bindparam,
    create_engine,
    func,
    insert,
    select,
)

THREADS = 8

metadata = MetaData()
documents = Table(
    "limit_documents",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("file_size", BigInteger, nullable=False),
    Column("file_type", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("upload_timestamp", DateTime(timezone=True), server_default=func.now()),
)
engine = create_engine(
    os.environ["DATABASE_URL"], pool_size=THREADS, max_overflow=0, isolation_level="AUTOCOMMIT"
)
threads = ThreadPoolExecutor(THREADS)
INSERT = insert(documents).returning(*documents.columns)
COLUMNS = [str(column.name) for column in documents.columns]
SELECT = select(documents).where(
    documents.c.client_id == bindparam("of_client"), documents.c.id == bindparam("of_id")
)

app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})


def run(statement: Any, values: dict[str, Any]) -> bytes | None:
    """Run a statement and return its row as JSON."""
    with engine.connect() as connection:
        row = connection.execute(statement, values).one_or_none()
    return None if row is None else orjson.dumps(dict(zip(COLUMNS, row, strict=True)))


async def answer(statement: Any, values: dict[str, Any], status: int) -> Response:
    """Answer with the row of a statement."""
    row = await asyncio.get_running_loop().run_in_executor(threads, run, statement, values)
    return Response(row, status, media_type="application/json") if row else Response(status_code=404)


@app.post("/clients/{client_id}/documents")
async def create_document(client_id: str, request: Request) -> Response:
    """Record a document."""
    return await answer(INSERT, {"client_id": client_id, **orjson.loads(await request.body())}, 201)


@app.get("/clients/{client_id}/documents/{document_id}")
async def get_document(client_id: str, document_id: int) -> Response:
    """Return a record."""
    return await answer(SELECT, {"of_client": client_id, "of_id": document_id}, 200)


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that the service runs."""
    return {"status": "healthy"}


if __name__ == "__main__":
    metadata.create_all(engine)
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False)

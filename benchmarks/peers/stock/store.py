"""The internal service: records in PostgreSQL by SQLAlchemy's ORM."""

import logging
import os
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from sqlalchemy import DateTime, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from benchmarks.peers.stock import telemetry
from benchmarks.peers.stock.schemas import Document, DocumentCreate

logger = logging.getLogger(__name__)
engine = create_engine(os.environ["DATABASE_URL"])
SessionLocal = sessionmaker(engine)


class Base(DeclarativeBase):
    """All tables."""


class DocumentRecord(Base):
    """A document."""

    __tablename__ = "stock_documents"

    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(index=True)
    filename: Mapped[str]
    file_size: Mapped[int]
    file_type: Mapped[str]
    summary: Mapped[str]
    upload_timestamp: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


def get_session() -> Iterator[Session]:
    """Lend a session for a request."""
    with SessionLocal() as session:
        yield session


DatabaseSession = Annotated[Session, Depends(get_session)]
app = FastAPI(title="Records")


@app.post("/clients/{client_id}/documents", status_code=201, response_model=Document)
def create_document(client_id: str, document: DocumentCreate, session: DatabaseSession) -> DocumentRecord:
    """Record a document."""
    record = DocumentRecord(client_id=client_id, **document.model_dump())
    session.add(record)
    session.commit()
    session.refresh(record)
    logger.info("Document %s recorded", record.id)
    return record


@app.get("/clients/{client_id}/documents/{document_id}", response_model=Document)
def get_document(client_id: str, document_id: int, session: DatabaseSession) -> DocumentRecord:
    """Return a record."""
    query = select(DocumentRecord).where(
        DocumentRecord.client_id == client_id, DocumentRecord.id == document_id
    )
    record = session.scalars(query).first()
    if record is None:
        raise HTTPException(404, "Document not found")
    logger.info("Document %s read", document_id)
    return record


@app.get("/health")
def health() -> dict[str, str]:
    """Say that the service runs."""
    return {"status": "healthy"}


if __name__ == "__main__":
    telemetry.log_to_stdout()
    if telemetry.enabled():
        telemetry.set_up(app, "stock-store")
        SQLAlchemyInstrumentor().instrument(engine=engine)
    Base.metadata.create_all(engine)
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]))

"""The internal service that keeps the records of documents in PostgreSQL."""

from typing import Final

SERVICE_NAME: Final = "data-store"
VERSION: Final = "1.0.0"

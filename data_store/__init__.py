"""The internal service that keeps the records of documents in PostgreSQL."""

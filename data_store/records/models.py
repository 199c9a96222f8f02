"""The tables, as SQLAlchemy Core knows them; migrations/versions/ creates them."""

from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _now_column(name: str) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


clients: Final = Table(
    "clients",
    metadata,
    Column("id", Text, primary_key=True),
    _now_column("created_at"),
    CheckConstraint("id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'", name="id_is_valid"),
)

users: Final = Table(
    "users",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("client_id", Text, ForeignKey("clients.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False, server_default="member"),
    _now_column("created_at"),
    UniqueConstraint("client_id", "email"),
    CheckConstraint("role IN ('admin', 'member')", name="role_is_known"),
)

# The primary key begins with the tenant: it serves the one lookup there is, by client and id, and the foreign key.
document_metadata: Final = Table(
    "document_metadata",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("client_id", Text, ForeignKey("clients.id"), nullable=False),
    Column("filename", Text, nullable=False),
    Column("file_size", BigInteger, nullable=False),
    Column("file_type", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("storage_key", Text, nullable=False),
    Column("summary", Text),
    Column("summary_source", Text, nullable=False),
    Column("summary_reason", Text),
    _now_column("upload_timestamp"),
    PrimaryKeyConstraint("client_id", "id"),
    CheckConstraint("file_size > 0", name="file_size_is_positive"),
    CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_is_hex"),
    CheckConstraint("summary_source IN ('extractive', 'llm', 'none')", name="summary_source_is_known"),
    CheckConstraint("(summary IS NULL) = (summary_source = 'none')", name="summary_has_its_source"),
)

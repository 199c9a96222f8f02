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
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
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


def _time_column(name: str) -> Column[datetime]:
    return Column(name, DateTime(timezone=True))


clients: Final = Table(
    "clients",
    metadata,
    Column("id", Text, primary_key=True),
    _now_column("created_at"),
    # What is in document_metadata, counted there and then: never more than the limits, which are the service's unless set.
    Column("stored_documents", BigInteger, nullable=False, server_default="0"),
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),
    Column("max_documents", BigInteger),
    Column("max_stored_bytes", BigInteger),
    _time_column("disabled_at"),
    CheckConstraint("stored_documents >= 0 AND stored_bytes >= 0", name="counters_are_counts"),
    CheckConstraint("max_documents >= 0 AND max_stored_bytes >= 0", name="limits_are_limits"),
    CheckConstraint("id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'", name="id_is_valid"),
)

users: Final = Table(
    "users",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("client_id", Text, ForeignKey("clients.id")),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    _now_column("created_at"),
    Column("subject", Text, unique=True),
    _time_column("disabled_at"),
    UniqueConstraint("client_id", "email", postgresql_nulls_not_distinct=True),
    CheckConstraint("role IN ('reader', 'writer', 'tenant_admin', 'operator')", name="role_is_known"),
    CheckConstraint("(client_id IS NULL) = (role = 'operator')", name="operator_is_of_no_client"),
)

# Found by its prefix, known by its hash; the key itself is stored nowhere.
api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False),
    Column("prefix", Text, nullable=False, unique=True),
    Column("hash", LargeBinary, nullable=False),
    _now_column("created_at"),
    _time_column("expires_at"),
    _time_column("revoked_at"),
    _time_column("last_used_at"),
    CheckConstraint("prefix ~ '^[0-9a-f]{12}$'", name="prefix_is_hex"),
    CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
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
    # Of what makes a repeated upload the same; the key itself is stored nowhere.
    Column("idempotency_digest", LargeBinary),
    PrimaryKeyConstraint("client_id", "id"),
    UniqueConstraint("client_id", "idempotency_digest"),
    Index("ix_document_metadata_storage_key", "storage_key", postgresql_using="hash"),
    CheckConstraint("file_size > 0", name="file_size_is_positive"),
    CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_is_hex"),
    CheckConstraint("summary_source IN ('extractive', 'llm', 'none')", name="summary_source_is_known"),
    CheckConstraint("(summary IS NULL) = (summary_source = 'none')", name="summary_has_its_source"),
    CheckConstraint("octet_length(idempotency_digest) = 32", name="idempotency_digest_is_sha256"),
)

# Append-only: a trigger refuses every change. It refers to nothing, so that it outlives what it tells of.
audit_log: Final = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _now_column("at"),
    Column("client_id", Text),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("document_id", BigInteger),
    Column("target", Text),
    Column("correlation_id", Uuid),
    CheckConstraint(
        "action IN ('document.create', 'document.read', 'client.create', 'client.change', 'client.disable', 'client.enable',"
        " 'user.create', 'user.disable', 'user.enable', 'key.issue', 'key.revoke')",
        name="action_is_known",
    ),
)

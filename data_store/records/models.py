"""The tables, as SQLAlchemy Core knows them; migrations/versions/ creates them."""

from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

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


def _summary_status_column() -> Column[str]:
    return Column("summary_status", Text, nullable=False, server_default="complete")


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
    Column("version", Integer, nullable=False, server_default="1"),
    # The same of the upload that made this version, where that is not the first.
    Column("version_digest", LargeBinary),
    Column("tags", JSONB, nullable=False, server_default="{}"),
    _time_column("deleted_at"),
    _summary_status_column(),
    PrimaryKeyConstraint("client_id", "id"),
    UniqueConstraint("client_id", "idempotency_digest"),
    Index("ix_document_metadata_storage_key", "storage_key", postgresql_using="hash"),
    Index("ix_document_metadata_sha256", "sha256", postgresql_using="hash"),
    Index("ix_document_metadata_listing", "client_id", "upload_timestamp", "id"),
    Index("ix_document_metadata_by_name", "client_id", "filename", "id"),
    Index("ix_document_metadata_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    CheckConstraint("file_size > 0", name="file_size_is_positive"),
    CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_is_hex"),
    CheckConstraint("summary_source IN ('extractive', 'llm', 'none')", name="summary_source_is_known"),
    CheckConstraint("(summary IS NULL) = (summary_source = 'none')", name="summary_has_its_source"),
    CheckConstraint("octet_length(idempotency_digest) = 32", name="idempotency_digest_is_sha256"),
    CheckConstraint("octet_length(version_digest) = 32", name="version_digest_is_sha256"),
    CheckConstraint("version > 0", name="version_is_positive"),
    CheckConstraint("jsonb_typeof(tags) = 'object'", name="tags_is_object"),
    CheckConstraint("summary_status IN ('complete', 'pending')", name="summary_status_is_known"),
)


def _of_a_document() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["client_id", "document_id"],
        ["document_metadata.client_id", "document_metadata.id"],
        ondelete="CASCADE",
    )


# What a document was before it became what document_metadata says.
document_versions: Final = Table(
    "document_versions",
    metadata,
    Column("client_id", Text, nullable=False),
    Column("document_id", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("filename", Text, nullable=False),
    Column("file_type", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("storage_key", Text, nullable=False),
    Column("file_size", BigInteger, nullable=False),
    Column("summary", Text),
    Column("summary_source", Text, nullable=False),
    Column("summary_reason", Text),
    Column("upload_timestamp", DateTime(timezone=True), nullable=False),
    Column("version_digest", LargeBinary),
    _summary_status_column(),
    PrimaryKeyConstraint("client_id", "document_id", "version"),
    _of_a_document(),
    CheckConstraint("summary_status IN ('complete', 'pending')", name="summary_status_is_known"),
    Index("ix_document_versions_storage_key", "storage_key", postgresql_using="hash"),
    Index("ix_document_versions_sha256", "sha256", postgresql_using="hash"),
)

# What is searched: a table of its own, for no list or lookup is to carry it along.
document_texts: Final = Table(
    "document_texts",
    metadata,
    Column("client_id", Text, nullable=False),
    Column("document_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column(
        "words",
        TSVECTOR,
        Computed(
            "array_to_tsvector(ARRAY['client:' || client_id])"
            " || setweight(to_tsvector('simple', regexp_replace(lower(name COLLATE pg_c_utf8), '[[:punct:]]+', ' ', 'g')), 'A')"
            " || to_tsvector('simple', lower(content COLLATE pg_c_utf8))",
            persisted=True,
        ),
    ),
    PrimaryKeyConstraint("client_id", "document_id"),
    _of_a_document(),
    Index("ix_document_texts_words", "words", postgresql_using="gin"),
)

# What is still to be summarised: texts of their own, for a document may have a new one before its turn comes.
summary_jobs: Final = Table(
    "summary_jobs",
    metadata,
    Column("client_id", Text, nullable=False),
    Column("document_id", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _now_column("created_at"),
    # Whoever takes a job sets this to when he must have done it: then it is anybody's again.
    _now_column("due_at"),
    # Of the upload.
    Column("traceparent", Text),
    Column("correlation_id", Uuid),
    PrimaryKeyConstraint("client_id", "document_id", "version"),
    _of_a_document(),
    Index("ix_summary_jobs_due_at", "due_at"),
    Index("ix_summary_jobs_line", "client_id", "due_at", "document_id", "version"),
)

# Bytes that no document has any more, until they are removed from the storage.
removed_contents: Final = Table(
    "removed_contents",
    metadata,
    Column("storage_key", Text, primary_key=True),
    _now_column("removed_at"),
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
        "action IN ('document.create', 'document.read', 'document.add_version', 'document.change', 'document.delete',"
        " 'document.restore', 'document.purge', 'client.create', 'client.change', 'client.disable', 'client.enable',"
        " 'user.create', 'user.disable', 'user.enable', 'key.issue', 'key.revoke')",
        name="action_is_known",
    ),
)

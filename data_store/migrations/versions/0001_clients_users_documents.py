"""Create clients, users and document_metadata."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "clients",
        sa.Column("id", sa.Text, nullable=False),
        _now("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_clients"),
        sa.CheckConstraint("id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'", name="id_is_valid"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False, server_default="member"),
        _now("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name="fk_users_client_id_clients"),
        sa.UniqueConstraint("client_id", "email", name="uq_users_client_id_email"),
        sa.CheckConstraint("role IN ('admin', 'member')", name="role_is_known"),
    )
    op.create_table(
        "document_metadata",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("file_size", sa.BigInteger, nullable=False),
        sa.Column("file_type", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("storage_key", sa.Text, nullable=False),
        sa.Column("summary", sa.Text),
        sa.Column("summary_source", sa.Text, nullable=False),
        sa.Column("summary_reason", sa.Text),
        _now("upload_timestamp"),
        sa.PrimaryKeyConstraint("client_id", "id", name="pk_document_metadata"),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name="fk_document_metadata_client_id_clients"),
        sa.CheckConstraint("file_size > 0", name="file_size_is_positive"),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_is_hex"),
        sa.CheckConstraint("summary_source IN ('extractive', 'llm', 'none')", name="summary_source_is_known"),
        sa.CheckConstraint("(summary IS NULL) = (summary_source = 'none')", name="summary_has_its_source"),
    )


def downgrade() -> None:
    """Drop the three tables, and with them every record."""
    for table in ("document_metadata", "users", "clients"):
        op.drop_table(table)


def _now(name: str) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())

"""Let an upload be repeated without a second document, and stored bytes be asked whose they are."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# Runs as its owner, who sees all tenants: whoever sweeps the bytes knows no client.
_FUNCTION: Final = """
    CREATE FUNCTION known_storage_keys(keys text[]) RETURNS SETOF text
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = {schema}, pg_temp AS $function$
        SELECT key FROM unnest(keys) AS key
        WHERE EXISTS (SELECT FROM document_metadata WHERE document_metadata.storage_key = key)
    $function$
"""


def upgrade() -> None:
    """Add the digest of what makes an upload the same, and an index for the bytes' names."""
    op.add_column("document_metadata", sa.Column("idempotency_digest", sa.LargeBinary))
    op.create_check_constraint(
        "idempotency_digest_is_sha256", "document_metadata", "octet_length(idempotency_digest) = 32"
    )
    op.create_unique_constraint(
        "uq_document_metadata_client_id_idempotency_digest",
        "document_metadata",
        ["client_id", "idempotency_digest"],
    )
    # Asked for equality alone.
    op.create_index(
        "ix_document_metadata_storage_key", "document_metadata", ["storage_key"], postgresql_using="hash"
    )
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(_FUNCTION.format(schema=schema))
    op.execute("REVOKE ALL ON FUNCTION known_storage_keys(text[]) FROM PUBLIC")


def downgrade() -> None:
    """Forget which uploads were the same."""
    op.execute("DROP FUNCTION known_storage_keys(text[])")
    op.drop_index("ix_document_metadata_storage_key", "document_metadata")
    op.execute(
        "ALTER TABLE document_metadata DROP CONSTRAINT uq_document_metadata_client_id_idempotency_digest"
    )
    op.drop_column("document_metadata", "idempotency_digest")

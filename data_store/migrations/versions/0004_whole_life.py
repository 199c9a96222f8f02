"""Give documents their whole life: tags, versions, deletion with a way back, purging, and a text that is searched."""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

# Shared by whoever reads the bytes of all documents.
BYTES_LOCK: Final = 0x726F62696E02

revision = "0004"
down_revision = "0003"

_TENANT: Final = "current_setting('robin.client_id', true)"
_ACTIONS: Final = ("document.create", "document.read")
_NEW_ACTIONS: Final = (
    "document.add_version",
    "document.change",
    "document.delete",
    "document.restore",
    "document.purge",
)
_OTHER_ACTIONS: Final = (
    "client.create",
    "client.change",
    "client.disable",
    "client.enable",
    "user.create",
    "user.disable",
    "user.enable",
    "key.issue",
    "key.revoke",
)
_FUNCTION: Final = """
    CREATE FUNCTION {signature} RETURNS {returns}
        LANGUAGE {language} SECURITY DEFINER SET search_path = {schema}, pg_temp AS $function$ {body} $function$
"""
_KNOWN_KEYS: Final = (
    "known_storage_keys(keys text[])",
    "SETOF text",
    "sql STABLE",
    """
        SELECT key FROM unnest(keys) AS key
        WHERE EXISTS (SELECT FROM document_metadata WHERE document_metadata.storage_key = key)
            OR EXISTS (SELECT FROM document_versions WHERE document_versions.storage_key = key)
    """,
)
_KNOWN_KEYS_BEFORE: Final = (
    *_KNOWN_KEYS[:3],
    """
        SELECT key FROM unnest(keys) AS key
        WHERE EXISTS (SELECT FROM document_metadata WHERE document_metadata.storage_key = key)
    """,
)
# All of them run as their owner. The first is for the others alone: it asks for no tenant. The client's row comes first
# and each statement sees what is committed by then, so that no document that is stored at the same time takes over bytes
# of the one that goes.
_FUNCTIONS: Final = (
    (
        "purge(of_client text, of_id bigint, by_actor text, in_request uuid)",
        "void",
        "plpgsql",
        """
        DECLARE keys text[]; bytes bigint;
        BEGIN
            PERFORM FROM clients WHERE id = of_client FOR UPDATE;
            WITH version AS (
                DELETE FROM document_versions WHERE client_id = of_client AND document_id = of_id
                RETURNING storage_key, file_size
            ), document AS (
                DELETE FROM document_metadata WHERE client_id = of_client AND id = of_id AND deleted_at IS NOT NULL
                RETURNING storage_key, file_size
            ), gone AS (SELECT * FROM version UNION ALL SELECT * FROM document)
            SELECT array_agg(storage_key), sum(file_size) INTO keys, bytes FROM gone
            WHERE EXISTS (SELECT FROM document);
            IF keys IS NULL THEN RAISE EXCEPTION 'there is no such deleted document'; END IF;
            INSERT INTO removed_contents (storage_key)
                SELECT DISTINCT key FROM unnest(keys) AS key WHERE key NOT IN (SELECT known_storage_keys(keys));
            UPDATE clients SET stored_documents = stored_documents - 1, stored_bytes = stored_bytes - bytes
                WHERE id = of_client;
            INSERT INTO audit_log (client_id, actor, action, document_id, correlation_id)
                VALUES (of_client, by_actor, 'document.purge', of_id, in_request);
        END
        """,
    ),
    (
        "purge_document(of_id bigint, by_actor text, in_request uuid)",
        "boolean",
        "plpgsql",
        f"""
        BEGIN
            PERFORM FROM document_metadata WHERE client_id = {_TENANT} AND id = of_id AND deleted_at IS NOT NULL;
            IF NOT FOUND THEN RETURN false; END IF;
            PERFORM purge({_TENANT}, of_id, by_actor, in_request);
            RETURN true;
        END
        """,
    ),
    (
        "purge_expired(kept_seconds double precision, most integer, in_request uuid)",
        "bigint",
        "plpgsql",
        """
        DECLARE document record; purged bigint := 0;
        BEGIN
            FOR document IN
                SELECT client_id, id FROM document_metadata
                WHERE deleted_at < now() - make_interval(secs => kept_seconds) ORDER BY client_id, id LIMIT most
            LOOP
                -- One that is restored or purged meanwhile is no error.
                IF EXISTS (SELECT FROM document_metadata WHERE client_id = document.client_id AND id = document.id
                        AND deleted_at IS NOT NULL) THEN
                    PERFORM purge(document.client_id, document.id, 'retention', in_request);
                    purged := purged + 1;
                END IF;
            END LOOP;
            RETURN purged;
        END
        """,
    ),
    (
        "removed_storage_keys(most integer)",
        "SETOF text",
        "sql",
        # None while a backup reads: it holds this lock, and wants the bytes of all documents that it has seen.
        f"""
        SELECT storage_key FROM removed_contents WHERE (SELECT pg_try_advisory_xact_lock({BYTES_LOCK}))
        ORDER BY removed_at LIMIT most
        """,  # noqa: S608  a number of this file
    ),
    (
        "forget_storage_keys(keys text[])",
        "void",
        "sql",
        "DELETE FROM removed_contents WHERE storage_key = ANY (keys)",
    ),
)
# Of the file's name each word counts more. Letters are compared as Unicode has them, whatever the database's locale. The tenant is a word as well: the index finds what has both.
_WORDS: Final = (
    "array_to_tsvector(ARRAY['client:' || client_id])"
    " || setweight(to_tsvector('simple', regexp_replace(lower(name COLLATE pg_c_utf8), '[[:punct:]]+', ' ', 'g')), 'A')"
    " || to_tsvector('simple', lower(content COLLATE pg_c_utf8))"
)
# No operator of text search is leakproof: under row-level security PostgreSQL would read all rows of the tenant. So it
# runs as the owner, and names its tenant.
_SEARCH: Final = (
    "search_documents(asked text, most integer, after_rank real, after_id bigint)",
    "TABLE (id bigint, rank real, excerpt text)",
    "sql STABLE",
    f"""
        WITH query AS (
            SELECT websearch_to_tsquery('simple', lower(asked COLLATE pg_c_utf8)) AS words
        ), found AS (
            SELECT document_id, ts_rank(document_texts.words, query.words) AS rank, content
            FROM query, document_texts JOIN document_metadata
                ON document_metadata.client_id = document_texts.client_id AND document_metadata.id = document_id
            WHERE document_texts.client_id = {_TENANT}
                AND document_texts.words @@ (quote_literal('client:' || {_TENANT})::tsquery && query.words)
                AND numnode(query.words) > 0 AND deleted_at IS NULL
        ), best AS (
            SELECT * FROM found WHERE after_id IS NULL OR (rank, document_id) < (after_rank, after_id)
            ORDER BY rank DESC, document_id DESC LIMIT most
        )
        SELECT document_id, rank, ts_headline('simple', content, query.words,
            E'StartSel=\\x02, StopSel=\\x03, MaxFragments=2, MaxWords=24, MinWords=8, FragmentDelimiter=" … "')
        FROM best, query ORDER BY rank DESC, document_id DESC
    """,  # noqa: S608  texts of this file
)


def upgrade() -> None:
    """Add what a document is after its upload."""
    _add_columns()
    _create_versions()
    _create_texts()
    _create_removed_contents()
    _let_actions_be((*_ACTIONS, *_NEW_ACTIONS))
    op.execute("DROP FUNCTION known_storage_keys(text[])")
    for function in (_KNOWN_KEYS, *_FUNCTIONS, _SEARCH):
        _create_function(*function)


def downgrade() -> None:
    """Forget deleted documents' mark, earlier versions, tags and texts; what was done is kept under another name."""
    for signature, *_ in (*reversed(_FUNCTIONS), _SEARCH, _KNOWN_KEYS):
        op.execute(f"DROP FUNCTION {signature}")
    for table in ("removed_contents", "document_texts", "document_versions"):
        op.drop_table(table)
    for name in ("listing", "by_name", "sha256", "deleted_at"):
        op.drop_index(f"ix_document_metadata_{name}", "document_metadata")
    for name in ("version", "version_digest", "tags", "deleted_at"):
        op.drop_column("document_metadata", name)
    _create_function(*_KNOWN_KEYS_BEFORE)
    # The audit log is append-only: its lines stay as they are, and the check holds for those to come.
    _let_actions_be(_ACTIONS, others="NOT VALID")


def _add_columns() -> None:
    op.add_column("document_metadata", sa.Column("version", sa.Integer, nullable=False, server_default="1"))
    op.add_column("document_metadata", sa.Column("version_digest", sa.LargeBinary))
    op.add_column(
        "document_metadata", sa.Column("tags", postgresql.JSONB, nullable=False, server_default="{}")
    )
    op.add_column("document_metadata", sa.Column("deleted_at", sa.DateTime(timezone=True)))
    op.create_check_constraint("version_is_positive", "document_metadata", "version > 0")
    op.create_check_constraint("tags_is_object", "document_metadata", "jsonb_typeof(tags) = 'object'")
    op.create_check_constraint(
        "version_digest_is_sha256", "document_metadata", "octet_length(version_digest) = 32"
    )
    indexes = {"listing": ("client_id", "upload_timestamp", "id"), "by_name": ("client_id", "filename", "id")}
    for name, columns in indexes.items():
        op.create_index(f"ix_document_metadata_{name}", "document_metadata", columns)
    # Asked for equality alone.
    op.create_index("ix_document_metadata_sha256", "document_metadata", ["sha256"], postgresql_using="hash")
    op.create_index(
        "ix_document_metadata_deleted_at",
        "document_metadata",
        ["deleted_at"],
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )


def _create_versions() -> None:
    op.create_table(
        "document_versions",
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("document_id", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("filename", "file_type", "sha256", "storage_key")
        ),
        sa.Column("file_size", sa.BigInteger, nullable=False),
        sa.Column("summary", sa.Text),
        sa.Column("summary_source", sa.Text, nullable=False),
        sa.Column("summary_reason", sa.Text),
        sa.Column("upload_timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version_digest", sa.LargeBinary),
        sa.PrimaryKeyConstraint("client_id", "document_id", "version", name="pk_document_versions"),
        _of_a_document("document_versions"),
    )
    for name in ("storage_key", "sha256"):
        op.create_index(f"ix_document_versions_{name}", "document_versions", [name], postgresql_using="hash")
    _keep_apart("document_versions", f"USING (client_id = {_TENANT})")


def _create_texts() -> None:
    op.create_table(
        "document_texts",
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("document_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("words", postgresql.TSVECTOR, sa.Computed(_WORDS, persisted=True)),
        sa.PrimaryKeyConstraint("client_id", "document_id", name="pk_document_texts"),
        _of_a_document("document_texts"),
    )
    op.create_index("ix_document_texts_words", "document_texts", ["words"], postgresql_using="gin")
    _keep_apart("document_texts", f"USING (client_id = {_TENANT})")
    op.execute(
        "INSERT INTO document_texts (client_id, document_id, name, content)"
        " SELECT client_id, id, filename, '' FROM document_metadata"
    )


def _create_removed_contents() -> None:
    """Bytes that no document has any more; what removes them forgets them here."""
    op.create_table(
        "removed_contents",
        sa.Column("storage_key", sa.Text, nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("storage_key", name="pk_removed_contents"),
    )
    op.execute("ALTER TABLE removed_contents ENABLE ROW LEVEL SECURITY")


def _of_a_document(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["client_id", "document_id"],
        ["document_metadata.client_id", "document_metadata.id"],
        ondelete="CASCADE",
        name=f"fk_{table}_client_id_document_metadata",
    )


def _keep_apart(table: str, rule: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY of_tenant ON {table} {rule}")


def _let_actions_be(actions: Sequence[str], *, others: str = "") -> None:
    """Let the audit log know these actions on documents: all of them the service may write down."""
    known = ", ".join(f"'{action}'" for action in (*actions, *_OTHER_ACTIONS))
    op.execute("ALTER TABLE audit_log DROP CONSTRAINT ck_audit_log_action_is_known")
    op.execute(
        f"ALTER TABLE audit_log ADD CONSTRAINT ck_audit_log_action_is_known CHECK (action IN ({known})) {others}"
    )
    of_documents = ", ".join(f"'{action}'" for action in actions)
    op.execute(
        f"ALTER POLICY of_tenant ON audit_log WITH CHECK (client_id = {_TENANT} AND action IN ({of_documents}))"
    )


def _create_function(signature: str, returns: str, language: str, body: str) -> None:
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(
        _FUNCTION.format(signature=signature, returns=returns, language=language, body=body, schema=schema)
    )
    op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")

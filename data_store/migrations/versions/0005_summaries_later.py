"""Let a summary be written after the upload: a queue of what is still to be summarised, that outlives whoever works on it."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TENANT: Final = "current_setting('robin.client_id', true)"
_TABLES: Final = ("document_metadata", "document_versions")
_FUNCTION: Final = """
    CREATE FUNCTION {signature} RETURNS {returns}
        LANGUAGE {language} SECURITY DEFINER SET search_path = {schema}, pg_temp AS $function$ {body} $function$
"""
# All of them run as their owner. The first two are asked by whoever works for all tenants, and ask for none.
_FUNCTIONS: Final = (
    (
        "seconds_to_next_summary()",
        "double precision",
        "sql STABLE",
        "SELECT extract(epoch FROM min(due_at) - now()) FROM summary_jobs WHERE due_at > now()",
    ),
    (
        # Who has the fewest jobs in work comes first: each client's first job before anyone's second. However many there
        # are, no more is looked at than is taken at once, of each client, found by stepping from one to the next. Whoever takes a job has it until it is due again: later
        # each time, so that what cannot be done is not tried all the time.
        "claim_summaries(most integer, kept_seconds double precision)",
        (
            "TABLE (client_id text, document_id bigint, version integer, content text, attempt integer,"
            " lasts_seconds double precision, waited_seconds double precision, traceparent text, correlation_id uuid)"
        ),
        "sql",
        """
        WITH RECURSIVE tenant AS (
            SELECT min(job.client_id) AS id FROM summary_jobs AS job
            UNION ALL
            SELECT (SELECT min(job.client_id) FROM summary_jobs AS job WHERE job.client_id > tenant.id)
            FROM tenant WHERE tenant.id IS NOT NULL
        ), line AS (
            SELECT first.*, busy.jobs + row_number() OVER (PARTITION BY first.client_id ORDER BY first.due_at) AS turn
            FROM tenant CROSS JOIN LATERAL (
                SELECT count(*) AS jobs FROM (
                    SELECT FROM summary_jobs AS job WHERE job.client_id = tenant.id AND job.due_at > now() LIMIT 64
                ) AS each
            ) AS busy CROSS JOIN LATERAL (
                SELECT job.client_id, job.document_id, job.version, job.due_at FROM summary_jobs AS job
                WHERE job.client_id = tenant.id AND job.due_at <= now() AND NOT EXISTS (
                    SELECT FROM document_metadata AS document WHERE document.client_id = job.client_id
                        AND document.id = job.document_id AND document.deleted_at IS NOT NULL)
                ORDER BY job.due_at, job.document_id, job.version LIMIT 64
            ) AS first
        ), head AS (
            SELECT * FROM line ORDER BY turn, due_at LIMIT 256
        ), due AS (
            SELECT job.client_id, job.document_id, job.version
            FROM summary_jobs AS job JOIN head USING (client_id, document_id, version)
            WHERE job.due_at <= now()
            ORDER BY head.turn, job.due_at LIMIT most FOR UPDATE OF job SKIP LOCKED
        ), lasting AS (
            SELECT due.*, kept_seconds * power(2, least(attempts, 5)) AS seconds
            FROM due JOIN summary_jobs USING (client_id, document_id, version)
        )
        UPDATE summary_jobs AS job SET attempts = attempts + 1, due_at = now() + make_interval(secs => seconds)
        FROM lasting
        WHERE job.client_id = lasting.client_id AND job.document_id = lasting.document_id
            AND job.version = lasting.version
        RETURNING job.client_id, job.document_id, job.version, job.content, job.attempts, seconds,
            extract(epoch FROM now() - job.created_at)::double precision, job.traceparent, job.correlation_id
        """,
    ),
    (
        # Written once: whoever comes second finds no job. The document's row comes first, as in a purge, which takes its
        # jobs with it.
        "write_summary(of_id bigint, of_version integer, written text, source text, reason text)",
        "boolean",
        "plpgsql",
        f"""
        BEGIN
            PERFORM FROM document_metadata WHERE client_id = {_TENANT} AND id = of_id FOR NO KEY UPDATE;
            DELETE FROM summary_jobs WHERE client_id = {_TENANT} AND document_id = of_id AND version = of_version;
            IF NOT FOUND THEN RETURN false; END IF;
            UPDATE document_metadata
                SET summary = written, summary_source = source, summary_reason = reason, summary_status = 'complete'
                WHERE client_id = {_TENANT} AND id = of_id AND version = of_version;
            IF NOT FOUND THEN
                UPDATE document_versions
                    SET summary = written, summary_source = source, summary_reason = reason, summary_status = 'complete'
                    WHERE client_id = {_TENANT} AND document_id = of_id AND version = of_version;
            END IF;
            RETURN true;
        END
        """,  # noqa: S608  texts of this file
    ),
)


def upgrade() -> None:
    """Add the queue, and what tells that a summary is still in it."""
    for table in _TABLES:
        op.add_column(table, sa.Column("summary_status", sa.Text, nullable=False, server_default="complete"))
        op.create_check_constraint(
            "summary_status_is_known", table, "summary_status IN ('complete', 'pending')"
        )
    op.create_table(
        "summary_jobs",
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("document_id", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
            for name in ("created_at", "due_at")
        ),
        sa.Column("traceparent", sa.Text),
        sa.Column("correlation_id", sa.Uuid),
        sa.PrimaryKeyConstraint("client_id", "document_id", "version", name="pk_summary_jobs"),
        sa.ForeignKeyConstraint(
            ["client_id", "document_id"],
            ["document_metadata.client_id", "document_metadata.id"],
            ondelete="CASCADE",
            name="fk_summary_jobs_client_id_document_metadata",
        ),
    )
    op.create_index("ix_summary_jobs_due_at", "summary_jobs", ["due_at"])
    op.create_index("ix_summary_jobs_line", "summary_jobs", ["client_id", "due_at", "document_id", "version"])
    op.execute("ALTER TABLE summary_jobs ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY of_tenant ON summary_jobs USING (client_id = {_TENANT})")
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for signature, returns, language, body in _FUNCTIONS:
        op.execute(
            _FUNCTION.format(
                signature=signature, returns=returns, language=language, body=body, schema=schema
            )
        )
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")


def downgrade() -> None:
    """Forget what is still to be summarised: those documents stay without a summary."""
    for signature, *_ in _FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
    op.drop_table("summary_jobs")
    for table in _TABLES:
        op.drop_column(table, "summary_status")

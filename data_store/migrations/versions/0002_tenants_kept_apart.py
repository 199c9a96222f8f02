"""Keep tenants apart: row-level security, API keys, roles, counters with limits, and an audit log."""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# Unset it is NULL, after a transaction that had set it '': neither is a client's id.
_TENANT: Final = "current_setting('robin.client_id', true)"
_TABLES: Final = ("clients", "users", "document_metadata", "api_keys", "audit_log")
# Of users and api_keys nobody but their owner sees a row: there is no policy that would allow it.
_POLICIES: Final = {
    "clients": f"USING (id = {_TENANT})",
    "document_metadata": f"USING (client_id = {_TENANT})",
    # What the command line does is for the owner alone to write down.
    "audit_log": f"FOR INSERT WITH CHECK (client_id = {_TENANT} AND action IN ('document.create', 'document.read'))",
}
# Run as their owner, who sees all tenants: they answer one question each, to whoever may ask it.
_FUNCTION: Final = """
    CREATE FUNCTION {signature} RETURNS TABLE (user_id bigint, client_id text, role text)
        LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = {schema}, pg_temp AS $function${body}$function$
"""
_FUNCTIONS: Final = {
    "principal_by_key(prefix text, hash bytea)": """
        WITH valid AS (
            SELECT api_keys.id, users.id AS user_id, users.client_id, users.role
            FROM api_keys JOIN users ON users.id = api_keys.user_id LEFT JOIN clients ON clients.id = users.client_id
            WHERE api_keys.prefix = principal_by_key.prefix AND api_keys.hash = principal_by_key.hash
                AND api_keys.revoked_at IS NULL AND (api_keys.expires_at IS NULL OR api_keys.expires_at > now())
                AND users.disabled_at IS NULL AND clients.disabled_at IS NULL
        ), used AS (
            UPDATE api_keys SET last_used_at = now() FROM valid
            WHERE api_keys.id = valid.id
                AND (api_keys.last_used_at IS NULL OR api_keys.last_used_at < now() - interval '1 minute')
        )
        SELECT user_id, client_id, role FROM valid
    """,
    "principal_by_subject(subject text)": """
        SELECT users.id, users.client_id, users.role
        FROM users LEFT JOIN clients ON clients.id = users.client_id
        WHERE users.subject = principal_by_subject.subject
            AND users.disabled_at IS NULL AND clients.disabled_at IS NULL
    """,
}


def upgrade() -> None:
    """Add what tells tenants apart, and let PostgreSQL hold it."""
    _count_and_limit_clients()
    _give_users_their_roles()
    _create_api_keys()
    _create_audit_log()
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    for table, rule in _POLICIES.items():
        op.execute(f"CREATE POLICY of_tenant ON {table} {rule}")
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for signature, body in _FUNCTIONS.items():
        op.execute(_FUNCTION.format(signature=signature, schema=schema, body=body))
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")


def downgrade() -> None:
    """Drop all of it: the audit log, the keys, and the operators, who are of no client."""
    for signature in _FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
    for table in _POLICIES:
        op.execute(f"DROP POLICY of_tenant ON {table}")
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.drop_table("audit_log")
    op.execute("DROP FUNCTION refuse_change()")
    op.drop_table("api_keys")
    op.execute("DELETE FROM users WHERE role = 'operator'")
    op.execute("ALTER TABLE users DROP CONSTRAINT uq_users_client_id_email")
    op.execute("ALTER TABLE users ADD CONSTRAINT uq_users_client_id_email UNIQUE (client_id, email)")
    op.execute("ALTER TABLE users DROP CONSTRAINT ck_users_operator_is_of_no_client")
    _rename_roles("'admin', 'member'", "CASE role WHEN 'tenant_admin' THEN 'admin' ELSE 'member' END")
    op.alter_column("users", "role", server_default="member")
    op.alter_column("users", "client_id", nullable=False)
    _drop_columns("users", ("subject", "disabled_at"))
    _drop_columns(
        "clients", ("stored_documents", "stored_bytes", "max_documents", "max_stored_bytes", "disabled_at")
    )


def _count_and_limit_clients() -> None:
    for name in ("stored_documents", "stored_bytes"):
        op.add_column("clients", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    for name in ("max_documents", "max_stored_bytes"):
        op.add_column("clients", sa.Column(name, sa.BigInteger))
    op.add_column("clients", _time("disabled_at"))
    op.create_check_constraint(
        "counters_are_counts", "clients", "stored_documents >= 0 AND stored_bytes >= 0"
    )
    op.create_check_constraint("limits_are_limits", "clients", "max_documents >= 0 AND max_stored_bytes >= 0")
    op.execute(
        """
        UPDATE clients SET stored_documents = stored.documents, stored_bytes = stored.bytes
        FROM (
            SELECT client_id, count(*) AS documents, least(sum(file_size), 9223372036854775807) AS bytes
            FROM document_metadata GROUP BY client_id
        ) AS stored
        WHERE stored.client_id = clients.id
        """
    )


def _give_users_their_roles() -> None:
    op.alter_column("users", "role", server_default=None)
    _rename_roles(
        "'reader', 'writer', 'tenant_admin', 'operator'",
        "CASE role WHEN 'admin' THEN 'tenant_admin' ELSE 'writer' END",
    )
    op.alter_column("users", "client_id", nullable=True)
    op.create_check_constraint(
        "operator_is_of_no_client", "users", "(client_id IS NULL) = (role = 'operator')"
    )
    op.add_column("users", sa.Column("subject", sa.Text))
    op.add_column("users", _time("disabled_at"))
    op.create_unique_constraint("uq_users_subject", "users", ["subject"])
    op.execute("ALTER TABLE users DROP CONSTRAINT uq_users_client_id_email")
    op.execute(
        "ALTER TABLE users ADD CONSTRAINT uq_users_client_id_email UNIQUE NULLS NOT DISTINCT (client_id, email)"
    )


def _rename_roles(known: str, renamed: str) -> None:
    op.execute("ALTER TABLE users DROP CONSTRAINT ck_users_role_is_known")
    op.execute(f"UPDATE users SET role = {renamed}")  # noqa: S608  a text of this file
    op.create_check_constraint("role_is_known", "users", f"role IN ({known})")


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        _time("created_at", nullable=False, server_default=sa.func.now()),
        _time("expires_at"),
        _time("revoked_at"),
        _time("last_used_at"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_api_keys_user_id_users"),
        sa.UniqueConstraint("prefix", name="uq_api_keys_prefix"),
        sa.CheckConstraint("prefix ~ '^[0-9a-f]{12}$'", name="prefix_is_hex"),
        sa.CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        _time("at", nullable=False, server_default=sa.func.now()),
        sa.Column("client_id", sa.Text),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("document_id", sa.BigInteger),
        sa.Column("target", sa.Text),  # what else it was done to: "user:12", "key:1a2b3c4d5e6f"
        sa.Column("correlation_id", sa.Uuid),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
        sa.CheckConstraint(
            "action IN ('document.create', 'document.read', 'client.create', 'client.change', 'client.disable', 'client.enable',"
            " 'user.create', 'user.disable', 'user.enable', 'key.issue', 'key.revoke')",
            name="action_is_known",
        ),
    )
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $function$
            BEGIN RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP; END
        $function$
        """
    )
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    # Else whoever restores or replicates would be let through.
    op.execute("ALTER TABLE audit_log ENABLE ALWAYS TRIGGER append_only")


def _drop_columns(table: str, names: Sequence[str]) -> None:
    for name in names:
        op.drop_column(table, name)


def _time(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), **options)

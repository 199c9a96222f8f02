"""SQL as the role of the running service, against another tenant: each try is refused or finds nothing.

Policies hold against statements that forget their tenant. Whoever sends SQL of his own could name another tenant: against
that stands that no value ever becomes SQL (tests/integration/test_database_telemetry.py).
"""
# ruff: noqa: S608  SQL of this file alone

import io
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import psycopg2
import pytest
from psycopg2.errors import CheckViolation, InsufficientPrivilege

from data_store.migrations.grants import FUNCTIONS, TABLES
from data_store.records.models import metadata
from tests.integration.conftest import MIGRATED, OWNER, SERVICE, PostgreSQL

ALL: Final = sorted(metadata.tables)
READABLE: Final = ("clients", "document_metadata", "document_versions", "document_texts")
TENANT_COLUMN: Final = {table: "id" if table == "clients" else "client_id" for table in READABLE}
DOCUMENT: Final = "client_id, filename, file_size, file_type, sha256, storage_key, summary_source"
OF: Final = "'{}', '1', 1, 'text/plain', repeat('0', 64), 'key', 'none'"
FILL: Final = (
    "INSERT INTO clients (id, stored_documents, stored_bytes) VALUES ('{client}', 1, 1)",
    f"INSERT INTO document_metadata ({DOCUMENT}) VALUES ('{{client}}', '{{filename}}', 1, 'text/plain', repeat('0', 64), 'key', 'none')",
    "INSERT INTO users (client_id, name, email, role, subject) VALUES ('{client}', 'Ann', 'a@{client}.example', 'writer', '{client}-sub')",
    "INSERT INTO api_keys (user_id, prefix, hash) SELECT id, substr(md5('{client}'), 1, 12), sha256('{client}') FROM users WHERE client_id = '{client}'",
    "INSERT INTO audit_log (client_id, actor, action) VALUES ('{client}', 'user:1', 'document.create')",
    "INSERT INTO document_versions (client_id, document_id, version, filename, file_type, sha256, storage_key, file_size, summary_source, upload_timestamp) SELECT client_id, id, 1, filename, file_type, sha256, '{client}-old', 1, 'none', now() FROM document_metadata WHERE client_id = '{client}'",
    "INSERT INTO document_texts (client_id, document_id, name, content) SELECT client_id, id, filename, 'secret words' FROM document_metadata WHERE client_id = '{client}'",
    "INSERT INTO removed_contents (storage_key) VALUES ('{client}-removed')",
)


@pytest.fixture(scope="module")
def two_tenants(postgresql: PostgreSQL) -> str:
    """Name of a database that holds a row of acme and one of other in each table."""
    database = postgresql.create_database(template=MIGRATED)
    for client, filename in (("acme", "1"), ("other", "secret")):
        for statement in FILL:
            postgresql.execute(statement.format(client=client, filename=filename), database=database)
    postgresql.execute("ANALYZE", database=database)
    return database


@pytest.fixture
def service(postgresql: PostgreSQL, two_tenants: str) -> Iterator[psycopg2.extensions.connection]:
    """A connection as the service's role, on which acme is the tenant; what was tried on it must have changed nothing of other's."""
    before = everything_of_other(postgresql, two_tenants)
    with closing(psycopg2.connect(postgresql.url(two_tenants))) as connection:
        run(connection, "SET LOCAL robin.client_id = 'acme'")
        yield connection
        connection.rollback()
    assert everything_of_other(postgresql, two_tenants) == before


def everything_of_other(postgresql: PostgreSQL, database: str) -> dict[str, list[Any]]:
    """Return all that is stored, but what may change of acme: its counters."""
    rows = {
        table: postgresql.execute(f"SELECT * FROM {table} ORDER BY 1", database=database)
        for table in ALL
        if table != "clients"
    }
    clients = postgresql.execute("SELECT * FROM clients WHERE id <> 'acme'", database=database)
    return {**rows, "clients": clients}


def run(connection: psycopg2.extensions.connection, statement: str) -> list[Any]:
    """Run a statement and return its rows, or what a COPY wrote."""
    with connection.cursor() as cursor:
        if statement.startswith("COPY"):
            stream = io.StringIO()
            cursor.copy_expert(statement, stream)
            return stream.getvalue().splitlines()
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def explains_itself(statement: str) -> str:
    """Return a statement as the name of its test."""
    return statement.replace("\n", " ")[:60]


def test_every_table_is_kept_apart(postgresql: PostgreSQL, two_tenants: str) -> None:
    """A table that somebody adds without row-level security is found here; Alembic's own has nothing of a tenant."""
    tables = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND {} ORDER BY 1"
    protected = postgresql.execute(tables.format("relrowsecurity"), database=two_tenants)
    everything = postgresql.execute(tables.format("true"), database=two_tenants)
    assert [name for (name,) in protected] == ALL
    assert {name for (name,) in everything} - set(ALL) == {"alembic_version"}


def test_the_service_may_do_what_is_granted_and_nothing_else(
    postgresql: PostgreSQL, two_tenants: str
) -> None:
    """Column by column; it owns nothing, and is a member of nobody."""
    granted = postgresql.execute(
        f"SELECT table_name, privilege_type, column_name FROM information_schema.column_privileges WHERE grantee = '{SERVICE}'",
        database=two_tenants,
    )
    wanted = {
        (table, privilege, column)
        for table, privileges in TABLES.items()
        for privilege, columns in privileges.items()
        for column in columns
    }
    assert set(granted) == wanted
    for question in (
        f"SELECT table_name, privilege_type FROM information_schema.table_privileges WHERE grantee IN ('{SERVICE}', 'PUBLIC') AND table_schema = 'public'",
        f"SELECT relname FROM pg_class WHERE pg_has_role('{SERVICE}', relowner, 'MEMBER')",
        f"SELECT roleid FROM pg_auth_members WHERE member = '{SERVICE}'::regrole",
        "SELECT FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'",
    ):
        assert postgresql.execute(question, database=two_tenants) == []
    functions = postgresql.execute(
        f"SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        f" AND has_function_privilege('{SERVICE}', oid, 'EXECUTE') AND prorettype <> 'trigger'::regtype",
        database=two_tenants,
    )
    assert {name.replace(",", ", ") for (name,) in functions} == set(FUNCTIONS)


@pytest.mark.parametrize("table", READABLE)
def test_a_query_that_forgets_its_tenant_finds_only_what_is_the_tenants(
    service: psycopg2.extensions.connection, table: str
) -> None:
    """Whatever way it asks."""
    column = TENANT_COLUMN[table]
    assert run(service, f"SELECT {column} FROM {table}") == [("acme",)]
    assert run(service, f"SELECT count({column}), max({column}) FROM {table}") == [(1, "acme")]
    assert run(service, f"SELECT {column} FROM {table} WHERE {column} = 'other'") == []
    assert run(service, f"SELECT {column} FROM {table} WHERE true OR {column} = 'other'") == [("acme",)]
    assert run(service, f"SELECT {column} FROM {table} WHERE {column} <> 'acme'") == []
    assert run(service, f"COPY {table} ({column}) TO STDOUT") == ["acme"]


@pytest.mark.parametrize("tenant", [None, "", "nobody", "OTHER", "other ", "oth%", "acme,other"])
@pytest.mark.parametrize("table", READABLE)
def test_without_its_tenant_a_query_finds_nothing(
    postgresql: PostgreSQL, two_tenants: str, table: str, tenant: str | None
) -> None:
    """None, no such one, or one that is only nearly right."""
    with closing(psycopg2.connect(postgresql.url(two_tenants))) as connection:
        if tenant is not None:
            run(connection, f"SET LOCAL robin.client_id = '{tenant}'")
        assert run(connection, f"SELECT {TENANT_COLUMN[table]} FROM {table}") == []


def test_a_prepared_statement_shows_the_rows_of_whom_it_is_executed_for(
    postgresql: PostgreSQL, two_tenants: str
) -> None:
    """The policy is asked when it runs, however often its plan was used for another."""
    with closing(psycopg2.connect(postgresql.url(two_tenants))) as connection:
        run(connection, "PREPARE documents AS SELECT client_id FROM document_metadata")
        for tenant in ("acme", "other") * 8:
            run(connection, f"SET LOCAL robin.client_id = '{tenant}'")
            assert run(connection, "EXECUTE documents") == [(tenant,)]
            connection.commit()


def test_a_filter_of_the_query_does_not_look_at_others_rows_first(
    service: psycopg2.extensions.connection,
) -> None:
    """It would fail on other's file name, and its error would quote it."""
    assert run(service, "SELECT client_id FROM document_metadata WHERE CAST(filename AS int) > 0") == [
        ("acme",)
    ]


def test_a_change_that_forgets_its_tenant_changes_only_what_is_the_tenants(
    service: psycopg2.extensions.connection,
) -> None:
    """Committed, so that what is compared afterwards would show it."""
    assert run(service, "UPDATE clients SET stored_documents = 7 RETURNING id") == [("acme",)]
    assert run(service, "UPDATE clients SET stored_bytes = 7 WHERE id = 'other' RETURNING id") == []
    service.commit()


@pytest.mark.parametrize(
    "statement",
    [
        # Rows of another tenant.
        "INSERT INTO clients (id) VALUES ('third')",
        "INSERT INTO clients (id) VALUES ('other') ON CONFLICT DO NOTHING",
        "INSERT INTO clients (id) VALUES ('other') ON CONFLICT (id) DO UPDATE SET stored_documents = 0",
        f"INSERT INTO document_metadata ({DOCUMENT}) VALUES ({OF.format('other')})",
        f"INSERT INTO document_metadata ({DOCUMENT}) SELECT {OF.format('other')} FROM clients",
        "INSERT INTO audit_log (client_id, actor, action) VALUES ('other', 'user:1', 'document.read')",
        "INSERT INTO audit_log (actor, action) VALUES ('user:1', 'document.read')",
        # What the command line alone does.
        "INSERT INTO audit_log (client_id, actor, action) VALUES ('acme', 'cli:ada', 'key.revoke')",
        "INSERT INTO audit_log (client_id, actor, action) VALUES ('acme', 'cli:ada', 'client.change')",
        # What is nobody's to say: limits, times, ids, who is whose.
        "INSERT INTO clients (id, max_documents) VALUES ('acme', 99)",
        "UPDATE clients SET max_documents = NULL",
        "UPDATE clients SET id = 'other'",
        "UPDATE clients SET disabled_at = NULL",
        "INSERT INTO audit_log (client_id, actor, action, at) VALUES ('acme', 'user:1', 'document.read', '2000-01-01')",
        "UPDATE document_metadata SET client_id = 'other'",
        "UPDATE document_metadata SET idempotency_digest = NULL",
        "UPDATE document_versions SET client_id = 'other'",
        "UPDATE document_texts SET client_id = 'other'",
        "INSERT INTO document_texts (client_id, document_id, name, content) VALUES ('other', 2, 'mine', 'mine')",
        "SELECT content FROM document_texts",
        "SELECT purge('other', 2, 'user:1', NULL)",
        "MERGE INTO clients USING (SELECT 'other' AS id) AS one ON clients.id = one.id WHEN MATCHED THEN DELETE",
        *(f"DELETE FROM {table}" for table in ALL),
        *(f"TRUNCATE {table} CASCADE" for table in ALL),
        *(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE" for table in ALL),
        *(f"COPY {table} FROM STDIN" for table in ALL),
        # Tables that the service does not read.
        *(
            f"{form} {table}"
            for table in ("users", "api_keys", "audit_log", "removed_contents")
            for form in ("SELECT FROM", "TABLE", "SELECT count(*) FROM")
        ),
        "SELECT email FROM users",
        "SELECT hash FROM api_keys",
        "COPY audit_log TO STDOUT",
        "COPY clients TO STDOUT",
        "INSERT INTO users (name, email, role) VALUES ('Eve', 'e@evil.example', 'operator')",
        "UPDATE users SET role = 'operator', client_id = NULL",
        "UPDATE api_keys SET revoked_at = NULL",
        "INSERT INTO api_keys (user_id, prefix, hash) SELECT 1, '0123456789ab', sha256('x')",
        # Being somebody else.
        f"SET ROLE {OWNER}",
        "SET ROLE postgres",
        f"SET SESSION AUTHORIZATION {OWNER}",
        f"GRANT {OWNER} TO {SERVICE}",
        f"ALTER ROLE {SERVICE} BYPASSRLS",
        f"ALTER ROLE {SERVICE} SUPERUSER",
        "CREATE ROLE eve SUPERUSER",
        # Doing away with the policies, as pg_dump asks and otherwise.
        "SET row_security = off; SELECT client_id FROM document_metadata",
        "SET row_security = off; UPDATE clients SET stored_bytes = 0",
        *(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY" for table in ALL),
        *(f"ALTER TABLE {table} OWNER TO {SERVICE}" for table in ALL),
        *(f"DROP TABLE {table} CASCADE" for table in ALL),
        *(f"DROP POLICY of_tenant ON {table}" for table in READABLE),
        "ALTER POLICY of_tenant ON document_metadata USING (true)",
        "CREATE POLICY of_all ON document_metadata USING (true)",
        "ALTER TABLE audit_log DISABLE TRIGGER append_only",
        "SET session_replication_role = replica",
        # Code that runs as somebody else, and the machine.
        "CREATE TABLE mine (id int)",
        "CREATE TEMP TABLE document_metadata (id int)",
        "CREATE TEMP VIEW mine AS SELECT id FROM clients",
        "SELECT 1 AS id INTO TEMP clients",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION principal_by_subject(text) RETURNS SETOF record LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION principal_by_subject(text) SECURITY INVOKER",
        "CREATE SCHEMA mine",
        "CREATE EXTENSION dblink",
        "CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION mine()",
        "DO LANGUAGE plpgsql $$ BEGIN PERFORM hash FROM api_keys; END $$",
        "SELECT pg_read_file('pg_hba.conf')",
        "COPY document_metadata TO PROGRAM 'cat'",
        "COPY document_metadata TO '/tmp/documents'",
        "SELECT nextval('document_metadata_id_seq')",
        "SELECT setval('document_metadata_id_seq', 1)",
        "SELECT last_value FROM document_metadata_id_seq",
        "SELECT stavalues1 FROM pg_statistic",
    ],
    ids=explains_itself,
)  # fmt: skip
def test_what_reaches_for_more_is_refused(service: psycopg2.extensions.connection, statement: str) -> None:
    """With PostgreSQL's own word for it: 42501, and nothing of other's has changed."""
    with pytest.raises((InsufficientPrivilege, psycopg2.errors.FeatureNotSupported)) as refusal:
        run(service, statement)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "statement",
    [
        # As it was at its start is all that it can become.
        "RESET ROLE",
        "SET ROLE NONE",
        "RESET SESSION AUTHORIZATION",
        "SET row_security = on",
        "RESET ALL; SET LOCAL robin.client_id = 'acme'",
        f"GRANT SELECT ON users TO {SERVICE}",
    ],
    ids=explains_itself,
)
def test_what_is_not_refused_opens_nothing(service: psycopg2.extensions.connection, statement: str) -> None:
    """Afterwards it sees what it saw before."""
    try:
        run(service, statement)
    except InsufficientPrivilege:
        service.rollback()
        run(service, "SET LOCAL robin.client_id = 'acme'")
    assert run(service, "SELECT current_user::text, client_id FROM document_metadata") == [(SERVICE, "acme")]
    with pytest.raises(InsufficientPrivilege):
        run(service, "SELECT id FROM users")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
        "SELECT * FROM pg_stats_ext",
        "SELECT * FROM principal_by_key('0123456789ab', sha256('x'))",
        "SELECT * FROM principal_by_key(substr(md5('other'), 1, 12), sha256('x'))",
        "SELECT * FROM principal_by_key(substr(md5('other'), 1, 12), NULL)",
        "SELECT * FROM principal_by_key('%', sha256('other'))",
        "SELECT * FROM principal_by_subject('%')",
        "SELECT * FROM principal_by_subject(NULL)",
        "SELECT * FROM search_documents('secret', 10, NULL, NULL) WHERE excerpt IS NULL",
        "SELECT FROM document_metadata, LATERAL purge_document(2, 'user:1', NULL) AS purged WHERE purged",
    ],
    ids=explains_itself,
)
def test_what_answers_for_all_tenants_tells_nothing(
    service: psycopg2.extensions.connection, statement: str
) -> None:
    """Statistics are hidden where policies hold; a function knows whoever shows the whole credential, and nobody else."""
    assert run(service, statement) == []


def test_the_search_finds_what_is_the_tenants(postgresql: PostgreSQL, two_tenants: str) -> None:
    """It runs as the owner, and names the tenant that is set."""
    with closing(psycopg2.connect(postgresql.url(two_tenants))) as connection:
        search = "SELECT id FROM search_documents('secret words', 10, NULL, NULL)"
        assert run(connection, search) == []
        for tenant, found in (("acme", [(1,)]), ("other", [(2,)]), ("", []), ("acme' | 'client:other", [])):
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('robin.client_id', %s, true)", (tenant,))
            assert run(connection, search) == found


@pytest.mark.parametrize("counter", ["stored_documents", "stored_bytes"])
def test_a_counter_is_never_below_nothing(service: psycopg2.extensions.connection, counter: str) -> None:
    """A client would have more room than its limits."""
    with pytest.raises(CheckViolation, match="ck_clients_counters_are_counts"):
        run(service, f"UPDATE clients SET {counter} = -5")


@pytest.fixture
def temporary_tables(postgresql: PostgreSQL, two_tenants: str) -> Iterator[None]:
    """Somebody has let the service's role make them, against what migrations do."""
    postgresql.execute(f"GRANT TEMPORARY ON DATABASE {two_tenants} TO {SERVICE}")
    yield
    postgresql.execute(f"REVOKE TEMPORARY ON DATABASE {two_tenants} FROM {SERVICE}")


@pytest.mark.usefixtures("temporary_tables")
def test_a_function_that_sees_all_tenants_is_not_to_be_led_elsewhere(
    service: psycopg2.extensions.connection,
) -> None:
    """It finds its tables where they were when it was made, whatever the caller's search path and tables."""
    run(
        service,
        "CREATE TEMP TABLE users (id bigint, client_id text, role text, subject text, disabled_at timestamptz)",
    )
    run(service, "INSERT INTO pg_temp.users VALUES (1, NULL, 'operator', 'eve', NULL)")
    run(service, "SET LOCAL search_path = pg_temp, public")
    assert run(service, "SELECT * FROM public.principal_by_subject('eve')") == []
    assert run(service, "SELECT client_id FROM public.principal_by_subject('other-sub')") == [("other",)]

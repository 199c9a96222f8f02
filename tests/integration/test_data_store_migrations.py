"""The schema's migrations on a real PostgreSQL."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg2
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from data_store.migrations import HEAD, LOCK, MigrationError, Place, is_migrated, migrate
from data_store.migrations.upgrade import config
from data_store.records.models import metadata
from tests.integration.conftest import SERVICE, PostgreSQL
from tests.waiting import eventually

INSERT = (
    "INSERT INTO document_metadata (client_id, filename, file_size, file_type, sha256, storage_key, summary,"
    " summary_source) VALUES ({client_id}, 'a.txt', {file_size}, 'text/plain', {sha256}, 'key', {summary},"
    " {summary_source})"
)
VALID = {
    "client_id": "'acme'",
    "file_size": "1",
    "sha256": f"'{'0' * 64}'",
    "summary": "'text'",
    "summary_source": "'llm'",
}


def test_the_migrations_make_the_tables_that_the_code_knows(owner_url: str) -> None:
    """Alembic finds no difference between the migrated database and the models."""
    engine = create_engine(owner_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_migrating_a_migrated_database_changes_nothing(
    postgresql: PostgreSQL, database: str, owner_url: str
) -> None:
    """A second start keeps every row."""
    postgresql.execute("INSERT INTO clients VALUES ('acme')", database=database)
    migrate(Place(owner_url, 0))
    assert postgresql.count(database, "clients") == 1


def test_the_newest_revision_is_the_one_that_the_code_names(owner_url: str) -> None:
    """Else a start would migrate each time, or take an old schema for its own."""
    engine = create_engine(owner_url)
    with engine.connect() as connection:
        assert ScriptDirectory.from_config(config(connection)).get_heads() == [HEAD]
    engine.dispose()


@pytest.mark.parametrize("url", ["owner_url", "empty_database_url"])
def test_a_service_does_without_alembic(url: str, request: pytest.FixtureRequest) -> None:
    """It would take memory as long as the service runs, migrated or not."""
    url = request.getfixturevalue(url)
    program = (
        "import sys; from data_store.migrations import Place; from data_store.migrations.apart import migrate_apart;"
        "migrate_apart(Place(sys.argv[1], 0)); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert is_migrated(Place(url, 0))


def test_a_database_that_may_not_be_looked_at_is_one_line(postgresql: PostgreSQL, database: str) -> None:
    """A role without rights is told so, and what to do, without a stack."""
    postgresql.execute("CREATE ROLE onlooker LOGIN")
    with pytest.raises(MigrationError, match=r"permission denied.* Set MIGRATION_DATABASE_URL") as error:
        is_migrated(Place(postgresql.url(database, "onlooker"), 0))
    assert "\n" not in str(error.value)


def test_what_fails_in_the_child_is_told_by_the_service(postgresql: PostgreSQL) -> None:
    """In the one line that the child has for it."""
    database = postgresql.create_database()
    postgresql.execute("CREATE TABLE document_metadata (id int)", database=database)
    done = subprocess.run(
        [sys.executable, "-m", "data_store", "migrate"],
        env={**os.environ, "DATABASE_URL": postgresql.owner_url(database)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert '"document_metadata" already exists' in line


def test_instances_that_start_at_once_migrate_one_after_the_other(empty_database_url: str) -> None:
    """All succeed, and the migrations have run once."""
    together = threading.Barrier(6)

    def start(_: int) -> None:
        together.wait(10)
        migrate(Place(empty_database_url, 0))

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(start, range(6)))


def test_an_instance_waits_while_another_migrates(postgresql: PostgreSQL, empty_database_url: str) -> None:
    """Nothing is touched until the advisory lock is free."""
    other = psycopg2.connect(empty_database_url)
    other.cursor().execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(migrate, Place(empty_database_url, 0))
        eventually(
            lambda: postgresql.execute(
                "SELECT 1 FROM pg_stat_activity"
                " WHERE application_name = 'data-store-migrate' AND wait_event = 'advisory'"
            )
        )
        other.rollback()
        assert not waiting.done()
        other.close()
        waiting.result(10)


def test_what_is_lost_while_it_migrates_is_done_again(
    postgresql: PostgreSQL, empty_database_url: str
) -> None:
    """PostgreSQL was restarted, say: nothing of the first attempt is left, and the second does all of it."""
    waits = (
        "SELECT {} FROM pg_stat_activity"
        " WHERE application_name = 'data-store-migrate' AND wait_event = 'advisory'"
    )
    other = psycopg2.connect(empty_database_url)
    other.cursor().execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(migrate, Place(empty_database_url, 20))
        ((first,),) = eventually(lambda: postgresql.execute(waits.format("pid")))
        postgresql.execute(f"SELECT pg_terminate_backend({first})")
        eventually(lambda: postgresql.execute(waits.format("pid")) not in ([], [(first,)]))
        other.close()
        waiting.result(20)
    assert is_migrated(Place(empty_database_url, 0))


def test_a_start_waits_until_the_database_accepts_connections(postgresql: PostgreSQL) -> None:
    """The service may be started before its database."""
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(migrate, Place(postgresql.owner_url("born_late"), 20))
        eventually(lambda: 'database "born_late" does not exist' in postgresql.log.read_text())
        postgresql.execute("CREATE DATABASE born_late OWNER robin")
        waiting.result(20)


def test_a_database_that_never_accepts_connections_is_one_line(postgresql: PostgreSQL) -> None:
    """It says how long it waited, for what, and what to do."""
    with pytest.raises(MigrationError) as error:
        migrate(Place(postgresql.owner_url("not_there"), 0.2, "MIGRATION_DATABASE_URL"))
    assert "waited 0.2 s" in str(error.value)
    assert 'database "not_there" does not exist' in str(error.value)
    assert str(error.value).endswith("Start PostgreSQL or correct MIGRATION_DATABASE_URL.")
    assert "\n" not in str(error.value)


def test_a_database_of_a_later_version_is_one_line_and_left_alone(
    postgresql: PostgreSQL, database: str, owner_url: str
) -> None:
    """An old service does not touch a schema that it does not know."""
    postgresql.execute("UPDATE alembic_version SET version_num = '9999'", database=database)
    with pytest.raises(MigrationError, match="9999"):
        migrate(Place(owner_url, 0))


def test_a_migration_that_fails_leaves_nothing_behind(postgresql: PostgreSQL) -> None:
    """All of it is one transaction; the reason is one line."""
    database = postgresql.create_database()
    postgresql.execute("CREATE TABLE document_metadata (id int)", database=database)
    with pytest.raises(MigrationError, match='"document_metadata" already exists'):
        migrate(Place(postgresql.owner_url(database), 0))
    tables = postgresql.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=database
    )
    assert tables == [("document_metadata",)]


def test_a_migration_can_be_undone_and_done_again(
    postgresql: PostgreSQL, database: str, owner_url: str
) -> None:
    """Downgrading to nothing leaves Alembic's own table only."""
    with alembic(owner_url) as configuration:
        command.downgrade(configuration, "base")
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert postgresql.execute(tables, database=database) == [("alembic_version",)]
    migrate(Place(owner_url, 0))
    assert len(postgresql.execute(tables, database=database)) == 10


@contextmanager
def alembic(url: str) -> Iterator[Config]:
    """Lend Alembic's configuration on a connection of its own."""
    engine = create_engine(url)
    with engine.connect() as connection:
        yield config(connection)
    engine.dispose()


def test_what_is_stored_before_tenants_are_kept_apart_is_counted_and_keeps_its_meaning(
    postgresql: PostgreSQL,
) -> None:
    """Documents count in their client's row, users keep what they may do, and all of it survives the way back."""
    database = postgresql.create_database()
    url = postgresql.owner_url(database)
    with alembic(url) as configuration:
        command.upgrade(configuration, "0001")
    postgresql.execute("INSERT INTO clients VALUES ('acme'), ('empty')", database=database)
    for size in ("5", "7"):
        postgresql.execute(INSERT.format(**VALID | {"file_size": size}), database=database)
    postgresql.execute(
        "INSERT INTO users (client_id, name, email, role)"
        " VALUES ('acme', 'Ann', 'a@acme.example', 'admin'), ('acme', 'Ben', 'b@acme.example', 'member')",
        database=database,
    )
    migrate(Place(url, 0))
    counted = "SELECT id, stored_documents, stored_bytes, max_documents FROM clients ORDER BY id"
    assert postgresql.execute(counted, database=database) == [("acme", 2, 12, None), ("empty", 0, 0, None)]
    roles = "SELECT name, role FROM users ORDER BY name"
    assert postgresql.execute(roles, database=database) == [("Ann", "tenant_admin"), ("Ben", "writer")]

    postgresql.execute(
        "INSERT INTO users (name, email, role) VALUES ('Op', 'op@robin.example', 'operator')",
        database=database,
    )
    with alembic(url) as configuration:
        command.downgrade(configuration, "0001")
    assert postgresql.execute(roles, database=database) == [("Ann", "admin"), ("Ben", "member")]
    assert postgresql.count(database, "document_metadata") == 2
    migrate(Place(url, 0))


def test_a_service_role_is_let_at_the_tables_also_of_a_migrated_database(
    postgresql: PostgreSQL, database: str, owner_url: str
) -> None:
    """What it lacks is granted, however little that is; nothing is done where it lacks nothing."""
    assert is_migrated(Place(owner_url, 0), service_role=SERVICE)
    for revoked in (
        f"REVOKE SELECT (filename) ON document_metadata FROM {SERVICE}",  # noqa: S608  no SELECT
        f"REVOKE EXECUTE ON FUNCTION principal_by_key(text, bytea) FROM {SERVICE}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {SERVICE}",
        f"GRANT TEMPORARY ON DATABASE {database} TO PUBLIC",  # as of every new database
    ):
        postgresql.execute(revoked, database=database)
        assert not is_migrated(Place(owner_url, 0), service_role=SERVICE)
        migrate(Place(owner_url, 0), service_role=SERVICE)
        assert is_migrated(Place(owner_url, 0), service_role=SERVICE)
    assert is_migrated(Place(postgresql.url(database), 0))


def test_an_owner_of_tables_alone_is_content_with_what_it_can_grant(
    postgresql: PostgreSQL, database: str, owner_url: str
) -> None:
    """What everybody may in a database, only the database's own owner takes back."""
    postgresql.execute(f"ALTER DATABASE {database} OWNER TO postgres")
    postgresql.execute(f"GRANT TEMPORARY ON DATABASE {database} TO PUBLIC")
    assert is_migrated(Place(owner_url, 0), service_role=SERVICE)


def test_instances_that_grant_at_once_do_it_one_after_the_other(
    postgresql: PostgreSQL, database: str, owner_url: str
) -> None:
    """PostgreSQL would refuse some of them: tuple concurrently updated."""
    postgresql.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {SERVICE}", database=database)
    together = threading.Barrier(6)

    def start(_: int) -> None:
        together.wait(10)
        migrate(Place(owner_url, 0), service_role=SERVICE)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(start, range(6)))


def test_a_service_role_that_is_not_there_is_one_line(owner_url: str) -> None:
    """Who runs PostgreSQL makes it."""
    with pytest.raises(MigrationError, match='role "not_there" does not exist') as error:
        migrate(Place(owner_url, 0), service_role="not_there")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"client_id": "'nobody'"}, "fk_document_metadata_client_id_clients"),
        ({"file_size": "0"}, "ck_document_metadata_file_size_is_positive"),
        ({"sha256": "'abc'"}, "ck_document_metadata_sha256_is_hex"),
        ({"summary_source": "'guess'"}, "ck_document_metadata_summary_source_is_known"),
        ({"summary": "NULL"}, "ck_document_metadata_summary_has_its_source"),
        ({"summary_source": "'none'"}, "ck_document_metadata_summary_has_its_source"),
    ],
)
def test_the_database_itself_keeps_nonsense_out(
    postgresql: PostgreSQL, database: str, values: dict[str, str], constraint: str
) -> None:
    """Whoever writes, and whatever the service checks."""
    postgresql.execute("INSERT INTO clients VALUES ('acme')", database=database)
    postgresql.execute(INSERT.format(**VALID), database=database)
    with pytest.raises(psycopg2.IntegrityError, match=constraint):
        postgresql.execute(INSERT.format(**VALID | values), database=database)


def test_a_client_id_out_of_the_pattern_is_kept_out(postgresql: PostgreSQL, database: str) -> None:
    """The same pattern as the services'."""
    with pytest.raises(psycopg2.IntegrityError, match="ck_clients_id_is_valid"):
        postgresql.execute("INSERT INTO clients VALUES ('../etc')", database=database)


def test_a_user_has_a_known_role_and_is_of_a_client_unless_an_operator(
    postgresql: PostgreSQL, database: str
) -> None:
    """One e-mail address once for each client, and once for those of none."""
    user = "INSERT INTO users (client_id, name, email, role) VALUES ({}, 'Ann', 'ann@acme.example', {})"
    with pytest.raises(psycopg2.IntegrityError, match="fk_users_client_id_clients"):
        postgresql.execute(user.format("'acme'", "'writer'"), database=database)
    postgresql.execute("INSERT INTO clients VALUES ('acme')", database=database)
    for client, role, constraint in (
        ("'acme'", "'king'", "ck_users_role_is_known"),
        ("'acme'", "DEFAULT", 'null value in column "role"'),
        ("'acme'", "'operator'", "ck_users_operator_is_of_no_client"),
        ("NULL", "'writer'", "ck_users_operator_is_of_no_client"),
    ):
        with pytest.raises(psycopg2.IntegrityError, match=constraint):
            postgresql.execute(user.format(client, role), database=database)
    for client, role in (("'acme'", "'reader'"), ("NULL", "'operator'")):
        postgresql.execute(user.format(client, role), database=database)
        with pytest.raises(psycopg2.IntegrityError, match="uq_users_client_id_email"):
            postgresql.execute(user.format(client, role), database=database)

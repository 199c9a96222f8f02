"""The admin command line on a real database: what each command does, and what it leaves behind when it cannot."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from pydantic import SecretStr

from data_store.admin.__main__ import main
from data_store.credentials.keys import ApiKey, prefix_of
from data_store.settings import MAX_CREDENTIAL_CACHE_SECONDS, DataStoreSettings
from tests.integration.conftest import PostgreSQL, data_store_on
from tests.telemetry_spy import TelemetrySpy

CHECKOUT = Path(__file__).parents[2]
PEPPER = "a pepper of the tests"
SECONDS = 30


class Said(NamedTuple):
    """What a command ended with and said."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What it said as JSON."""
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out)


Admin = Callable[..., Said]
Sql = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def variables(postgresql: PostgreSQL, database: str) -> dict[str, str]:
    """Settings of the command line for a fresh, migrated database."""
    return {
        "DATABASE_URL": postgresql.url(database),
        "MIGRATION_DATABASE_URL": postgresql.owner_url(database),
        "API_KEY_PEPPER": PEPPER,
        "LOGNAME": "ada",
    }


@pytest.fixture
def admin(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Admin:
    """Run a command on that database."""
    for name in DataStoreSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("data_store.admin.__main__.MAX_CREDENTIAL_CACHE_SECONDS", 0)

    def run(*arguments: str) -> Said:
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            code = main(arguments)
        return Said(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def sql(postgresql: PostgreSQL, database: str) -> Sql:
    """Run a statement on that database as the superuser."""
    return lambda statement: postgresql.execute(statement, database=database)


@pytest.fixture
def store(database_url: str, telemetry: TelemetrySpy) -> Iterator[httpx.Client]:
    """A client of a data store on that database, as the role of the service."""
    with data_store_on(database_url, telemetry, api_key_pepper=SecretStr(PEPPER)) as client:
        yield client


@pytest.fixture
def ada(admin: Admin) -> int:
    """Number of a writer of acme."""
    admin("create-client", "acme")
    return int(admin(*user("acme", "writer"), "--json").data["user"])


def user(client: str, role: str, email: str = "ada@example.org") -> tuple[str, ...]:
    """Return the command that creates a user."""
    return ("create-user", client, "--email", email, "--name", "Ada Lovelace", "--role", role)


def ask(store: httpx.Client, key: str) -> httpx.Response:
    """Ask the data store whose a key is, as document_api does."""
    _, prefix, secret = key.split("_")
    return store.post("/principals/by-key", json={"prefix": prefix, "digest": ApiKey(prefix, secret).digest})


def process(*arguments: str, **variables: str) -> Said:
    """Run a command as a process of its own, with these variables alone."""
    done = subprocess.run(
        [sys.executable, "-m", "data_store.admin", *arguments],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def assert_refused(said: Said, line: str, code: int = 1) -> None:
    """Hold a refusal to one line on stderr."""
    assert (said.code, said.out) == (code, "")
    assert said.err == f"error: {line}\n"


class TestClients:
    """Tenants, and what each may store."""

    def test_a_client_is_created_once(self, admin: Admin, sql: Sql) -> None:
        """A second time it is said to be there, and nothing has changed."""
        assert admin("create-client", "acme", "--max-documents", "5") == (0, "client acme created\n", "")
        assert_refused(admin("create-client", "acme"), "client acme exists already")
        assert sql("SELECT id, max_documents, max_stored_bytes FROM clients") == [("acme", 5, None)]

    def test_limits_are_set_each_by_itself(self, admin: Admin, sql: Sql) -> None:
        """And taken back."""
        admin("create-client", "acme", "--max-documents", "5")
        said = admin("set-limits", "acme", "--max-bytes", "1000")
        assert said.out == "client acme may store: documents: 5, bytes: 1000\n"
        said = admin("set-limits", "acme", "--max-documents", "default", "--json")
        assert said.data == {"client": "acme", "max_documents": None, "max_bytes": 1000}
        assert sql("SELECT max_documents, max_stored_bytes FROM clients") == [(None, 1000)]

    def test_a_client_is_disabled_and_enabled(self, admin: Admin, sql: Sql) -> None:
        """Each can be said twice."""
        admin("create-client", "acme")
        assert admin("disable-client", "acme").out.startswith(
            "client acme is disabled; no instance lets it in"
        )
        assert admin("disable-client", "acme").out.startswith("client acme was disabled already; no instance")
        assert admin("list", "clients", "--json").data[0]["state"] == "disabled"
        assert admin("enable-client", "acme").out == "client acme is enabled\n"
        assert admin("enable-client", "acme").out == "client acme was enabled already\n"
        assert sql("SELECT disabled_at FROM clients") == [(None,)]

    @pytest.mark.parametrize(
        "arguments",
        [
            ("set-limits", "acme", "--max-bytes", "1"),
            ("disable-client", "acme"),
            ("enable-client", "acme"),
            user("acme", "reader"),
            ("list", "keys", "--client", "acme"),
        ],
    )
    def test_an_unknown_client_is_said_to_be_unknown(self, admin: Admin, arguments: tuple[str, ...]) -> None:
        """With what makes it."""
        assert_refused(admin(*arguments), "there is no client acme: create-client acme makes it")


class TestUsers:
    """Who may do what."""

    @pytest.mark.usefixtures("ada")
    def test_a_user_is_created_once_in_a_client(self, admin: Admin, sql: Sql) -> None:
        """The same address may be another client's user."""
        assert_refused(admin(*user("acme", "reader")), "user ada@example.org exists already in acme")
        admin("create-client", "other")
        said = admin(*user("other", "tenant_admin"))
        assert said.out.endswith("created: ada@example.org, tenant_admin in other\n")
        assert sql("SELECT client_id, role FROM users ORDER BY id") == [
            ("acme", "writer"),
            ("other", "tenant_admin"),
        ]

    def test_an_operator_is_of_no_client(self, admin: Admin, sql: Sql) -> None:
        """And there once as well."""
        operator = ("create-user", "--email", "ops@example.org", "--name", "Ops", "--role", "operator")
        assert admin(*operator).out.endswith("created: ops@example.org, operator of no client\n")
        assert_refused(admin(*operator), "user ops@example.org exists already as an operator")
        assert sql("SELECT client_id, role FROM users") == [(None, "operator")]

    @pytest.mark.usefixtures("ada")
    def test_a_subject_is_one_user_s(self, admin: Admin) -> None:
        """A bearer token says no client."""
        for email in ("b@example.org", "c@example.org"):
            said = admin(*user("acme", "reader", email), "--subject", "auth0|b")
        assert_refused(said, "another user has the subject auth0|b already")

    def test_a_user_is_named_by_number_or_address(self, admin: Admin, ada: int) -> None:
        """An address that several have needs more."""
        admin("create-client", "other")
        other = admin(*user("other", "reader"), "--json").data["user"]
        assert_refused(
            admin("disable-user", "ada@example.org"),
            "2 users have the mail address ada@example.org: give a number instead"
            f" ({ada} in acme, {other} in other)",
        )
        assert admin("disable-user", "ada@example.org", "--client", "other", "--json").data["user"] == other
        assert admin("disable-user", str(ada), "--json").data == {"user": ada, "changed": True}
        assert_refused(admin("disable-user", "0"), "there is no user 0")
        assert_refused(
            admin("enable-user", "b@example.org", "--client", "acme"),
            "there is no user b@example.org in acme",
        )

    def test_a_disabled_user_is_let_in_again(self, admin: Admin, ada: int) -> None:
        """With the same number."""
        admin("disable-user", str(ada))
        assert admin("list", "users", "--json").data[0]["state"] == "disabled"
        assert admin("enable-user", str(ada)).out == f"user {ada} (ada@example.org) is enabled\n"
        assert admin("list", "users", "--json").data[0]["state"] == "active"


class TestKeys:
    """Shown once, accepted until they are revoked."""

    def test_a_key_lets_its_user_in_until_it_is_revoked(
        self, admin: Admin, ada: int, store: httpx.Client
    ) -> None:
        """The data store that serves agrees with the command line at once."""
        key = admin("issue-key", "ada@example.org", "--quiet").out.removesuffix("\n")
        assert ask(store, key).json() == {"user_id": ada, "client_id": "acme", "role": "writer"}
        said = admin("revoke-key", str(prefix_of(key)))
        assert said.out.startswith(f"key {prefix_of(key)} is revoked; no instance lets it in any more")
        assert ask(store, key).status_code == 404
        assert admin("revoke-key", str(prefix_of(key))).out.startswith(
            f"key {prefix_of(key)} was revoked already"
        )

    def test_a_whole_key_is_revoked_and_never_shown(
        self, admin: Admin, ada: int, store: httpx.Client
    ) -> None:
        """Whoever found a leaked one has it at hand."""
        key = admin("issue-key", str(ada), "--quiet").out.strip()
        said = admin("revoke-key", key)
        assert said.code == 0
        assert key.rpartition("_")[2] not in said.out + said.err
        assert ask(store, key).status_code == 404

    def test_a_key_is_said_once_and_stored_nowhere(self, admin: Admin, ada: int, sql: Sql) -> None:
        """Neither the key nor its digest is in any table."""
        key = admin("issue-key", str(ada), "--json").data["key"]
        digest = ApiKey(*key.split("_")[1:]).digest
        stored = str([sql(f"SELECT t::text FROM {table} t") for table in ("api_keys", "audit_log", "users")])  # noqa: S608
        assert prefix_of(key) in stored
        assert key.rpartition("_")[2] not in stored
        assert digest not in stored
        assert key not in admin("list", "keys").out

    def test_for_people_a_key_stands_on_a_line_of_its_own(self, admin: Admin, ada: int) -> None:
        """With whose it is, how long it is valid, and how it is sent."""
        lines = admin("issue-key", str(ada), "--expires-at", "2999-01-31").out.splitlines()
        key = lines[2].strip()
        valid = "valid until 2999-01-31 00:00:00Z"
        assert lines == [
            f"key {prefix_of(key)} of ada@example.org (writer in acme), {valid}; it is shown this once:",
            "",
            f"    {key}",
            "",
            f"send it in the header X-API-Key; revoke-key {prefix_of(key)} ends it",
        ]

    def test_a_key_expires(self, admin: Admin, ada: int, sql: Sql) -> None:
        """After the time that was asked for."""
        expires = datetime.fromisoformat(
            admin("issue-key", str(ada), "--expires-in", "90d", "--json").data["expires"]
        )
        assert sql("SELECT expires_at FROM api_keys") == [(expires,)]
        assert abs(expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)
        sql("UPDATE api_keys SET expires_at = now()")
        assert admin("list", "keys", "--json").data[0]["state"] == "expired"

    def test_a_disabled_user_gets_no_key(self, admin: Admin, ada: int, sql: Sql) -> None:
        """It would let nobody in."""
        admin("disable-user", str(ada))
        assert_refused(
            admin("issue-key", str(ada)), f"user ada@example.org is disabled: enable-user {ada} first"
        )
        assert sql("SELECT count(*) FROM api_keys") == [(0,)]

    @pytest.mark.parametrize("command", ["disable-user", "disable-client"])
    def test_the_keys_of_whom_is_disabled_let_nobody_in(
        self, admin: Admin, ada: int, store: httpx.Client, command: str
    ) -> None:
        """Until they are enabled."""
        key = admin("issue-key", str(ada), "--quiet").out.strip()
        whom = "acme" if command == "disable-client" else str(ada)
        admin(command, whom)
        assert ask(store, key).status_code == 404
        assert (
            admin("list", "keys", "--json").data[0]["state"] == command.replace("disable-", "") + " disabled"
        )
        admin(command.replace("disable", "enable"), whom)
        assert ask(store, key).status_code == 200

    def test_an_unknown_key_is_said_to_be_unknown(self, admin: Admin) -> None:
        """By its prefix."""
        assert_refused(
            admin("revoke-key", "0123456789ab"),
            "there is no key 0123456789ab: list keys shows those there are",
        )


class TestLists:
    """What there is."""

    def test_clients_users_and_keys_are_shown_as_tables(self, admin: Admin, ada: int, sql: Sql) -> None:
        """Of all clients."""
        sql(
            "UPDATE clients SET max_documents = 10, stored_documents = 2, stored_bytes = 300, created_at = '2026-01-02 03:04:05Z'"
        )
        prefix = admin("issue-key", str(ada), "--json").data["prefix"]
        assert admin("list", "clients").out.splitlines() == [
            "client  state   documents  max documents  bytes  max bytes  created",
            "acme    active          2             10    300  -          2026-01-02 03:04:05Z",
        ]
        (names, row) = admin("list", "users").out.splitlines()
        assert names.split() == ["user", "client", "email", "name", "role", "state", "subject", "created"]
        assert row.split()[:7] == [str(ada), "acme", "ada@example.org", "Ada", "Lovelace", "writer", "active"]
        (names, row) = admin("list", "keys").out.splitlines()
        assert names.split() == [
            *("prefix", "client", "user", "role", "state", "created", "expires", "last", "used")
        ]
        assert row.split()[:5] == [prefix, "acme", "ada@example.org", "writer", "active"]

    def test_a_client_s_own_are_shown_alone(self, admin: Admin, ada: int) -> None:
        """Others are not in the way."""
        admin("create-client", "other")
        admin(*user("other", "reader"))
        admin("create-user", "--email", "ops@example.org", "--name", "Ops", "--role", "operator")
        assert [row["client"] for row in admin("list", "users", "--json").data] == ["acme", "other", None]
        assert [row["user"] for row in admin("list", "users", "--client", "acme", "--json").data] == [ada]
        assert admin("list", "keys", "--client", "other").out == "none\n"


class TestAuditLog:
    """Who did it, to whom, and nothing of what did not happen."""

    def test_every_change_is_in_it(self, admin: Admin, sql: Sql) -> None:
        """In its order, with who ran the command."""
        admin("create-client", "acme")
        admin("set-limits", "acme", "--max-bytes", "1")
        number = admin(*user("acme", "writer"), "--json").data["user"]
        prefix = admin("issue-key", str(number), "--json").data["prefix"]
        for command in ("disable-user", "enable-user"):
            admin(command, str(number))
        for command in ("disable-client", "enable-client"):
            admin(command, "acme")
        admin("revoke-key", prefix)
        told = sql("SELECT actor, client_id, action, target FROM audit_log ORDER BY id")
        assert {(actor, client) for actor, client, _, _ in told} == {("cli:ada", "acme")}
        assert [(action, target) for _, _, action, target in told] == [
            ("client.create", None),
            ("client.change", None),
            ("user.create", f"user:{number}"),
            ("key.issue", f"key:{prefix}"),
            ("user.disable", f"user:{number}"),
            ("user.enable", f"user:{number}"),
            ("client.disable", None),
            ("client.enable", None),
            ("key.revoke", f"key:{prefix}"),
        ]

    def test_what_is_refused_or_changes_nothing_is_not_in_it(self, admin: Admin, ada: int, sql: Sql) -> None:
        """Neither is looking."""
        before = sql("SELECT count(*) FROM audit_log")
        admin("create-client", "acme")
        admin(*user("acme", "reader"))
        admin("enable-client", "acme")
        admin("enable-user", str(ada))
        admin("list", "users")
        assert sql("SELECT count(*) FROM audit_log") == before


class TestProcess:
    """As it is run: `python -m data_store.admin`."""

    def test_quiet_prints_the_key_alone(self, variables: dict[str, str]) -> None:
        """For a script that keeps it."""
        process("create-client", "acme", **variables)
        process(*user("acme", "writer"), **variables)
        said = process("issue-key", "ada@example.org", "--quiet", **variables)
        assert (said.code, said.err) == (0, "")
        assert said.out.count("\n") == 1
        assert prefix_of(said.out.strip())

    def test_revoking_returns_when_no_instance_believes_in_the_key_any_more(
        self, admin: Admin, ada: int, variables: dict[str, str]
    ) -> None:
        """After as long as any data store can have told them, whatever this one's own setting; and says so."""
        prefix = admin("issue-key", str(ada), "--json").data["prefix"]
        before = time.monotonic()
        said = process("revoke-key", prefix, **variables | {"CREDENTIAL_CACHE_SECONDS": "0"})
        assert time.monotonic() - before >= MAX_CREDENTIAL_CACHE_SECONDS
        assert said == (0, f"key {prefix} is revoked; no instance lets it in any more (waited 5 s)\n", "")

    def test_wrong_arguments_and_settings_are_one_line_and_2(self, variables: dict[str, str]) -> None:
        """Before a database is asked."""
        said = process("create-client", "..", **variables)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        said = process("list", "clients")
        assert said == (2, "", "DATABASE_URL: Field required\n")

    def test_a_database_that_does_not_answer_is_one_line_and_1(self, variables: dict[str, str]) -> None:
        """That names the variable, and not the password in it."""
        url = "postgresql://robin:hunter2@127.0.0.1:1/robin"
        said = process("list", "clients", **variables | {"MIGRATION_DATABASE_URL": url})
        assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
        assert said.err.startswith("error: the database does not answer: ")
        assert said.err.endswith("; start PostgreSQL or correct MIGRATION_DATABASE_URL\n")
        assert "hunter2" not in said.err

    def test_a_schema_that_is_not_migrated_is_one_line_and_1(
        self, postgresql: PostgreSQL, variables: dict[str, str]
    ) -> None:
        """That says what to run."""
        empty = postgresql.owner_url(postgresql.create_database())
        said = process("list", "clients", **variables | {"MIGRATION_DATABASE_URL": empty})
        assert said.code == 1
        assert said.err.startswith("error: the database's schema is empty, and this needs ")
        assert said.err.endswith(": run python -m data_store migrate\n")

    def test_the_role_of_the_service_may_not_administer(self, variables: dict[str, str]) -> None:
        """Whoever has the service's password only makes no keys."""
        del variables["MIGRATION_DATABASE_URL"]
        said = process("list", "keys", **variables)
        assert (said.code, said.out) == (1, "")
        assert said.err == (
            "error: the database refuses: permission denied for table api_keys;"
            " set MIGRATION_DATABASE_URL to that of the tables' owner\n"
        )

    def test_production_hashes_with_no_pepper_that_everybody_knows(self, variables: dict[str, str]) -> None:
        """The line names the variable."""
        production = {"ENVIRONMENT": "production", "AUTH_MODE": "required", "SERVICE_TOKEN": "t" * 32}
        said = process("list", "clients", **variables | production | {"API_KEY_PEPPER": ""})
        assert said.code == 2
        assert said.err.startswith("API_KEY_PEPPER: ")
        assert said.err.count("\n") == 1

"""The data store's settings: a bad one stops the start with one line that names its variable."""

import pytest
from pydantic import ValidationError

from data_store.settings import DataStoreSettings
from observability.service import load_settings

URL = "postgresql://robin:secret@127.0.0.1:5432/robin"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only DATABASE_URL is set."""
    for name in DataStoreSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DATABASE_URL", URL)


def test_everything_but_the_database_has_a_default() -> None:
    """With DATABASE_URL alone the service listens on 8001."""
    settings = load_settings(DataStoreSettings)
    assert settings.database_url.get_secret_value() == URL
    assert (settings.host, settings.port, settings.database_pool_size) == ("127.0.0.1", 8001, 8)


def test_every_setting_comes_from_the_variable_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLOW_STATEMENT_SECONDS is slow_statement_seconds."""
    monkeypatch.setenv("SLOW_STATEMENT_SECONDS", "0.5")
    assert load_settings(DataStoreSettings).slow_statement_seconds == 0.5


def test_the_start_without_a_database_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 and one line."""
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(SystemExit) as stop:
        load_settings(DataStoreSettings)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "DATABASE_URL: Field required\n"


@pytest.mark.parametrize(
    "url",
    [
        "robin",
        "mysql://robin@127.0.0.1/robin",
        "postgresql+asyncpg://robin@127.0.0.1/robin",
        "postgresql://robin:secret@127.0.0.1",
        "postgresql://robin:secret@127.0.0.1:port/robin",
    ],
)
def test_a_url_that_is_not_a_postgresql_database_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    """The line names the variable and the accepted form, and never the value: it may hold a password."""
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(SystemExit) as stop:
        load_settings(DataStoreSettings)
    line = capsys.readouterr().err
    assert stop.value.code == 2
    assert line.startswith("DATABASE_URL: ")
    assert "postgresql://user:password@host:port/database" in line
    assert "secret" not in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_POOL_SIZE", "0"),
        ("DATABASE_POOL_TIMEOUT_SECONDS", "-1"),
        ("DATABASE_WAIT_SECONDS", "soon"),
        ("STATEMENT_TIMEOUT_SECONDS", "0"),
        ("SLOW_STATEMENT_SECONDS", "0"),
        ("PORT", "65536"),
        ("MIGRATION_DATABASE_URL", "robin"),
        ("TENANT_MAX_DOCUMENTS", "-1"),
        ("TENANT_MAX_STORED_BYTES", "9223372036854775808"),
        ("AUDIT_READS", "perhaps"),
    ],
)
def test_a_bad_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    """One line, exit 2."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as stop:
        load_settings(DataStoreSettings)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"{variable}: ")


@pytest.mark.parametrize(
    ("owner", "service", "role"),
    [
        ("", URL, None),
        (URL, URL, None),
        (URL, "postgresql://robin_service:other@127.0.0.1:5432/robin", "robin_service"),
        (URL, "postgresql://robin_service@pooler/robin", "robin_service"),
    ],
)
def test_a_role_is_let_at_the_tables_where_it_is_another_than_their_owner(
    monkeypatch: pytest.MonkeyPatch, owner: str, service: str, role: str | None
) -> None:
    """One role for both needs no grant."""
    monkeypatch.setenv("MIGRATION_DATABASE_URL", owner)
    monkeypatch.setenv("DATABASE_URL", service)
    settings = load_settings(DataStoreSettings)
    assert settings.owner_url == (owner or URL)
    assert settings.service_role == role


@pytest.mark.parametrize(
    ("mode", "reads", "audited"),
    [
        ("open", "", False),
        ("required", "", True),
        ("open", "true", True),
        ("required", "false", False),
    ],
)
def test_reads_are_audited_where_somebody_is_known_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, mode: str, reads: str, *, audited: bool
) -> None:
    """AUDIT_READS has the last word."""
    monkeypatch.setenv("AUTH_MODE", mode)
    monkeypatch.setenv("SERVICE_TOKEN", "t" * 24)
    monkeypatch.setenv("AUDIT_READS", reads)
    assert load_settings(DataStoreSettings).audits_reads is audited


PRODUCTION = {"ENVIRONMENT": "production", "AUTH_MODE": "required", "SERVICE_TOKEN": "t" * 24}
KNOWN_URL = "postgresql://robin:robin-demo-only@127.0.0.1:5432/robin"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("API_KEY_PEPPER", "", "must not be the demonstration's"),
        ("API_KEY_PEPPER", "robin-demo-only", "must not be the demonstration's"),
        ("API_KEY_PEPPER", "short", "must have at least 16 characters"),
        ("DATABASE_URL", KNOWN_URL, "must not hold the demonstration's password"),
        ("MIGRATION_DATABASE_URL", KNOWN_URL, "must not hold the demonstration's password"),
    ],
)
def test_production_refuses_secrets_that_everybody_knows(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    told: str,
) -> None:
    """One line names the variable and never the value; a demonstration takes them."""
    for name, given in {**PRODUCTION, "API_KEY_PEPPER": "p" * 24, variable: value}.items():
        monkeypatch.setenv(name, given)
    with pytest.raises(SystemExit) as stop:
        load_settings(DataStoreSettings)
    line = capsys.readouterr().err
    assert stop.value.code == 2
    assert line == f"{variable}: {told} with ENVIRONMENT=production\n"
    monkeypatch.setenv("ENVIRONMENT", "development")
    load_settings(DataStoreSettings)


def test_production_takes_secrets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which it prints as little as passwords."""
    for name, given in {**PRODUCTION, "API_KEY_PEPPER": "a pepper of its own"}.items():
        monkeypatch.setenv(name, given)
    assert "a pepper of its own" not in repr(load_settings(DataStoreSettings))


@pytest.mark.parametrize("seconds", ["-1", "5.1", "nan"])
def test_credentials_are_believed_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: str
) -> None:
    """`revoke-key` waits for it."""
    monkeypatch.setenv("CREDENTIAL_CACHE_SECONDS", seconds)
    with pytest.raises(SystemExit):
        load_settings(DataStoreSettings)
    assert capsys.readouterr().err.startswith("CREDENTIAL_CACHE_SECONDS: ")


@pytest.mark.parametrize(
    ("lock", "statement", "told"),
    [("2", "2", "2"), ("2", "1", "2"), ("", "2", "2"), ("4", "", "4")],
    ids=["equal", "shorter", "than the default", "default"],
)
def test_a_statement_may_last_longer_than_its_wait_for_a_lock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lock: str, statement: str, told: str
) -> None:
    """Else the wait for a lock would never be told from a slow statement."""
    monkeypatch.setenv("LOCK_TIMEOUT_SECONDS", lock)
    monkeypatch.setenv("STATEMENT_TIMEOUT_SECONDS", statement)
    with pytest.raises(SystemExit):
        load_settings(DataStoreSettings)
    assert capsys.readouterr().err == (
        f"STATEMENT_TIMEOUT_SECONDS: must be longer than LOCK_TIMEOUT_SECONDS, which is {told}\n"
    )


def test_the_longest_answer_is_the_wait_and_the_work() -> None:
    """What waits for the data store may count on it."""
    assert load_settings(DataStoreSettings).longest_answer_seconds == 4.5


def test_the_password_is_not_in_what_the_settings_print() -> None:
    """A settings object can be logged."""
    assert "secret" not in repr(load_settings(DataStoreSettings))


def test_settings_do_not_change_while_the_service_runs() -> None:
    """They are read once."""
    with pytest.raises(ValidationError, match="frozen"):
        load_settings(DataStoreSettings).port = 1  # type: ignore[misc]

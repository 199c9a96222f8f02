"""Whose a credential is, asked over HTTP of a data store that runs as the role of the service."""

import logging
from collections.abc import Callable, Iterator

import httpx
import pytest
from pydantic import SecretStr

from data_store.credentials.keys import ApiKey, stored_hash
from observability.signals import DATABASE_OPERATIONS
from tests.integration.conftest import PostgreSQL, data_store_on
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy

PEPPER = "a pepper of the tests"
KEY = ApiKey("0123456789ab", "5e" * 32)
WRITER = {"user_id": 1, "client_id": "acme", "role": "writer"}
OPERATOR = {"user_id": 2, "client_id": None, "role": "operator"}

Sql = Callable[[str], list[tuple[object, ...]]]


@pytest.fixture
def sql(postgresql: PostgreSQL, database: str) -> Sql:
    """Run a statement as the superuser on a database with a writer of acme, an operator, and a key of the writer's."""

    def execute(statement: str) -> list[tuple[object, ...]]:
        return postgresql.execute(statement, database=database)

    execute("INSERT INTO clients (id) VALUES ('acme')")
    execute(
        "INSERT INTO users (client_id, name, email, role, subject)"
        " VALUES ('acme', 'Ada', 'ada@example.org', 'writer', 'auth0|ada'),"
        " (NULL, 'Ops', 'ops@example.org', 'operator', 'ops')"
    )
    hashed = stored_hash(KEY.digest, PEPPER).hex()
    execute(f"INSERT INTO api_keys (user_id, prefix, hash) VALUES (1, '{KEY.prefix}', '\\x{hashed}')")  # noqa: S608
    return execute


@pytest.fixture
def store(sql: Sql, database_url: str, telemetry: TelemetrySpy) -> Iterator[httpx.Client]:
    """A client of the data store on that database."""
    with data_store_on(
        database_url, telemetry, api_key_pepper=SecretStr(PEPPER), credential_cache_seconds=2.5
    ) as client:
        yield client


def by_key(store: httpx.Client, key: ApiKey = KEY) -> httpx.Response:
    """Ask whose a key is."""
    return store.post("/principals/by-key", json={"prefix": key.prefix, "digest": key.digest})


def by_subject(store: httpx.Client, subject: str) -> httpx.Response:
    """Ask who a subject is."""
    return store.post("/principals/by-subject", json={"subject": subject})


def test_a_valid_key_and_a_known_subject_are_their_users(store: httpx.Client) -> None:
    """With client and role, and for how long that may be believed."""
    for answer in (by_key(store), by_subject(store, "auth0|ada")):
        assert (answer.status_code, answer.json()) == (200, WRITER)
        assert answer.headers["cache-control"] == "private, max-age=2.5"
    assert by_subject(store, "ops").json() == OPERATOR


def test_an_operator_has_keys_too(store: httpx.Client, sql: Sql) -> None:
    """Of no client."""
    sql("UPDATE api_keys SET user_id = 2")
    assert by_key(store).json() == OPERATOR


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE api_keys SET revoked_at = now()",
        "UPDATE api_keys SET expires_at = now() - interval '1 second'",
        "UPDATE users SET disabled_at = now()",
        "UPDATE clients SET disabled_at = now()",
        "UPDATE api_keys SET hash = sha256('another pepper')",
        "DELETE FROM api_keys",
    ],
    ids=["revoked", "expired", "disabled user", "disabled client", "another hash", "no key"],
)
def test_a_key_that_is_not_valid_now_is_not_found(store: httpx.Client, sql: Sql, change: str) -> None:
    """And was before; the answer may be remembered as long, and says nothing of the reason."""
    assert by_key(store).status_code == 200
    sql(change)
    answer = by_key(store)
    assert assert_problem(answer, 404)["detail"] == "The credential is not valid."
    assert answer.headers["cache-control"] == "private, max-age=2.5"


@pytest.mark.parametrize(
    "key",
    [ApiKey(KEY.prefix, "5f" * 32), ApiKey("ffffffffffff", KEY.secret)],
    ids=["wrong secret", "unknown prefix"],
)
def test_a_key_that_is_another_s_is_not_found(store: httpx.Client, sql: Sql, key: ApiKey) -> None:
    """And it does not count as used."""
    assert_problem(by_key(store, key), 404)
    assert sql("SELECT last_used_at FROM api_keys") == [(None,)]


@pytest.mark.parametrize(
    "change",
    ["UPDATE users SET disabled_at = now()", "UPDATE clients SET disabled_at = now()", "DELETE FROM users"],
)
def test_a_subject_that_may_do_nothing_now_is_not_found(store: httpx.Client, sql: Sql, change: str) -> None:
    """Whether disabled or unknown."""
    sql("DELETE FROM api_keys")
    sql(change)
    assert_problem(by_subject(store, "auth0|ada"), 404)


def test_a_disabled_client_keeps_no_operator_out(store: httpx.Client, sql: Sql) -> None:
    """Who is of none."""
    sql("UPDATE clients SET disabled_at = now()")
    assert by_subject(store, "ops").status_code == 200


@pytest.mark.parametrize("path", ["/principals/by-key", "/principals/by-subject"])
def test_a_claim_that_is_far_too_long_is_a_problem_too(store: httpx.Client, path: str) -> None:
    """Whether that is found by its fields or before it is read."""
    assert_problem(store.post(path, json={"subject": "a" * 100_000}), 422)
    assert_problem(store.post(path, json={"subject": "a" * 3_000_000}), 413)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/principals/by-key", {"prefix": KEY.prefix, "digest": KEY.secret, "secret": KEY.secret}),
        ("/principals/by-key", {"prefix": KEY.prefix.upper(), "digest": KEY.digest}),
        ("/principals/by-key", {"prefix": KEY.prefix, "digest": f"{KEY.digest}\n"}),
        ("/principals/by-key", {"prefix": KEY.prefix, "digest": str(KEY)}),
        ("/principals/by-subject", {"subject": ""}),
        ("/principals/by-subject", {"subject": "a\0b"}),
        ("/principals/by-subject", {"subject": "s" * 256}),
        ("/principals/by-subject", {"subject": ["auth0|ada"]}),
    ],
)
def test_what_is_no_claim_is_refused(store: httpx.Client, path: str, body: dict[str, object]) -> None:
    """Before the database is asked."""
    assert_problem(store.post(path, json=body), 422)


def test_a_subject_is_a_value_and_never_a_statement(store: httpx.Client, sql: Sql) -> None:
    """Quotes and comments of SQL are characters."""
    assert_problem(by_subject(store, "' OR '1'='1' -- auth0|ada"), 404)
    sql("UPDATE users SET subject = '%(subject)s '' %' WHERE id = 1")
    assert by_subject(store, "%(subject)s ' %").json() == WRITER


def test_the_last_use_of_a_key_is_written_at_most_once_a_minute(store: httpx.Client, sql: Sql) -> None:
    """A key that is used all the time costs a write a minute."""
    by_key(store)
    (first,) = sql("SELECT last_used_at FROM api_keys")
    assert first[0] is not None
    by_key(store)
    assert sql("SELECT last_used_at FROM api_keys") == [first]
    sql("UPDATE api_keys SET last_used_at = now() - interval '61 seconds'")
    by_key(store)
    assert sql("SELECT last_used_at > now() - interval '30 seconds' FROM api_keys") == [(True,)]


def test_it_is_told_as_a_look_into_the_users(store: httpx.Client, telemetry: TelemetrySpy) -> None:
    """By operation and table, as any statement."""
    by_key(store)
    by_subject(store, "auth0|ada")
    assert telemetry.series(DATABASE_OPERATIONS) == {("SELECT", "users", "true"): 2}


def test_nothing_of_a_credential_is_told(
    store: httpx.Client, telemetry: TelemetrySpy, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither secret nor digest, neither what is stored nor the subject, in no span and no log line."""
    caplog.set_level(logging.DEBUG)
    by_key(store)
    by_key(store, ApiKey("ffffffffffff", KEY.secret))
    by_subject(store, "auth0|ada")
    told = str([dict(span.attributes or {}) for span in telemetry.spans()]) + caplog.text
    assert "principal_by_key" in told
    hashed = stored_hash(KEY.digest, PEPPER)
    for secret in (KEY.secret, KEY.digest, hashed.hex(), str(hashed), "auth0|ada"):
        assert secret not in told


def test_the_service_token_guards_it(sql: Sql, database_url: str, telemetry: TelemetrySpy) -> None:
    """Only robin's own services may ask."""
    with data_store_on(database_url, telemetry, service_token=SecretStr("token of the tests")) as store:
        for answer in (by_key(store), by_subject(store, "auth0|ada")):
            assert_problem(answer, 401)

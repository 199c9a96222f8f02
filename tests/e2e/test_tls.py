"""A stack as for production, with TLS and credentials: all of a request is seen, and nobody is asked in the clear."""

import json
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser import Visit, choose_client, enter_keys, upload, visit
from tests.e2e.conftest import RunningStack, running_stack
from tests.e2e.test_observability_tool import ANY_RATE
from tests.ports import free_port

WRONG: Final = f"robin_{'1' * 12}_{'a' * 64}"
NOT_AN_OPERATOR: Final = (
    "The role writer has not the permission telemetry:read. An operator's key is entered at the top."
)


@pytest.fixture(scope="module")
def encrypted() -> Iterator[RunningStack]:
    """A stack as `ENVIRONMENT=production AUTH_MODE=required ./setup-and-run.sh --tls` starts it."""
    ports = {"HTTPS_PORT": str(free_port()), "POSTGRES_TLS_PORT": str(free_port())}
    production = {"ENVIRONMENT": "production", "AUTH_MODE": "required"}
    with running_stack({"TLS": "true", **production, **ports}) as running:
        yield running


@pytest.fixture(scope="module")
def credentials(encrypted: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of two clients and of an operator, as the README makes them."""
    lines = []
    for client in ("acme", "globex"):
        encrypted.admin("create-client", client)
        lines.append(f"{client} {issued(encrypted, client, 'writer')}")
    lines.append(f"- {issued(encrypted, '', 'operator')}")
    file = tmp_path_factory.mktemp("credentials") / "credentials"
    file.write_text("\n".join(lines))
    return file


def issued(stack: RunningStack, client: str, role: str) -> str:
    """Return the key of a new user."""
    mail = f"{role}@{client or 'robin'}.example"
    stack.admin("create-user", *([client] if client else []), "--email", mail, "--name", role, "--role", role)
    return stack.admin("issue-key", mail, "--quiet")


def test_every_check_passes_over_tls_with_credentials(encrypted: RunningStack, credentials: Path):
    """Uploads, their spans, log lines and counters: HTTPS, OTLP and the database do what they did without."""
    assert encrypted.endpoints["nginx"].startswith("https://localhost:")
    amount = ("--clients", "2", "--files", "1", "--load-factor", "0.1", *ANY_RATE)
    ended = encrypted.check("--all", "--credentials", str(credentials), *amount)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_without_credentials_nothing_is_sent(encrypted: RunningStack):
    """The checks say what they need."""
    ended = encrypted.check("--all")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--credentials FILE" in ended.stderr


def test_every_process_is_healthy_for_who_asks_by_tls(encrypted: RunningStack):
    """nginx, and what ends TLS for PostgreSQL, are asked as clients ask them."""
    ended = encrypted.run(sys.executable, "-m", "local_stack", "status")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "postgres_tls" in ended.stdout


def test_the_data_store_and_the_exporters_use_nothing_else(encrypted: RunningStack):
    """What they were started with, as supervisor has it."""
    programs = encrypted.state / "config" / "supervisor.d"
    store = (programs / "data_store.conf").read_text()
    assert "sslmode=verify-full" in store.replace("%%", "%")
    for name in ("data_store", "document_api-1", "document_api-2"):
        text = (programs / f"{name}.conf").read_text()
        assert (
            f'OTEL_EXPORTER_OTLP_ENDPOINT="https://127.0.0.1:{encrypted.environment["OTLP_GRPC_PORT"]}"'
            in text
        )


def test_a_client_that_does_not_know_the_authority_stays_away(encrypted: RunningStack):
    """And one that comes without TLS is told where to go."""
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{encrypted.endpoints['nginx']}/health", trust_env=False)
    told = httpx.get(f"http://127.0.0.1:{encrypted.environment['HTTP_PORT']}/docs", trust_env=False)
    assert told.status_code == httpx.codes.PERMANENT_REDIRECT
    assert told.headers["Location"].endswith(f":{encrypted.environment['HTTPS_PORT']}/docs")
    trust = ssl.create_default_context(cafile=encrypted.endpoints["ca_file"])
    health = httpx.get(f"{encrypted.endpoints['nginx']}/health", verify=trust, trust_env=False)
    assert json.loads(health.text)["status"] == "healthy"


@pytest.fixture
def keys(credentials: Path) -> dict[str, str]:
    """The keys by their client; the operator's is that of `-`."""
    return dict(line.split() for line in credentials.read_text().splitlines())


@pytest.fixture
def visited(chromium: Browser, encrypted: RunningStack) -> Iterator[Visit]:
    """The page; Chromium does not know the local authority."""
    with visit(chromium, encrypted.endpoints["nginx"], ignore_https_errors=True) as opened:
        yield opened


def test_the_page_shows_documents_to_whoever_has_a_key(visited: Visit, keys: dict[str, str]) -> None:
    """To nobody else, and says so; many files at once are all taken, though only so many a second are."""
    page = visited.page
    choose_client(page, "acme")
    expect(page.get_by_role("alert")).to_contain_text("A key of the client is entered at the top.")
    enter_keys(page, WRONG)
    expect(page.get_by_role("alert")).to_contain_text(
        "The credential is not accepted: unknown, expired or revoked."
    )
    enter_keys(page, keys["globex"])
    expect(page.get_by_role("alert")).to_contain_text("The key at the top is not one of acme.")
    enter_keys(page, keys["acme"])
    upload(page, *(f"{n}.txt" for n in range(30)), content=b"A fjord is long and deep.")
    expect(page.locator(".uploads li").filter(has_text="stored as document")).to_have_count(
        30, timeout=30_000
    )


def test_the_page_tells_stories_to_operators_alone(visited: Visit, keys: dict[str, str]) -> None:
    """Whoever may upload sees none, and neither how the system does, but reads what is needed."""
    page = visited.page
    enter_keys(page, keys["acme"], keys["acme"])
    choose_client(page, "acme")
    upload(page, "fjord.txt", content=b"A fjord is long and deep.")
    page.locator(".uploads a.id").click()
    expect(page.locator("#story").get_by_role("alert")).to_contain_text(NOT_AN_OPERATOR)
    expect(page.locator(".panel").get_by_role("alert")).to_contain_text(NOT_AN_OPERATOR)
    story = page.url
    page.goto("/#health")
    expect(page.get_by_role("alert")).to_contain_text(NOT_AN_OPERATOR)
    expect(page.locator("svg")).to_have_count(0)

    enter_keys(page, keys["acme"], keys["-"])
    expect(page.get_by_role("list", name="Components")).to_be_visible()
    page.goto(story)
    expect(page.locator(".waterfall .span").filter(has_text="store_metadata").first).to_be_visible()

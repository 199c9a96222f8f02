"""A system of two clients that asks who everybody is: real services, real PostgreSQL, every kind of credential."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import SecretStr

from data_store.credentials.keys import ApiKey, stored_hash
from document_api.app import create_app
from document_api.settings import DocumentApiSettings
from observability.service import AuthMode
from tests.integration.conftest import PostgreSQL, data_store_on
from tests.live_server import served
from tests.telemetry_spy import TelemetrySpy
from tests.tokens import AUDIENCE, ISSUER, jwks

PEPPER: Final = "a pepper of the tests"
SERVICE_TOKEN: Final = "the token of the tests"
OWN: Final = "acme"
FOREIGN: Final = "globex"
TEXT: Final = b"The harbour of Bergen is old. Seagulls are loud."
TABLES: Final = ("clients", "users", "api_keys", "document_metadata", "audit_log")
Headers = Mapping[str, str] | list[tuple[str, str]]


def _digest(table: str) -> str:
    """Return SQL for a digest of a table's rows, but for when a key was last used."""
    row = "(to_jsonb(t) - 'last_used_at')::text"
    return f"(SELECT md5(string_agg({row}, '|' ORDER BY {row})) FROM {table} t)"  # noqa: S608


@dataclass
class System:
    """Both services, what they keep, and the keys of everybody."""

    api: httpx.Client
    store: httpx.Client
    uploads: Path
    telemetry: TelemetrySpy
    _postgresql: PostgreSQL
    _database: str
    keys: dict[str, ApiKey] = field(default_factory=dict)

    def sql(self, statement: str) -> list[Any]:
        """Run a statement as the superuser."""
        return self._postgresql.execute(statement, database=self._database)

    def snapshot(self) -> dict[str, Any]:
        """Return all that is kept, but for when a key was last used."""
        (digests,) = self.sql(f"SELECT {', '.join(map(_digest, TABLES))}")
        files = {
            str(path.relative_to(self.uploads)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.uploads.rglob("*")
            if path.is_file()
        }
        return {**dict(zip(TABLES, digests, strict=True)), "files": files}

    def upload(self, headers: Headers, client: str = OWN, path: str = "", **more: Any) -> httpx.Response:
        """Upload a document for a client, or to another path."""
        return self.api.put(
            path or f"/clients/{client}/upload-document",
            headers=headers,
            **{"files": {"file": ("note.txt", TEXT, "text/plain")}, **more},
        )

    def key(self, name: str) -> dict[str, str]:
        """Return the header with somebody's API key."""
        return {"X-API-Key": str(self.keys[name])}

    def add_user(
        self, name: str, role: str, client: str | None, *, key: str = "", disabled: bool = False
    ) -> None:
        """Add a user with an API key; `key` is SQL that changes it."""
        owner = f"'{client}'" if client else "NULL"
        disabled_at = "now()" if disabled else "NULL"
        ((user_id,),) = self.sql(
            "INSERT INTO users (client_id, name, email, role, subject, disabled_at) VALUES"  # noqa: S608
            f" ({owner}, '{name}', '{name}@example.org', '{role}', 'sub|{name}', {disabled_at}) RETURNING id"
        )
        made = self.keys[name] = ApiKey.new()
        hashed = stored_hash(made.digest, PEPPER).hex()
        self.sql(
            f"INSERT INTO api_keys (user_id, prefix, hash) VALUES ({user_id}, '{made.prefix}', '\\x{hashed}')"  # noqa: S608
        )
        if key:
            self.sql(f"UPDATE api_keys SET {key} WHERE user_id = {user_id}")  # noqa: S608


@contextmanager
def running_system(
    postgresql: PostgreSQL,
    database: str,
    folder: Path,
    telemetry: TelemetrySpy,
    *,
    auth_mode: AuthMode = AuthMode.REQUIRED,
    **settings: Any,
) -> Iterator[System]:
    """Run both services on a fresh database with two clients and a user of every kind; they ask who sends a request."""
    key_file = folder / "jwks.json"
    key_file.write_text(jwks())
    shared = {"auth_mode": auth_mode, "service_token": SecretStr(SERVICE_TOKEN)}
    with ExitStack() as stack:
        store = stack.enter_context(
            data_store_on(postgresql.url(database), telemetry, api_key_pepper=SecretStr(PEPPER), **shared)
        )
        wanted = {
            "jwt_issuer": ISSUER,
            "jwt_audience": AUDIENCE,
            "jwt_key_file": key_file,
            "tenant_requests_per_second": 0,
            "wrong_credentials_per_second": 0,
            **settings,
        }
        api_settings = DocumentApiSettings(
            data_store_url=str(store.base_url),  # type: ignore[arg-type]
            upload_dir=folder / "uploads",
            health_deadline_seconds=5,
            **shared,
            **wanted,
        )
        url = stack.enter_context(served(create_app(api_settings, telemetry.telemetry)))
        api = stack.enter_context(httpx.Client(base_url=url, timeout=30))
        system = System(api, store, folder / "uploads", telemetry, postgresql, database)
        populate(system)
        yield system


def populate(system: System) -> None:
    """Add the clients, and a user of every kind."""
    system.sql(f"INSERT INTO clients (id) VALUES ('{OWN}'), ('{FOREIGN}'), ('closed')")  # noqa: S608
    for role in ("reader", "writer", "tenant_admin"):
        system.add_user(role, role, OWN)
    system.add_user("operator", "operator", None)
    system.add_user("stranger", "writer", FOREIGN)
    system.add_user("expired", "writer", OWN, key="expires_at = now() - interval '1 second'")
    system.add_user("revoked", "writer", OWN, key="revoked_at = now()")
    system.add_user("disabled", "writer", OWN, disabled=True)
    system.add_user("closed", "writer", "closed")
    system.sql("UPDATE clients SET disabled_at = now() WHERE id = 'closed'")

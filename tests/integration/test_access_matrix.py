"""Every route, every credential, every resource: who gets what, and that a refusal leaves nothing behind."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from access.roles import Permission
from access.routes import DECLARATION
from observability.signals import (
    BULK_UPLOAD_ROUTE,
    CONTENT_ROUTE,
    DOCUMENT_ROUTE,
    HEALTH_ROUTE,
    PURGE_ROUTE,
    RECORDS_ROUTE,
    RESTORE_ROUTE,
    SEARCH_ROUTE,
    UPLOAD_ROUTE,
    VERSIONS_ROUTE,
)
from tests.integration.conftest import MIGRATED, PostgreSQL
from tests.integration.tenancy import FOREIGN, OWN, SERVICE_TOKEN, Headers, System, running_system
from tests.records import assert_problem
from tests.telemetry_spy import spied_telemetry
from tests.tokens import EC, ED, RSA_PEM, STRANGER, claims_of, forged, token

MISSING: Final = 999_999
ALLOWED: Final = {
    "reader": {Permission.READ_DOCUMENTS},
    "writer": {Permission.READ_DOCUMENTS, Permission.WRITE_DOCUMENTS},
    "tenant_admin": {
        Permission.READ_DOCUMENTS,
        Permission.WRITE_DOCUMENTS,
        Permission.PURGE_DOCUMENTS,
    },
    "operator": {Permission.READ_HEALTH},
}


@dataclass(frozen=True)
class Show:
    """A credential: how it is shown, and what it is worth - a role in a client, or a refusal."""

    headers: Callable[[System], Headers]
    role: str | None = None
    client: str | None = OWN
    refused: int = 401


def bearer(text: str) -> dict[str, str]:
    """Return the header with a bearer token."""
    return {"Authorization": f"Bearer {text}"}


def tampered(text: str) -> str:
    """Return a token with other claims under the same signature."""
    head, _, signature = text.split(".")
    return ".".join((head, token("sub|stranger").split(".")[1], signature))


def wrong_secret(system: System) -> Headers:
    """Return a key that is found, with a secret that is not its own."""
    return {"X-API-Key": f"robin_{system.keys['writer'].prefix}_{'0' * 64}"}


def now(seconds: int) -> int:
    """Return the time so many seconds from now, as tokens say it."""
    return int(time.time()) + seconds


KEYS: Final[Mapping[str, Show]] = {
    "nothing": Show(lambda _: {}),
    **{
        f"key of a {role}": Show(lambda s, role=role: s.key(role), role)
        for role in ALLOWED
        if role != "operator"
    },  # type: ignore[misc]
    "key of an operator": Show(lambda s: s.key("operator"), "operator", None),
    "key of another client": Show(lambda s: s.key("stranger"), "writer", FOREIGN),
    "expired key": Show(lambda s: s.key("expired")),
    "revoked key": Show(lambda s: s.key("revoked")),
    "key of a disabled user": Show(lambda s: s.key("disabled")),
    "key of a disabled client": Show(lambda s: s.key("closed")),
    "unknown key": Show(lambda _: {"X-API-Key": f"robin_{'0' * 12}_{'0' * 64}"}),
    "key with another secret": Show(wrong_secret),
    "key in capitals": Show(lambda s: {"X-API-Key": str(s.keys["writer"]).upper()}),
    "half a key": Show(lambda s: {"X-API-Key": str(s.keys["writer"])[:-1]}),
    "key with more behind it": Show(lambda s: {"X-API-Key": f"{s.keys['writer']}0"}),
    "prefix alone": Show(lambda s: {"X-API-Key": s.keys["writer"].prefix}),
    "empty key": Show(lambda _: {"X-API-Key": ""}),
    "key that is SQL": Show(lambda _: {"X-API-Key": "robin_' OR 1=1 --"}),
    "key as bearer token": Show(lambda s: bearer(str(s.keys["writer"]))),
    "key in the cookie": Show(lambda s: {"Cookie": f"X-API-Key={s.keys['writer']}"}),
    "two keys": Show(
        lambda s: [("X-API-Key", str(s.keys[name])) for name in ("writer", "stranger")], refused=400
    ),
    "key and token": Show(lambda s: {**s.key("writer"), **bearer(token("sub|writer"))}, refused=400),
    "basic": Show(lambda _: {"Authorization": "Basic d3JpdGVyOndyaXRlcg=="}),
    "token of the services": Show(lambda _: bearer(SERVICE_TOKEN.replace(" ", "-"))),
    "tenant in a header": Show(
        lambda _: {"Robin-Actor": "user:1", "baggage": f"client_id={OWN}", "X-Client-Id": OWN}
    ),
}
TOKENS: Final[Mapping[str, Show]] = {
    **{
        f"token of a {role}": Show(lambda _, role=role: bearer(token(f"sub|{role}")), role)  # type: ignore[misc]
        for role in ALLOWED
        if role != "operator"
    },
    "token of an operator": Show(lambda _: bearer(token("sub|operator")), "operator", None),
    "token of another client": Show(lambda _: bearer(token("sub|stranger")), "writer", FOREIGN),
    "token by ES256": Show(lambda _: bearer(token("sub|writer", EC, "ES256")), "writer"),
    "token by EdDSA": Show(lambda _: bearer(token("sub|writer", ED, "EdDSA")), "writer"),
    "token without kid": Show(lambda _: bearer(token("sub|writer", headers={"kid": None})), "writer"),
    "token for several": Show(lambda _: bearer(token("sub|writer", aud=["others", "robin"])), "writer"),
    "expired token": Show(lambda _: bearer(token("sub|writer", exp=now(-1)))),
    "token of tomorrow": Show(lambda _: bearer(token("sub|writer", nbf=now(3600)))),
    "token that never expires": Show(lambda _: bearer(token("sub|writer", exp=None))),
    "token for another audience": Show(lambda _: bearer(token("sub|writer", aud="others"))),
    "token for nobody": Show(lambda _: bearer(token("sub|writer", aud=None))),
    "token of another issuer": Show(lambda _: bearer(token("sub|writer", iss="https://other.example"))),
    "token of no issuer": Show(lambda _: bearer(token("sub|writer", iss=None))),
    "token of nobody": Show(lambda _: bearer(token(None))),
    "token of somebody unknown": Show(lambda _: bearer(token("sub|mallory"))),
    "token of a disabled user": Show(lambda _: bearer(token("sub|disabled"))),
    "token of a disabled client": Show(lambda _: bearer(token("sub|closed"))),
    "token that claims a client": Show(
        lambda _: bearer(token("sub|stranger", client_id=OWN, tenant=OWN, role="tenant_admin")),
        "writer",
        FOREIGN,
    ),
    "algorithm none": Show(lambda _: bearer(forged({"alg": "none"}, claims_of("sub|writer"), None))),
    "algorithm None": Show(
        lambda _: bearer(forged({"alg": "NoNe", "kid": "rsa"}, claims_of("sub|writer"), None))
    ),
    "HMAC with the public key": Show(
        lambda _: bearer(forged({"alg": "HS256", "kid": "rsa"}, claims_of("sub|writer"), RSA_PEM))
    ),
    "HMAC called RS256": Show(
        lambda _: bearer(forged({"alg": "RS256", "kid": "rsa"}, claims_of("sub|writer"), RSA_PEM))
    ),
    "HMAC with nothing": Show(lambda _: bearer(forged({"alg": "HS256"}, claims_of("sub|writer"), b""))),
    "token by RS512": Show(lambda _: bearer(token("sub|writer", algorithm="RS512", headers={"kid": "rsa"}))),
    "token by another key": Show(lambda _: bearer(token("sub|writer", STRANGER))),
    "token by another key's kid": Show(lambda _: bearer(token("sub|writer", headers={"kid": "ec"}))),
    "token by an unknown kid": Show(lambda _: bearer(token("sub|writer", headers={"kid": "mallory"}))),
    "token that brings its key": Show(
        lambda _: bearer(
            token("sub|writer", STRANGER, headers={"jku": "https://mallory.example/jwks", "x5u": "x"})
        )
    ),
    "token with other claims": Show(lambda _: bearer(tampered(token("sub|writer")))),
    "token without signature": Show(lambda _: bearer(token("sub|writer").rpartition(".")[0] + ".")),
    "half a token": Show(lambda _: bearer(token("sub|writer")[:40])),
    "no token": Show(lambda _: {"Authorization": "Bearer"}),
    "token as a key": Show(lambda _: {"X-API-Key": token("sub|writer")}),
    "two tokens": Show(lambda _: [("Authorization", f"Bearer {token('sub|writer')}")] * 2, refused=400),
}
CREDENTIALS: Final = {**KEYS, **TOKENS}


@pytest.fixture(scope="module")
def system(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running system with a document of each client."""
    database = postgresql.create_database(template=MIGRATED)
    with (
        spied_telemetry() as telemetry,
        running_system(postgresql, database, tmp_path_factory.mktemp("system"), telemetry) as system,
    ):
        assert system.upload(system.key("writer")).json()["document_id"] == 1
        assert system.upload(system.key("stranger"), FOREIGN).json()["document_id"] == 2
        yield system


@dataclass(frozen=True)
class Request:
    """What is asked for: the route that serves it, and whose it is."""

    route: str
    path: str
    needs: Permission
    client: str | None = None
    found: int = 200
    method: str = "GET"
    body: Any = None

    def send(self, system: System, headers: Headers) -> httpx.Response:
        """Send it."""
        if self.method == "PUT":
            return system.upload(headers, self.client or "", self.path)
        return system.api.request(self.method, self.path, headers=headers, json=self.body)


def reading(client: str, document: int, found: int = 200) -> Request:
    """Return a request for a document."""
    return Request(
        DOCUMENT_ROUTE, f"/clients/{client}/documents/{document}", Permission.READ_DOCUMENTS, client, found
    )


def uploading(client: str) -> Request:
    """Return an upload."""
    return Request(UPLOAD_ROUTE, "", Permission.WRITE_DOCUMENTS, client, method="PUT")


# Of a document that is not there: who is let through changes nothing either.
CHANGES: Final[Mapping[str, tuple[str, str, Permission, Any]]] = {
    "new version": ("PUT", CONTENT_ROUTE, Permission.WRITE_DOCUMENTS, None),
    "change": ("PATCH", DOCUMENT_ROUTE, Permission.WRITE_DOCUMENTS, {"tags": {"a": "1"}}),
    "deletion": ("DELETE", DOCUMENT_ROUTE, Permission.WRITE_DOCUMENTS, None),
    "restoring": ("POST", RESTORE_ROUTE, Permission.WRITE_DOCUMENTS, None),
    "several uploads": ("PUT", BULK_UPLOAD_ROUTE, Permission.WRITE_DOCUMENTS, None),
    "purging": ("POST", PURGE_ROUTE, Permission.PURGE_DOCUMENTS, None),
    "content": ("GET", CONTENT_ROUTE, Permission.READ_DOCUMENTS, None),
    "versions": ("GET", VERSIONS_ROUTE, Permission.READ_DOCUMENTS, None),
}


def changing(what: str, client: str) -> Request:
    """Return a request about a document that is not there."""
    method, route, needs, body = CHANGES[what]
    path = route.format(client_id=client, doc_id=MISSING)
    return Request(route, path, needs, client, 200 if route == BULK_UPLOAD_ROUTE else 404, method, body)


def looking(route: str, client: str, query: str = "") -> Request:
    """Return a request for what a client has."""
    return Request(route, f"{route.format(client_id=client)}{query}", Permission.READ_DOCUMENTS, client)


REQUESTS: Final[Mapping[str, Request]] = {
    "own upload": uploading(OWN),
    "foreign upload": uploading(FOREIGN),
    "upload of a client that is not there": uploading("nobody"),
    **{f"own {what}": changing(what, OWN) for what in CHANGES},
    **{f"foreign {what}": changing(what, FOREIGN) for what in CHANGES},
    "own list": looking(RECORDS_ROUTE, OWN),
    "foreign list": looking(RECORDS_ROUTE, FOREIGN),
    "own search": looking(SEARCH_ROUTE, OWN, "?q=robin"),
    "foreign search": looking(SEARCH_ROUTE, FOREIGN, "?q=robin"),
    "own document": reading(OWN, 1),
    "own document that is not there": reading(OWN, MISSING, 404),
    "foreign document": reading(FOREIGN, 2),
    "foreign document that is not there": reading(FOREIGN, MISSING, 404),
    "foreign document as one's own": reading(OWN, 2, 404),
    "document of a client that is not there": reading("nobody", 1, 404),
    "health": Request(HEALTH_ROUTE, "/health", Permission.PUBLIC),
}


def expected(show: Show, request: Request) -> int:
    """Return the status that the rules give."""
    if request.needs is Permission.PUBLIC:
        return 200 if show.role or show is CREDENTIALS["nothing"] or show in WITHOUT else show.refused
    if show.role is None:
        return show.refused
    if request.needs not in ALLOWED[show.role]:
        return 403
    if request.client != show.client:
        return 404 if request.needs is Permission.READ_DOCUMENTS else 403
    return request.found


# What is no credential at all.
WITHOUT: Final = (CREDENTIALS["key in the cookie"], CREDENTIALS["tenant in a header"])


@pytest.mark.parametrize("asked", REQUESTS)
@pytest.mark.parametrize("shown", CREDENTIALS)
def test_everybody_gets_what_is_theirs_and_nothing_else(system: System, shown: str, asked: str) -> None:
    """A refusal is a problem that says so, and leaves database and disk as they were."""
    show, request = CREDENTIALS[shown], REQUESTS[asked]
    before = system.snapshot()

    answer = request.send(system, show.headers(system))

    status = expected(show, request)
    if status < 400:
        assert answer.status_code == status, answer.text
        return
    assert_problem(answer, status)
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert system.snapshot() == before


def test_every_route_is_asked_for(system: System) -> None:
    """A route that is added must be added here."""
    served = {
        (method.upper(), path, operation[DECLARATION])
        for path, methods in system.api.get("/openapi.json").json()["paths"].items()
        for method, operation in methods.items()
    }
    assert served == {(request.method, request.route, request.needs.value) for request in REQUESTS.values()}


def test_health_tells_its_parts_to_operators_only(system: System) -> None:
    """Load balancers need no more than the status."""
    assert system.api.get("/health").json().keys() == {"status", "service", "timestamp"}
    for shown in ("key of a reader", "key of a tenant_admin", "token of a writer"):
        answer = system.api.get("/health", headers=CREDENTIALS[shown].headers(system))
        assert "components" not in answer.json()
    told = system.api.get("/health", headers=system.key("operator")).json()
    assert (told["components"]["data_store"], told["warnings"]) == ("healthy", [])


# ---- between the services

RECORD: Final[Mapping[str, Any]] = {
    "filename": "a.txt",
    "file_size": 1,
    "file_type": "text/plain",
    "sha256": "0" * 64,
    "storage_key": "x/y",
    "summary": None,
    "summary_source": "none",
    "summary_reason": "not_text",
}
INNER: Final[Mapping[str, tuple[str, str, Mapping[str, Any] | None]]] = {
    "add a record": ("POST", f"/clients/{OWN}/documents", RECORD),
    "get a record": ("GET", f"/clients/{OWN}/documents/1", None),
    "principal by key": ("POST", "/principals/by-key", {"prefix": "0" * 12, "digest": "0" * 64}),
    "principal by subject": ("POST", "/principals/by-subject", {"subject": "sub|writer"}),
    "known storage keys": ("POST", "/storage-keys/known", {"keys": ["x/y"]}),
    "removed storage keys": ("POST", "/storage-keys/removed", None),
    "forgotten storage keys": ("POST", "/storage-keys/forgotten", {"keys": ["x/y"]}),
    "add a version": ("POST", f"/clients/{OWN}/documents/{MISSING}/versions", RECORD),
    "versions": ("GET", f"/clients/{OWN}/documents/1/versions", None),
    "version": ("GET", f"/clients/{OWN}/documents/1/versions/1", None),
    "list": ("GET", f"/clients/{OWN}/documents", None),
    "search": ("GET", f"/clients/{OWN}/search?q=robin", None),
    "change": ("PATCH", f"/clients/{OWN}/documents/{MISSING}", {"tags": {"a": "1"}}),
    "delete": ("DELETE", f"/clients/{OWN}/documents/{MISSING}", None),
    "restore": ("POST", f"/clients/{OWN}/documents/{MISSING}/restore", None),
    "purge": ("POST", f"/clients/{OWN}/documents/{MISSING}/purge", None),
    "summary jobs": ("POST", "/summary-jobs/claimed", {"most": 1, "kept_seconds": 1}),
    "summary": (
        "PUT",
        f"/clients/{OWN}/documents/{MISSING}/summary",
        {"version": 1, "summary": None, "summary_source": "none", "summary_reason": "not_text"},
    ),
}
INNER_CREDENTIALS: Final[Mapping[str, Callable[[System], Headers]]] = {
    "nothing": lambda _: {},
    "another token": lambda _: bearer("another"),
    "empty token": lambda _: {"Authorization": "Bearer"},
    "token in basic": lambda _: {"Authorization": f"Basic {SERVICE_TOKEN}"},
    "half the token": lambda _: bearer(SERVICE_TOKEN[:-1]),
    "more than the token": lambda _: bearer(f"{SERVICE_TOKEN}x"),
    "token in capitals": lambda _: bearer(SERVICE_TOKEN.upper()),
    "a user's key": lambda s: s.key("tenant_admin"),
    "an operator's key": lambda s: s.key("operator"),
    "a user's token": lambda _: bearer(token("sub|tenant_admin")),
    "a correlation ID and a tenant": lambda _: {
        "X-Correlation-ID": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "baggage": f"client_id={OWN}",
        "Robin-Actor": "user:1",
    },
}


@pytest.mark.parametrize("asked", INNER)
@pytest.mark.parametrize("shown", INNER_CREDENTIALS)
def test_the_data_store_serves_the_document_api_alone(system: System, shown: str, asked: str) -> None:
    """Whoever reaches it in some other way is nobody there."""
    method, path, body = INNER[asked]
    before = system.snapshot()

    answer = system.store.request(method, path, json=body, headers=INNER_CREDENTIALS[shown](system))

    assert_problem(answer, 401)
    assert system.snapshot() == before


@pytest.mark.parametrize("asked", INNER)
def test_the_token_of_the_services_opens_it(system: System, asked: str) -> None:
    """Else the test above would pass for a data store that refuses everybody."""
    method, path, body = INNER[asked]
    answer = system.store.request(method, path, json=body, headers=bearer(SERVICE_TOKEN))
    assert answer.status_code in {200, 201, 204, 404}
    assert answer.status_code != 404 or asked == "principal by key" or str(MISSING) in path


def test_health_of_the_data_store_needs_no_token(system: System) -> None:
    """Whoever keeps it alive asks without."""
    assert system.store.get("/health").status_code == 200


def test_every_route_of_the_data_store_declares_what_it_needs(system: System) -> None:
    """All but health need another service."""
    paths = system.store.get("/openapi.json").json()["paths"]
    declared = {path: {each[DECLARATION] for each in methods.values()} for path, methods in paths.items()}
    assert declared.pop(HEALTH_ROUTE) == {Permission.PUBLIC}
    assert set[str]().union(*declared.values()) == {Permission.BE_A_SERVICE}
    assert sum(map(len, (methods for path, methods in paths.items() if path != HEALTH_ROUTE))) == len(INNER)

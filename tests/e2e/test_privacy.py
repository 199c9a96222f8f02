"""Nothing private in telemetry: canaries in every place of a request, then a search of all that a whole stack has kept.

What it keeps is searched where it is kept: three back ends, stdout of the services, and nginx's log. The documents themselves,
their records and PostgreSQL's own log, which the collector clears, are where private values belong.
"""

import base64
import json
import re
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from local_stack.state import State
from observability.signals import CORRELATION_HEADER, DOCUMENTS_UPLOADED, HTTP_REQUESTS
from telemetry_queries.sources import SERVICES, Source
from tests.canaries import ADDRESS, ADDRESS_6, API_KEY, CARD, JWT, MAIL, NAME, PRIVATE_KEY
from tests.e2e import stored
from tests.e2e.conftest import RunningStack, running_stack
from tests.e2e.faults import every_insert, slow_inserts
from tests.files import docx_of, pdf
from tests.waiting import eventually

SECONDS = 60
TENANT: Final = "privacy"
# Where the requests come from: an address of this machine that nothing else has.
CLIENT: Final = "127.0.0.77"
TEXT: Final = (
    f"Report on {NAME}, {MAIL}, card {CARD}, from {ADDRESS} and {ADDRESS_6}, {API_KEY}, {JWT}. {PRIVATE_KEY}"
)
BASIC: Final = base64.b64encode(f"{NAME}:{MAIL}".encode()).decode()
# In whatever spelling: names are in mail addresses, and percent-encoded and base64 words keep enough of themselves.
TRACES: Final = re.compile(
    "|".join(
        (
            *("canary", "kowalska", r"4111\W?1111", API_KEY[-16:], JWT.split(".")[1]),
            *(
                re.escape(ADDRESS),
                re.escape(CLIENT),
                "ca:a77::77",
                BASIC[:20],
                base64.b64encode(MAIL.encode()).decode()[:16],
            ),
        )
    ),
    re.IGNORECASE,
)
MASK: Final = "****"
HEADERS: Final = {
    "User-Agent": f"canary/1.0 ({NAME}; {MAIL})",
    "Authorization": f"Bearer {JWT}",
    "X-API-Key": API_KEY,
    "Cookie": f"session={JWT}; card={CARD}",
    "Referer": f"https://robin.example/{MAIL}?token={API_KEY}",
    "From": MAIL,
    "X-Forwarded-For": ADDRESS,
    "X-Forwarded-Proto": "canary",
    "X-Forwarded-Host": f"{ADDRESS}",
    "X-Real-IP": ADDRESS_6,
    "Forwarded": f"for={ADDRESS}",
    "Via": f"1.1 {ADDRESS}",
    "Accept-Language": "canary",
    "X-Canary": MAIL,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "canary=kowalska",
    "baggage": f"client_id=canary,correlation_id={MAIL},user={NAME}",
}
PATHS: Final = (
    f"/{MAIL}",
    f"/clients/{MAIL}/upload-document",
    f"/clients/{MAIL}/documents/1",
    f"/clients/{TENANT}/documents/{MAIL}",
    f"/clients/{TENANT}/documents/{API_KEY}",
    f"/clients/{TENANT}/documents/1/{NAME}",
    f"/clients/{TENANT}/documents/1?token={API_KEY}&mail={MAIL}",
    f"/clients/{NAME}/documents/{CARD}",
    f"/clients/{API_KEY}/documents/1",
    f"/clients/{API_KEY}/upload-document",
    f"/clients/{TENANT}/documents/{CARD.replace(' ', '')}",
    f"/clients/%00{NAME}/documents/1",
    f"/clients//{NAME}/../documents/1",
    f"/clients/{TENANT}/upload-document/{ADDRESS}",
    f"/clients/{TENANT}/upload-document;{MAIL}",
    f"/docs/{MAIL}",
    f"/health?of={MAIL}",
    f"/openapi.json/{JWT}",
    "/canary" * 1300,
)
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
_MULTIPART: Final = "multipart/form-data; boundary=b"
_PART: Final = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{NAME}.txt"\r\n'
BODIES: Final = (
    # Content-Type, body
    (_MULTIPART, f"--canary {MAIL}"),
    (_MULTIPART, f"{_PART}Content-Type: text/plain\r\n\r\n{TEXT}"),
    (_MULTIPART, f"{_PART}{NAME}: {MAIL}\r\n\r\n{TEXT}\r\n--b--\r\n{TEXT}"),
    (_MULTIPART, f"{_PART}X-{NAME}\r\n\r\n{TEXT}\r\n--b--\r\n"),
    (_MULTIPART, f'--b\r\nContent-Disposition: form-data; name="{MAIL}"\r\n\r\n{TEXT}\r\n--b--\r\n'),
    (f"multipart/form-data; boundary={MAIL}", TEXT),
    (f"multipart/form-data; boundary={'canary' * 20}", TEXT),
    (f"multipart/{NAME}", TEXT),
    ("application/json", json.dumps({"mail": MAIL})),
    (f"text/plain; name={MAIL}", TEXT),
)
_UPLOAD: Final = (
    f"PUT /clients/{TENANT}/upload-document HTTP/1.1\r\nHost: robin\r\nContent-Type: {_MULTIPART}\r\n"
)
RAW: Final = (
    f"GET /{MAIL} HTTP/1.1\r\nHost: {MAIL}\r\n\r\n",
    f"GET /health HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n",
    f"GET http://{MAIL}/{API_KEY} HTTP/1.1\r\nHost: robin\r\n\r\n",
    f"GET /{MAIL} HTTP/canary\r\n\r\n",
    f"{NAME} {MAIL} {CARD}\r\n\r\n",
    f"CANARY /{MAIL} HTTP/1.1\r\nHost: robin\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: robin\r\n{NAME} {MAIL}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: robin\r\nCookie: {'canary' * 2000}\r\n\r\n",
    f"{_UPLOAD}Content-Length: {MAIL}\r\n\r\n",
    f"{_UPLOAD}Transfer-Encoding: {NAME}\r\n\r\n",
    f"{_UPLOAD}Transfer-Encoding: chunked\r\n\r\n{MAIL}\r\n",
    f"{_UPLOAD}Content-Length: 900\r\n\r\n{_PART}",
    f"GET /ws HTTP/1.1\r\nHost: robin\r\nUpgrade: {MAIL}\r\nConnection: Upgrade\r\n\r\n",
)


@dataclass
class Sent:
    """How each request was answered, by the correlation ID of the answer, and which real secrets were shown."""

    statuses: dict[str, int] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)

    def request(self, client: httpx.Client, method: str, url: str, **request: Any) -> int:
        """Send a request, and remember its answer; return its status, 0 for none."""
        given = {**HEADERS, CORRELATION_HEADER: MAIL, **request.pop("headers", {})}
        headers = {name: value for name, value in given.items() if value}
        try:
            answer = client.request(method, url, headers=headers, follow_redirects=False, **request)
        except httpx.RemoteProtocolError:
            return 0  # the connection was closed: of an over-long body, say
        if CORRELATION_HEADER in answer.headers and not url.partition("?")[0].endswith("/health"):
            self.statuses[answer.headers[CORRELATION_HEADER]] = answer.status_code
        return answer.status_code


@pytest.fixture(scope="module")
def talkative() -> Iterator[RunningStack]:
    """A stack of its own, whose services tell everything that they ever tell."""
    with running_stack({"LOG_LEVEL": "DEBUG"}) as running:
        yield running


@pytest.fixture(scope="module")
def sent(talkative: RunningStack) -> Iterator[Sent]:
    """Everything that a client can put a canary into, at the edge and, past it, at each service."""
    with httpx.Client(transport=httpx.HTTPTransport(local_address=CLIENT), timeout=30) as client:
        yield _sent(talkative, client)


def _sent(talkative: RunningStack, http: httpx.Client) -> Sent:
    sent = Sent()
    for url in (talkative.endpoints["nginx"], *talkative.endpoints["document_api"]):
        _read(sent, http, url)
        _upload(sent, http, url)
        for request in RAW:
            _raw(url, request)
    _tell_the_data_store(sent, http, talkative)
    edge = talkative.endpoints["nginx"]
    quote = "RAISE EXCEPTION USING MESSAGE = NEW.filename, DETAIL = NEW.summary, HINT = NEW.filename"
    upload = {"files": {"file": (f"{NAME}.txt", TEXT.encode(), "text/plain")}}
    with every_insert(talkative, quote):
        sent.request(http, "PUT", f"{edge}/clients/{TENANT}/upload-document", **upload)
    with slow_inserts(talkative, 1.2):
        sent.request(http, "PUT", f"{edge}/clients/{TENANT}/upload-document", **upload)
    _show_credentials(sent, http, talkative)
    return sent


def _show_credentials(sent: Sent, client: httpx.Client, stack: RunningStack) -> None:
    """Let a person in by her key and by her token, and nobody by anything that only looks like one."""
    private = ec.generate_private_key(ec.SECP256R1())
    key_file = stack.state / "issuer.pem"
    key_file.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    issuer = {"JWT_ISSUER": "https://issuer.example", "JWT_AUDIENCE": "robin", "JWT_ALGORITHMS": "ES256"}
    stack.up(AUTH_MODE="required", JWT_KEY_FILE=str(key_file), **issuer)
    person = ("--email", MAIL, "--name", NAME, "--subject", MAIL, "--role", "reader")
    stack.admin("create-user", TENANT, *person)
    key = stack.admin("issue-key", MAIL, "--quiet")
    claims = {
        "sub": MAIL,
        "name": NAME,
        "email": MAIL,
        "iss": issuer["JWT_ISSUER"],
        "aud": "robin",
        "exp": int(time.time()) + 600,
    }
    changes: tuple[dict[str, object], ...] = ({}, {"exp": 1}, {"aud": NAME}, {"iss": MAIL}, {"sub": NAME})
    tokens = [jwt.encode({**claims, **change}, private, "ES256", {"kid": MAIL}) for change in changes]
    tokens.append(jwt.encode(claims, None, "none"))
    sent.secrets.extend((key, *(part for token in tokens for part in token.split(".") if part)))
    none = {"Authorization": "", "X-API-Key": ""}
    shown = [
        {"X-API-Key": value} for value in (key, f"{key[:-1]}x", key.upper(), f"{key}, {key}", API_KEY, MAIL)
    ]
    shown += [{"Authorization": f"Bearer {token}"} for token in (*tokens, JWT, NAME)]
    shown += [{"Authorization": value} for value in (f"Basic {BASIC}", MAIL, f"ApiKey {key}")]
    shown += [{}, {"Authorization": f"Bearer {tokens[0]}", "X-API-Key": key}]
    for url in (stack.endpoints["nginx"], *stack.endpoints["document_api"]):
        path = f"{url}/clients/{TENANT}/documents/1"
        answers = [sent.request(client, "GET", path, headers={**none, **headers}) for headers in shown]
        assert (answers[0], answers[6], answers.count(200)) == (200, 200, 2)  # the key and the token
        hers = {**none, "X-API-Key": key}
        sent.request(client, "GET", f"{url}/clients/another/documents/1", headers=hers)
        sent.request(client, "PUT", f"{url}/clients/{TENANT}/upload-document", headers=hers)


def _read(sent: Sent, client: httpx.Client, url: str) -> None:
    for path in PATHS:
        sent.request(client, "GET", f"{url}{path}")
    for method in METHODS:
        sent.request(client, method, f"{url}/clients/{MAIL}/documents/{NAME}", params={"q": TEXT})
    sent.request(client, "GET", f"{url}/clients/{TENANT}/documents/1", headers={"Host": MAIL})


def _upload(sent: Sent, client: httpx.Client, url: str) -> None:
    """Upload documents that are accepted, then bodies that are not."""
    path = f"{url}/clients/{TENANT}/upload-document"
    name, content = f"{NAME} {MAIL} {CARD}.txt", TEXT.encode()
    for media_type in (
        *(
            "text/plain",
            "application/x-canary-kowalska",
            f"text/plain; name={MAIL}",
            MAIL,
            f"image/{API_KEY}",
        ),
    ):
        sent.request(client, "PUT", path, files={"file": (name, content, media_type)}, params={"name": NAME})
    other = {"data": {MAIL: TEXT, "note": TEXT}, "files": {"file": (name, content, "text/plain")}}
    sent.request(client, "PUT", path, **other)
    page, values = f"<html><p>{TEXT}", json.dumps({MAIL: TEXT})
    for more in (pdf(TEXT), docx_of(TEXT), page.encode(), values.encode(), b"%PDF-" + content):
        sent.request(client, "PUT", path, files={"file": (name, more, "application/json")})
    sent.request(client, "PUT", path, files={"file": (name, b"", "text/plain")})
    sent.request(client, "PUT", path, files={MAIL: (name, content, "text/plain")})
    sent.request(client, "PUT", path, files=[("file", (name, content)), ("file", (name, content))])
    long = TEXT.encode() * (2 * 1024 * 1024 // len(TEXT))
    sent.request(client, "PUT", path, files={"file": (name, long, "text/plain")})
    sent.request(client, "PUT", path, content=iter([long]), headers={"Content-Type": _MULTIPART})
    for content_type, body in BODIES:
        sent.request(client, "PUT", path, content=body.encode(), headers={"Content-Type": content_type})
    sent.request(client, "POST", path, files={"file": (name, content, "text/plain")})


def _tell_the_data_store(sent: Sent, client: httpx.Client, stack: RunningStack) -> None:
    """Ask it as document_api does, and as nobody may."""
    url = stack.endpoints["data_store"]
    token = State(stack.state).secret("service-token")
    record = {
        "filename": NAME,
        "file_size": 5,
        "file_type": "text/plain",
        "sha256": MAIL,
        "storage_key": f"{MAIL}\0",
        "summary": TEXT,
        "summary_source": CARD,
        "summary_reason": None,
        MAIL: TEXT,
    }
    for headers in ({}, {"Authorization": f"Bearer {token}", "Robin-Actor": MAIL}):
        for path in PATHS:
            sent.request(client, "GET", f"{url}{path}", headers=headers)
        for body in (json.dumps(record), json.dumps(TEXT), f"{{{TEXT}", json.dumps({MAIL: 1}) * 60_000):
            for path in (f"/clients/{TENANT}/documents", "/principals/by-key", "/principals/by-subject"):
                request = {
                    "content": body.encode(),
                    "headers": {**headers, "Content-Type": "application/json"},
                }
                sent.request(client, "POST", f"{url}{path}", **request)
        subject = {"json": {"subject": MAIL}, "headers": headers}
        sent.request(client, "POST", f"{url}/principals/by-subject", **subject)
    for raw in RAW:
        _raw(url, raw)


def _raw(url: str, request: str) -> None:
    """Send bytes that no client library would send, and hang up, with or without an answer."""
    where = httpx.URL(url)
    with closing(socket.create_connection((where.host, where.port or 80), 5, (CLIENT, 0))) as connection:
        connection.sendall(request.encode())
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(65536):
                pass
        except OSError:
            return  # reset: it has heard enough


@pytest.fixture(scope="module")
def arrived(talkative: RunningStack, http: httpx.Client, sent: Sent) -> Sent:
    """All of it, once its own telemetry is stored."""
    of_services: set[str] = set()

    def every_line_is_stored() -> bool:
        kept = stored.records(talkative, http)
        of_services.update(
            record["correlation_id"]
            for record in kept
            if record["service.name"] in SERVICES and record.get("trace_id") and record.get("correlation_id")
        )
        return sent.statuses.keys() <= {record.get("correlation_id") for record in kept}

    eventually(every_line_is_stored, "every request has its line", seconds=SECONDS)
    asked = of_services & sent.statuses.keys()

    def every_span_is_stored() -> bool:
        spans = stored.spans(talkative, http)
        return asked <= {span.attributes["correlation_id"][1] for span in spans}

    eventually(every_span_is_stored, "every request has its span", seconds=SECONDS)
    eventually(lambda: _counted(talkative, http) >= len(asked), "every request is counted", seconds=SECONDS)
    return sent


def _counted(stack: RunningStack, http: httpx.Client) -> float:
    query = f'sum({HTTP_REQUESTS.prometheus_name}{{path!="/health"}})'
    answer = http.get(f"{stack.endpoints['prometheus']}/api/v1/query", params={"query": query}).json()
    return sum(float(each["value"][1]) for each in answer["data"]["result"])


def texts(value: object) -> Iterator[str]:
    """Yield every text of a JSON document, names included."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from texts(member)
    else:
        yield str(value)


def findings(kept: Collection[str], secrets: Collection[str] = ()) -> list[str]:
    """Return what holds a canary or one of these secrets, shortened, each once."""
    found = re.compile("|".join((TRACES.pattern, *map(re.escape, secrets))), re.IGNORECASE)
    return sorted({text[:300] for text in kept if found.search(text)})


def test_the_search_finds_every_canary() -> None:
    """In clear text, percent-encoded, in base64, and without blanks: a search that finds nothing would prove nothing."""
    canaries = (
        *(NAME, MAIL, CARD, CARD.replace(" ", ""), API_KEY, JWT, BASIC, PRIVATE_KEY),
        *(ADDRESS, ADDRESS_6, CLIENT),
    )
    assert [canary for canary in canaries if not TRACES.search(canary)] == []
    assert findings([TENANT, "Bearer", "/clients/{client_id}/documents/{doc_id}"]) == []


def test_all_kinds_of_refusal_and_of_success_were_provoked(arrived: Sent) -> None:
    """Canaries in requests that nobody answers prove little."""
    assert {200, 400, 401, 403, 404, 405, 413, 414, 415, 422, 502} <= set(arrived.statuses.values())


def traces(talkative: RunningStack, http: httpx.Client) -> list[str]:
    """Return all texts of all spans: names, attributes, events, links, statuses and resources."""
    services = http.get(f"{talkative.endpoints['jaeger']}/api/services").json()["data"]
    assert set(services) == set(SERVICES)
    kept: list[str] = []
    now = time.time()
    for service in services:
        window = {"start": int((now - 3600) * 1e6), "end": int((now + 60) * 1e6), "lookback": "1h"}
        parameters = {"service": service, "limit": stored.TRACES, **window}
        answer = http.get(f"{talkative.endpoints['jaeger']}/api/traces", params=parameters)
        kept.extend(texts(answer.json()["data"]))
    return kept


def test_no_trace_holds_a_canary(arrived: Sent, talkative: RunningStack, http: httpx.Client) -> None:
    """Whoever looks at traces sees who did what when, and nothing of what it was about."""
    kept = traces(talkative, http)

    assert TENANT in kept
    assert arrived.statuses.keys() & set(kept)
    assert findings(kept, arrived.secrets) == []


def test_no_metric_holds_a_canary(arrived: Sent, talkative: RunningStack, http: httpx.Client) -> None:
    """Names and labels of all series, and labels of all exemplars."""
    exemplars = stored.exemplars(talkative, http)
    kept = list(texts([stored.series(talkative, http), [list(pair) for pair in exemplars]]))

    assert {DOCUMENTS_UPLOADED.prometheus_name, "unmatched", TENANT} <= set(kept)
    assert arrived.statuses.keys() & set(kept)
    assert findings(kept, arrived.secrets) == []


def test_no_log_record_holds_a_canary(arrived: Sent, talkative: RunningStack, http: httpx.Client) -> None:
    """Of all four sources: messages, attributes, exceptions."""
    records = stored.records(talkative, http)

    assert {record["service.name"] for record in records} == {*SERVICES, Source.NGINX, Source.POSTGRESQL}
    assert {"statement failed", "slow statement"} <= {record["_msg"] for record in records}
    assert any("exception.stacktrace" in record for record in records)
    assert arrived.statuses.keys() <= {record.get("correlation_id") for record in records}
    assert findings(list(texts(records)), arrived.secrets) == []


def test_the_collector_had_nothing_to_mask(
    arrived: Sent, talkative: RunningStack, http: httpx.Client
) -> None:
    """It is the second line of defence: what it catches of ours is to be mended where it is recorded."""
    assert arrived
    records = [each for each in stored.records(talkative, http) if each["service.name"] != Source.POSTGRESQL]
    kept = [*traces(talkative, http), *texts(records), *texts(stored.series(talkative, http))]
    masked = {text for text in kept if MASK in text}
    # Where a service listens is no secret, and neither is it worth an exception.
    assert {text for text in masked if not text.startswith("Uvicorn running on http://****:")} == set()


def test_no_log_file_holds_a_canary(arrived: Sent, talkative: RunningStack) -> None:
    """What the services write on stdout and stderr, nginx's access and error log, and the collector's own."""
    files = [file for file in (talkative.state / "logs").iterdir() if file.is_file()]
    names = {file.name for file in files}
    lines = {file.name: file.read_text(errors="replace").splitlines() for file in files}

    assert {"access.json", "data_store.log", "nginx.log"} <= names
    assert any("Unhandled exception" in line or "SQL statement" in line for line in lines["data_store.log"])
    assert arrived.statuses.keys() <= {
        json.loads(line)["correlation_id"]
        for name in names
        if name.startswith(("document_api", "data_store.log", "access.json"))
        for line in lines[name]
    }
    assert {name: found for name in sorted(names) if (found := findings(lines[name], arrived.secrets))} == {}

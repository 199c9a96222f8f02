"""Attempts to get at another client's documents, of every kind that one can think of, and some that nobody thought of."""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Final
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from local_stack.nginx import LoadBalancer
from tests.edge import running
from tests.integration.conftest import MIGRATED, PostgreSQL
from tests.integration.tenancy import FOREIGN, OWN, SERVICE_TOKEN, System, running_system
from tests.ports import free_port
from tests.telemetry_spy import spied_telemetry

SECRET: Final = b"Whiskers are what the other one sells."
DOCUMENT: Final = 2  # of the other client
ATTEMPTS: Final = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@dataclass(frozen=True)
class Doors:
    """Where a request can be sent to: through nginx, to the document API, to the data store."""

    system: System
    edge: int

    @property
    def api(self) -> int:
        """Port of the document API."""
        return urlsplit(str(self.system.api.base_url)).port or 0

    @property
    def store(self) -> int:
        """Port of the data store."""
        return urlsplit(str(self.system.store.base_url)).port or 0

    def foreign(self) -> tuple[int, ...]:
        """Return what there is of the other client: rows and files."""
        ((rows,),) = self.system.sql(f"SELECT count(*) FROM document_metadata WHERE client_id <> '{OWN}'")  # noqa: S608
        ((new,),) = self.system.sql("SELECT count(*) FROM clients")
        return int(rows), int(new), len(list((self.system.uploads / "documents").iterdir()))


@pytest.fixture(scope="module")
def doors(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """A system with a document of each client, and the load balancer in front of it."""
    database = postgresql.create_database(template=MIGRATED)
    folder = tmp_path_factory.mktemp("isolation")
    with (
        spied_telemetry() as telemetry,
        running_system(postgresql, database, folder, telemetry) as system,
    ):
        system.upload(system.key("writer"))
        stored = system.api.put(
            f"/clients/{FOREIGN}/upload-document",
            files={"file": ("price-of-whiskers.txt", SECRET, "text/plain")},
            headers=system.key("stranger"),
        )
        assert stored.json()["document_id"] == DOCUMENT
        port = free_port()
        api = urlsplit(str(system.api.base_url)).port or 0
        balancer = LoadBalancer(
            listen=f"127.0.0.1:{port}",
            upstream_ports=[api],
            max_upload_bytes=100_000,
            access_log=folder / "access.json",
            config_dir=folder / "config",
            run_dir=folder / "run",
        )
        balancer.write()
        with running(balancer, port, []):
            yield Doors(system, port)


def exchange(port: int, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Send a request as it is, byte for byte, and return all that is answered; nothing where nothing is."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body)
        response = HTTPResponse(connection)
        try:
            response.begin()
            return b"%d " % response.status + response.read()
        except (HTTPException, ConnectionResetError):
            return b""


def tells_secrets(answer: bytes) -> bool:
    """Say whether an answer has anything of the other client's document."""
    return b"hiskers" in answer


# ---- what is tried

ENCODED: Final = [
    *(FOREIGN, FOREIGN.upper(), FOREIGN.title(), quote(FOREIGN[0]).join(("", FOREIGN[1:]))),
    *(
        "%67lobex",
        "%2567lobex",
        "g%6cobex",
        "globex%00",
        "globex%20",
        "globex.",
        "globex;x=1",
        "globex%2f",
        "globex%09",
    ),
    *(
        "acme/../globex",
        "acme%2f..%2fglobex",
        "acme/%2e%2e/globex",
        "..%2fglobex",
        "%2e%2e/clients/globex",
        "./globex",
    ),
    *(
        "acme%0d%0aX-API-Key:x",
        "acme,globex",
        "acme&client_id=globex",
        "acme%3fclient_id=globex",
        "acme#globex",
    ),
    *(
        "\u0261lobex",
        "globe\u0445",
        "g\u200blobex",
        "\uff47\uff4c\uff4f\uff42\uff45\uff58",
        "globex\u0301",
        "*",
        "%25",
    ),
    *(
        "' OR '1'='1",
        "acme' OR client_id='globex",
        "acme';SET robin.client_id='globex",
        "acme') --",
        "acme\\globex",
    ),
    *("", "null", "None", "%", "_", "acme%27--", "acme'||'", "acme%5cglobex"),
]
NUMBERS: Final = [
    *(
        "2",
        "02",
        "+2",
        " 2",
        "2 ",
        "2.0",
        "2e0",
        "0x2",
        "2%00",
        "2/",
        "2/../2",
        "\uff12",
        "\u0662",
        "2;1",
        "2,1",
        "1,2",
    ),
    *(
        "2 OR 1=1",
        "2%20OR%201=1",
        "1 UNION SELECT 2",
        "2--",
        "2'",
        "-2",
        "4294967298",
        "18446744073709551618",
        "*",
        "[2]",
    ),
]
HEADERS: Final = [
    ("X-Client-Id", FOREIGN),
    ("X-Tenant", FOREIGN),
    ("X-Original-URL", f"/clients/{FOREIGN}/documents/2"),
    ("X-Rewrite-URL", f"/clients/{FOREIGN}/documents/2"),
    ("X-HTTP-Method-Override", "GET"),
    ("X-Forwarded-Host", FOREIGN),
    ("X-Forwarded-Prefix", f"/clients/{FOREIGN}"),
    ("X-Forwarded-User", "sub|stranger"),
    ("Forwarded", f"for={FOREIGN}"),
    ("Robin-Actor", "user:5/bearer"),
    ("baggage", f"client_id={FOREIGN}"),
    ("X-Correlation-ID", "0f8fad5b-d9cb-469f-a165-70867728950e"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("Authorization ", f"Bearer {SERVICE_TOKEN}"),
    ("Cookie", f"client_id={FOREIGN}"),
]
TEXT: Final = st.text(st.characters(exclude_characters="\r\n\0 ", exclude_categories=("Cs",)), max_size=12)
CLIENTS: Final = st.one_of(
    st.sampled_from(ENCODED),
    st.builds(lambda before, after: f"{before}{FOREIGN}{after}", TEXT, TEXT),
    st.builds(
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
        st.sampled_from([FOREIGN, "acme/../globex"]),
    ),
    st.builds(
        lambda number: FOREIGN[:number] + "%" + f"{ord(FOREIGN[number]):02X}" + FOREIGN[number + 1 :],
        st.integers(0, 5),
    ),
    TEXT,
)
DOCUMENTS: Final = st.one_of(st.sampled_from(NUMBERS), TEXT, st.integers(-10, 2**66).map(str))
MORE: Final = st.lists(st.sampled_from(HEADERS), max_size=3, unique_by=lambda pair: pair[0]).map(dict)
TARGETS: Final = st.one_of(
    st.builds(lambda client, number: f"/clients/{client}/documents/{number}", CLIENTS, DOCUMENTS),
    st.builds(lambda client: f"/clients/{client}/upload-document", CLIENTS),
    st.builds(lambda client: f"/clients/{OWN}/documents/2?client_id={client}", CLIENTS),
    st.builds(lambda client: f"http://localhost/clients/{client}/documents/2", CLIENTS),
    st.builds(lambda client: f"//clients//{client}//documents/2", CLIENTS),
)
METHODS: Final = st.sampled_from(
    ["GET", "GET", "GET", "PUT", "POST", "HEAD", "DELETE", "PATCH", "OPTIONS", "get"]
)
BODY: Final = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="../globex/a.txt"\r\n\r\nx\r\n'
    b'--b\r\nContent-Disposition: form-data; name="client_id"\r\n\r\nglobex\r\n--b--\r\n'
)


def as_sent(target: str) -> str:
    """Return a target as one line of bytes can hold it; everything else stays as it is."""
    return target.replace(" ", "%20")


@pytest.mark.parametrize("door", ["edge", "api"])
@pytest.mark.parametrize("credential", ["writer", "tenant_admin", "operator"])
@ATTEMPTS
@example(line=("GET", f"/clients/{FOREIGN}/documents/2"), more={})
@example(line=("GET", "/clients/acme/%2e%2e/globex/documents/2"), more={})
@example(line=("PUT", "/clients/acme/..%2fglobex/upload-document"), more={})
@given(line=st.tuples(METHODS, TARGETS), more=MORE)
def test_nobody_reaches_another_client(
    doors: Doors, door: str, credential: str, line: tuple[str, str], more: Mapping[str, str]
) -> None:
    """Whatever the path, the number, the encoding, the method and the headers: nothing is told, nothing is added."""
    method, target = line
    before = doors.foreign()
    headers = {**doors.system.key(credential), **more}
    body = BODY if method in {"PUT", "POST"} else b""
    if body:
        headers["Content-Type"] = "multipart/form-data; boundary=b"

    answer = exchange(getattr(doors, door), method, as_sent(target), headers, body)

    assert not tells_secrets(answer)
    assert not answer.startswith(b"5"), answer
    assert doors.foreign() == before


def test_whoever_it_belongs_to_is_told(doors: Doors) -> None:
    """Else the test above could not fail."""
    for port in (doors.edge, doors.api):
        answer = exchange(port, "GET", f"/clients/{FOREIGN}/documents/2", doors.system.key("stranger"))
        assert tells_secrets(answer)


@ATTEMPTS
@given(client=CLIENTS.filter(lambda client: client != FOREIGN), number=DOCUMENTS)
def test_the_data_store_never_answers_with_the_document_of_another_client_than_was_asked_for(
    doors: Doors, client: str, number: str
) -> None:
    """Behind the gate as well: the path as it arrives is the tenant, and the database sees no other."""
    # Percent-encoded once more, so that what arrives is exactly this text.
    target = f"/clients/{quote(client, safe='')}/documents/{quote(number, safe='')}"
    answer = exchange(doors.store, "GET", target, {"Authorization": f"Bearer {SERVICE_TOKEN}"})
    assert not tells_secrets(answer)
    assert not answer.startswith(b"5"), answer


def test_files_of_clients_lie_apart_under_names_that_nobody_chose(doors: Doors) -> None:
    """No path is made of what a client sends: neither its name nor the file's."""
    paths = [
        path.relative_to(doors.system.uploads / "documents")
        for path in (doors.system.uploads / "documents").rglob("*")
        if path.is_file()
    ]
    assert len({path.parts[0] for path in paths}) == 2
    assert all(len(path.parts) == 2 for path in paths)
    for path in paths:
        folder, name = path.parts
        assert set(name) <= set("0123456789abcdef")
        assert set(folder) <= set("0123456789abcdef")
        assert len(name) == 32
        assert len(folder) == 32

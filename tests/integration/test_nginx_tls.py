"""HTTPS of the load balancer: the real configuration in a real nginx, asked by clients that look at its certificate."""

import json
import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPSConnection
from pathlib import Path

import pytest
import trustme

from local_stack.certificates import KeyPair
from local_stack.health import HttpProbe, Trust
from local_stack.nginx import EdgeTls
from tests.certificates import authority_file, issue
from tests.edge import Answer, Edge, Upstream, ended, load_balancer, received, running, two_upstreams
from tests.ports import free_port

DOCUMENT = "/clients/acme/documents/7"
UPLOAD = "/clients/acme/upload-document"
HSTS = "max-age=77"

RSA, ECDSA = trustme.KeyType.RSA, trustme.KeyType.ECDSA
SERVE = Callable[..., AbstractContextManager["Secure"]]  # of a certificate and, where it matters, a time-out


class Secure:
    """An edge with HTTPS, and an authority that its clients trust."""

    def __init__(self, plain: Edge, port: int, authority: trustme.CA) -> None:
        self.plain = plain
        self.port = port
        self._authority = authority

    def context(self) -> ssl.SSLContext:
        """Return what a careful client has."""
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

    def shake_hands(self, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
        """Return a connection as that context has it."""
        return context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), timeout=10), server_hostname=name
        )

    def request(self, method: str, path: str) -> Answer:
        """Send one request on a connection of its own."""
        connection = HTTPSConnection("localhost", self.port, timeout=10, context=self.context())
        try:
            connection.request(method, path)
            return Answer.read(connection.getresponse())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whom the clients trust."""
    return trustme.CA()


@pytest.fixture
def upstreams() -> Iterator[list[Upstream]]:
    """Two document_api stand-ins."""
    with two_upstreams() as servers:
        yield servers


@pytest.fixture
def serve(tmp_path: Path, upstreams: list[Upstream], authority: trustme.CA) -> SERVE:
    """How to run the edge with a certificate."""

    @contextmanager
    def serving(pair: KeyPair, header_timeout: str = "") -> Iterator[Secure]:
        http, https = free_port(), free_port()
        tls = EdgeTls(
            listen=f"127.0.0.1:{https}",
            port=https,
            certificate=pair.certificate,
            key=pair.key,
            hsts_seconds=77,
        )
        balancer = load_balancer(tmp_path, http, upstreams, tls=tls)
        balancer.write()
        if header_timeout:
            site = balancer.config_dir / "robin.conf"
            text, count = re.subn(
                r"(client_header_timeout) \d+s;", rf"\1 {header_timeout};", site.read_text()
            )
            assert count == 1
            site.write_text(text)
        with running(balancer, http, upstreams) as edge:
            yield Secure(edge, https, authority)

    return serving


@pytest.fixture
def good(tmp_path: Path, authority: trustme.CA) -> KeyPair:
    """A certificate as it should be."""
    return issue(authority, tmp_path / "good", "localhost", "127.0.0.1")


@pytest.fixture
def edge(serve: SERVE, good: KeyPair) -> Iterator[Secure]:
    """The edge with that."""
    with serve(good) as secure:
        yield secure


class TestCertificates:
    """A client that looks talks to the right server or to none."""

    def test_a_good_one_is_accepted_and_the_service_knows_of_https(self, edge: Secure) -> None:
        """From the handshake to document_api."""
        assert edge.request("GET", DOCUMENT).status == 200
        (seen,) = received(edge.plain)
        assert seen.header("X-Forwarded-Proto") == ["https"]

    def test_one_that_has_ended_is_refused(self, serve: SERVE, authority: trustme.CA, tmp_path: Path) -> None:
        """It was good until yesterday."""
        pair = issue(authority, tmp_path / "ended", "localhost", ended=True)
        with serve(pair) as edge, pytest.raises(ssl.SSLCertVerificationError, match="has expired"):
            edge.request("GET", DOCUMENT)

    def test_one_of_another_host_is_refused(
        self, serve: SERVE, authority: trustme.CA, tmp_path: Path
    ) -> None:
        """Though the authority is the right one."""
        pair = issue(authority, tmp_path / "other", "robin.example.org")
        with serve(pair) as edge, pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            edge.request("GET", DOCUMENT)

    def test_one_of_a_strangers_authority_is_refused(self, serve: SERVE, tmp_path: Path) -> None:
        """Though the name is the right one."""
        pair = issue(trustme.CA(), tmp_path / "stranger", "localhost")
        with (
            serve(pair) as edge,
            pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"),
        ):
            edge.request("GET", DOCUMENT)

    def test_the_local_stacks_own_probe_looks_at_it_too(
        self, edge: Secure, good: KeyPair, authority: trustme.CA, tmp_path: Path
    ) -> None:
        """By its authority, or by the certificate itself where nobody knows that."""
        ca_file = authority_file(authority, tmp_path / "ca.pem")
        for trusted in (ca_file, good.certificate):
            assert HttpProbe(edge.port, "/nginx-health", Trust("localhost", str(trusted))).problem() is None
        stranger = authority_file(trustme.CA(), tmp_path / "stranger.pem")
        for name, trusted in (("localhost", stranger), ("robin.example.org", ca_file)):
            problem = HttpProbe(edge.port, "/nginx-health", Trust(name, str(trusted))).problem()
            assert problem is not None
            assert "CERTIFICATE_VERIFY_FAILED" in problem


def no_newer_than(context: ssl.SSLContext, version: ssl.TLSVersion, ciphers: str = "ALL") -> ssl.SSLContext:
    """Return a client of former times, whom OpenSSL itself lets go ahead."""
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    return context


class TestProtocol:
    """TLS 1.2 and 1.3, with ciphers that authenticate and keep no secret for later."""

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_a_present_version_is_spoken(self, edge: Secure, version: ssl.TLSVersion) -> None:
        """Each of the two."""
        with edge.shake_hands(no_newer_than(edge.context(), version)) as connection:
            assert connection.version() == version.name.replace("_", ".")

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
    def test_a_former_version_is_refused(self, edge: Secure, version: ssl.TLSVersion) -> None:
        """By the server: the client would do it."""
        with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
            edge.shake_hands(no_newer_than(edge.context(), version))

    @pytest.mark.parametrize(
        ("key_type", "cipher"),
        [
            (ECDSA, "ECDHE-ECDSA-AES128-GCM-SHA256"),
            (ECDSA, "ECDHE-ECDSA-CHACHA20-POLY1305"),
            (RSA, "ECDHE-RSA-AES256-GCM-SHA384"),
        ],
    )
    def test_a_strong_cipher_of_1_2_is_taken(
        self, serve: SERVE, authority: trustme.CA, tmp_path: Path, key_type: trustme.KeyType, cipher: str
    ) -> None:
        """Whatever kind of key the certificate has."""
        pair = issue(authority, tmp_path / "kind", "localhost", key_type=key_type)
        with serve(pair) as edge:
            context = no_newer_than(edge.context(), ssl.TLSVersion.TLSv1_2, cipher)
            with edge.shake_hands(context) as connection:
                assert (connection.cipher() or ("none",))[0] == cipher

    @pytest.mark.parametrize(
        ("key_type", "cipher"),
        [
            (ECDSA, "ECDHE-ECDSA-AES128-SHA"),
            (ECDSA, "ECDHE-ECDSA-AES256-SHA384"),
            (RSA, "ECDHE-RSA-AES128-SHA256"),
            (RSA, "AES128-GCM-SHA256"),  # no forward secrecy
            (RSA, "AES256-SHA"),
        ],
    )
    def test_a_weak_cipher_of_1_2_is_refused(
        self, serve: SERVE, authority: trustme.CA, tmp_path: Path, key_type: trustme.KeyType, cipher: str
    ) -> None:
        """The client has nothing else to offer."""
        pair = issue(authority, tmp_path / "kind", "localhost", key_type=key_type)
        with serve(pair) as edge:
            context = no_newer_than(edge.context(), ssl.TLSVersion.TLSv1_2, cipher)
            with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
                edge.shake_hands(context)

    def test_http_2_is_spoken(self, edge: Secure) -> None:
        """A request in its frames is answered in its frames."""
        context = edge.context()
        context.set_alpn_protocols(["h2"])
        with edge.shake_hands(context) as connection:
            assert connection.selected_alpn_protocol() == "h2"
            assert h2_status(connection, "/nginx-health") == 200

    def test_who_never_shakes_hands_is_cut_off(self, serve: SERVE, good: KeyPair) -> None:
        """A connection costs nobody anything for long."""
        with (
            serve(good, header_timeout="500ms") as edge,
            socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection,
        ):
            assert ended(connection)


# Of RFC 9113 and RFC 7541.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, SETTINGS = 1, 4
END_STREAM_AND_HEADERS = 0x5
METHOD_GET, SCHEME_HTTPS, PATH, AUTHORITY, STATUS_200 = 0x82, 0x87, 0x04, 0x01, 0x88


def h2_status(connection: ssl.SSLSocket, path: str) -> int:
    """Send a GET in HTTP/2, and say whether it was answered 200 (0: it was not)."""
    text = path.encode()
    block = bytes([METHOD_GET, SCHEME_HTTPS, PATH, len(text)]) + text + bytes([AUTHORITY, 9]) + b"localhost"
    connection.sendall(
        PREFACE + h2_frame(SETTINGS, 0, 0, b"") + h2_frame(HEADERS, END_STREAM_AND_HEADERS, 1, block)
    )
    with connection.makefile("rb") as stream:
        while head := stream.read(9):
            length, kind = int.from_bytes(head[:3], "big"), head[3]
            payload = stream.read(length)
            if kind == HEADERS:
                return 200 if STATUS_200 in payload[:3] else 0  # a new table size may stand before it
    return 0


def h2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return one frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class TestPlainHttp:
    """Whoever comes without TLS is told where to go."""

    @pytest.mark.parametrize(
        ("method", "target"),
        [("GET", f"{DOCUMENT}?a=b%20c"), ("PUT", UPLOAD), ("GET", "/docs"), ("DELETE", "/nothing")],
    )
    def test_it_is_sent_to_https_with_method_path_and_query(
        self, edge: Secure, method: str, target: str
    ) -> None:
        """308 keeps all of them; no service sees anything of it."""
        answer = edge.plain.request(method, target, headers={"Host": f"localhost:{edge.plain.port}"})
        assert (answer.status, answer.header("Location")) == (308, [f"https://localhost:{edge.port}{target}"])
        assert answer.problem["title"] == "Permanent Redirect"
        assert answer.header("Strict-Transport-Security") == []  # RFC 6797: never without TLS
        assert received(edge.plain) == []

    def test_the_default_port_is_not_named(
        self, tmp_path: Path, upstreams: list[Upstream], good: KeyPair
    ) -> None:
        """Where clients reach HTTPS at 443."""
        port = free_port()
        tls = EdgeTls(
            listen=f"127.0.0.1:{free_port()}",
            port=443,
            certificate=good.certificate,
            key=good.key,
            hsts_seconds=1,
        )
        balancer = load_balancer(tmp_path, port, upstreams, tls=tls)
        balancer.write()
        with running(balancer, port, upstreams) as edge:
            answer = edge.request("GET", DOCUMENT, headers={"Host": "robin.example.org"})
        assert answer.header("Location") == [f"https://robin.example.org{DOCUMENT}"]

    def test_what_is_no_request_is_still_a_problem(self, edge: Secure) -> None:
        """An error is not hidden by the way to HTTPS."""
        answer = edge.plain.raw(b"this is no request\r\n\r\n")
        assert (answer.status, answer.problem["title"]) == (400, "Bad Request")

    @pytest.mark.parametrize("path", ["/nginx-health", "/health"])
    def test_health_is_answered(self, edge: Secure, path: str) -> None:
        """To the health check of its container, and to probes."""
        assert edge.plain.request("GET", path).status == 200

    @pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
    def test_no_credential_is_taken_in_plain_text(self, edge: Edge, header: str) -> None:
        """Not for health either, though an error stays one."""
        answer = edge.plain.request("GET", "/health", headers={header: "a"})
        assert (answer.status, received(edge.plain)) == (308, [])
        broken = f"GET /health HTTP/1.1\r\nHost: r\r\n{header}: a\r\nContent-Length: x\r\n\r\n"
        assert edge.plain.raw(broken.encode()).problem["title"] == "Bad Request"

    def test_at_the_port_of_https_it_is_told_what_is_wrong(self, edge: Secure) -> None:
        """As any other error, with an ID that the log has."""
        with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
            connection.sendall(f"GET {DOCUMENT} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n".encode())
            head, _, body = b"".join(iter(lambda: connection.recv(4096), b"")).partition(b"\r\n\r\n")
        problem = json.loads(body)
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"Content-Type: application/problem+json" in head
        assert "https://" in problem["detail"]
        assert edge.plain.log_line(problem["correlation_id"])["context_data"]["status"] == 400
        assert received(edge.plain) == []


class TestHeaders:
    """What a browser remembers."""

    @pytest.mark.parametrize(("path", "status"), [(DOCUMENT, 200), ("/nothing", 404), ("/nginx-health", 200)])
    def test_every_answer_asks_for_https_from_now_on(self, edge: Secure, path: str, status: int) -> None:
        """Errors of nginx's own too."""
        answer = edge.request("GET", path)
        assert (answer.status, answer.header("Strict-Transport-Security")) == (status, [HSTS])
        assert answer.header("X-Content-Type-Options") == ["nosniff"]

    def test_the_error_log_has_nothing_of_a_broken_handshake(self, serve: SERVE, good: KeyPair) -> None:
        """No address: not of garbage, of an old client, or of who breaks off."""
        with serve(good, header_timeout="2s") as edge:
            for sent in (b"\x16\x03\x01\x00\x05hello", b"\x80\x2e\x01\x03\x01", b"\xff" * 64):
                with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
                    connection.sendall(sent)
                    assert ended(connection)
            assert edge.request("GET", DOCUMENT).status == 200
            assert edge.plain.said.read_text() == ""

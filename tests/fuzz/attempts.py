"""Requests that are wrong in every way that one can think of, and right ones among them."""

from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from hypothesis import strategies as st

from tests.fuzz.bodies import CRLF, LINES, TEXTS, forms, mostly

OWN: Final = "acme"
# Stands for the line with the credential of somebody who may upload.
CREDENTIAL: Final = b"X-Credential: own\r\n"
_SHOWN_BYTES: Final = 2000


@dataclass(frozen=True, repr=False)
class Attempt:
    """A request as it goes over the wire: in how many pieces, and whether it is all that it announces."""

    method: str
    data: bytes
    complete: bool
    cut: int = 0

    def __repr__(self) -> str:
        """Return its beginning."""
        return f"Attempt({self.data[:_SHOWN_BYTES]!r}, complete={self.complete}, cut={self.cut})"

    def pieces(self, credential: bytes) -> list[bytes]:
        """Return what is sent, with this line of a header in the credential's place."""
        pieces = (self.data[: self.cut], self.data[self.cut :])
        return [piece.replace(CREDENTIAL, credential) for piece in pieces if piece]


_IDS: Final = st.one_of(
    st.just(OWN), TEXTS.map(lambda text: quote(text.encode("utf-8", "surrogatepass"), safe=""))
)
_NUMBERS: Final = st.sampled_from(
    (
        "1",
        "2",
        "0",
        "-1",
        "01",
        "1.0",
        "1e3",
        "0x1",
        "٣",
        "%D9%A3",
        "+1",
        "1_000",
        "NaN",
        "9" * 18,
        "9" * 19,
        "9" * 5000,
    )
)
_TARGETS: Final = st.one_of(
    st.builds("/clients/{}/documents/{}".format, _IDS, st.one_of(_NUMBERS, _IDS)),
    st.builds("/clients/{}/upload-document".format, _IDS),
    st.sampled_from(
        (
            *(
                "/",
                "*",
                "//",
                "/clients",
                "/clients/",
                "/clients//upload-document",
                "/clients/acme/upload-document/",
            ),
            *(
                "/clients/acme/../globex/documents/1",
                "/clients/acme%2f..%2fglobex/documents/1",
                "/clients/acme/documents/1?x=%ff",
            ),
            *(
                "/clients/globex/documents/1",
                "/clients/acme/documents/1/",
                "/clients/acme/documents/",
                "/health",
                "/health/",
            ),
            *(
                "/docs",
                "/redoc",
                "/openapi.json",
                "/docs/oauth2-redirect",
                "/nginx-health",
                "/_problem",
                "/metrics",
            ),
            *(
                "http://elsewhere/health",
                "https://[::1/health",
                "health",
                "/%",
                "/%zz",
                "/%00",
                "/\xe9",
                "/health#x",
                "?",
            ),
            *("/" + "a" * 9000, "/health?" + "a=b&" * 1500, "/clients/" + "a" * 7000 + "/documents/1"),
        )
    ),
    mostly("/clients", LINES.map(lambda text: "/" + text.decode("latin-1"))),
)
_METHODS: Final = mostly(
    "GET",
    st.sampled_from(
        ("PUT",) * 8 + ("HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND")
    ),
).flatmap(lambda usual: mostly(usual, st.sampled_from(("get", "FOO", "", "G\0T", "GET" * 500))))
_VERSIONS: Final = mostly(
    "HTTP/1.1", st.sampled_from(("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "HTTP", "", "http/1.1"))
)
_HEADERS: Final = st.one_of(
    st.sampled_from(
        (
            b"X-Correlation-ID: 0f8fad5b-d9cb-469f-a165-70867728950e",
            b"X-Correlation-ID: 0F8FAD5B-D9CB-469F-A165-70867728950E",
            b"X-Correlation-ID: ' OR 1=1 --",
            b"X-Correlation-ID: 0f8fad5b-d9cb-469f-a165-70867728950e\r\nX-Correlation-ID: 1",
            b"traceparent: 00-00000000000000000000000000000000-0000000000000000-01",
            b"traceparent: ff-" + b"f" * 32 + b"-" + b"f" * 16 + b"-ff",
            b"tracestate: " + b"a=b," * 200,
            b"baggage: client_id=globex,x=%ff",
            b"Robin-Actor: user:1",
            b"Idempotency-Key: k",
            b"Idempotency-Key: " + b"k" * 300,
            b"Idempotency-Key: \xff",
            b'Idempotency-Key: "a"\r\nIdempotency-Key: "b"',
            b"X-Forwarded-For: 1.2.3.4, \xff",
            b"X-Forwarded-Proto: gopher",
            b"X-Real-IP: x",
            b"Host: a\r\nHost: b",
            b"Host: [",
            b"Expect: 100-continue",
            b"Expect: 200-ok",
            b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
            b"Range: bytes=0-",
            b"Accept: nothing/*",
            b"Accept-Encoding: gzip",
            b"Content-Encoding: gzip",
            b"If-None-Match: *",
            b"Cookie: " + b"a=b; " * 100,
            b"X-HTTP-Method-Override: DELETE",
            b"X: " + b"y" * 9000,
            b"X: " + b"y" * 70000,
            b"\r\n".join(b"X-%d: y" % number for number in range(300)),
            b" folded",
            b"no colon",
            b"X : y",
            b": y",
            b"X:\0",
            b"X: a\rb",
            b"X\0: y",
        )
    ),
    st.builds(lambda name, value: name + b": " + value, LINES, LINES),
)
_CREDENTIALS: Final = st.one_of(
    st.sampled_from(
        (
            b"X-API-Key: robin_000000000000_" + b"0" * 64,
            b"X-API-Key: ",
            b"X-API-Key: \xff",
            b"Authorization: Bearer e30.e30.e30",
            b"Authorization: Bearer eyJhbGciOiJub25lIn0.e30.",
            b"Authorization: Bearer " + b"a" * 7000,
            b"Authorization: Bearer \xff",
            b"Authorization: Basic Og==",
            b"Authorization: ",
            b"X-API-Key: a\r\nAuthorization: Bearer b",
        )
    ),
    st.builds(lambda text: b"X-API-Key: " + text, LINES),
    st.builds(lambda text: b"Authorization: Bearer " + text, LINES),
)


def _chunked(body: bytes, size: int) -> bytes:
    """Return a body in chunks of this size, but not in too many."""
    size = max(size, len(body) // 300, 1)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@st.composite
def _wrong_chunks(draw: st.DrawFn, body: bytes) -> bytes:
    """Return a body in one chunk that is odd."""
    sizes = (b"%x" % len(body), b"%X;a=b" % len(body), b"0x9", b"f" * 17, b"-5", b"", b"zz", b"+1")
    ends = (b"", b"0\r\n", b"0\r\nX: y\r\n\r\n", b"00000\r\n\r\n", b"-1\r\n", b"0;x=\xff\r\n\r\n")
    return CRLF.join((draw(st.sampled_from(sizes)), body, draw(st.sampled_from(ends))))


def _wrong_frames(length: int) -> tuple[bytes, ...]:
    """Return headers that say something else of a body than it is."""
    return (
        b"Content-Length: %d" % (length + 5),
        b"Content-Length: %d" % max(0, length - 5),
        b"Content-Length: 99999999999999999999999",
        b"Content-Length: 9223372036854775807",
        b"Content-Length: 50000000000",
        b"Content-Length: -1",
        b"Content-Length: +%d" % length,
        b"Content-Length: 0x%x" % length,
        b"Content-Length: %d, %d" % (length, length),
        b"Content-Length: \xb2",
        b"Content-Length: ",
        b"Content-Length: %d\r\nContent-Length: 1" % length,
        b"Content-Length: %d\r\nTransfer-Encoding: chunked" % length,
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: identity",
        b"X-No-Frame: 1",
    )


@st.composite
def _framed(draw: st.DrawFn, body: bytes) -> tuple[bytes, bytes, bool]:
    """Return the header that frames a body, the body on the wire, and whether that is the truth."""
    how = draw(st.integers(0, 9))
    if how < 6:
        return b"Content-Length: %d" % len(body), body, True
    chunked = b"Transfer-Encoding: chunked"
    if how < 8:
        return chunked, _chunked(body, draw(st.sampled_from((1, 7, 4096, 65536)))), True
    if how < 9:
        return chunked, draw(_wrong_chunks(body)), False
    return draw(st.sampled_from(_wrong_frames(len(body)))), body, False


def _cuts(data: bytes) -> st.SearchStrategy[int]:
    """Return where the bytes are cut in two for sending: mostly nowhere."""
    return st.one_of(st.just(0), st.just(0), st.integers(0, len(data)))


@st.composite
def uploads(draw: st.DrawFn) -> Attempt:
    """Return an upload by its own client whose request line is right: what follows need not be."""
    content_type, body = draw(forms())
    framing, wire, complete = draw(_framed(body))
    headers = [b"Host: x", b"Connection: close", b"Content-Type: " + content_type, framing]
    extra = draw(mostly([], st.lists(_HEADERS, min_size=1, max_size=1)))
    head = CRLF.join((b"PUT /clients/acme/upload-document HTTP/1.1", *headers, *extra))
    data = head + CRLF + CREDENTIAL + CRLF + wire
    return Attempt("PUT", data, complete and not extra, draw(_cuts(data)))


@st.composite
def requests(draw: st.DrawFn) -> Attempt:
    """Return any request, or what is meant to look like one."""
    method = draw(_METHODS)
    line = f"{method} {draw(_TARGETS)} {draw(_VERSIONS)}".encode("latin-1", "replace")
    headers, body = [draw(mostly(b"Host: x", st.just(b"X-No-Host: 1")))], b""
    if draw(st.booleans()):
        content_type, form = draw(forms())
        framing, body, _ = draw(_framed(form))
        headers += [b"Content-Type: " + content_type, framing]
    headers += draw(mostly([], st.lists(_HEADERS, min_size=1, max_size=3)))
    own = draw(st.booleans())
    if not own:
        headers += draw(st.lists(_CREDENTIALS, max_size=2))
    end = draw(mostly(CRLF, st.just(b"\n")))
    data = end.join((line, *headers)) + end + (CREDENTIAL if own else b"") + CRLF + body
    return Attempt(method, data, complete=False, cut=draw(_cuts(data)))


@st.composite
def noise(draw: st.DrawFn) -> Attempt:
    """Return what is no HTTP, or was HTTP before something fell on it."""
    if draw(st.booleans()):
        return Attempt("GET", draw(st.binary(min_size=1, max_size=300)), complete=False)
    whole = draw(st.one_of(uploads(), requests()))
    data = bytearray(whole.data)
    for _ in range(draw(st.integers(1, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return replace(whole, data=bytes(data), complete=False)


# Noise is nearly always refused at its first byte: a little of it is enough.
ATTEMPTS: Final = st.sampled_from((uploads(),) * 8 + (requests(),) * 5 + (noise(),)).flatmap(
    lambda kind: kind
)

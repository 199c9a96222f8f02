"""Requests to the data store whose JSON is wrong in every way, and right ones among them."""

import json
from typing import Any, Final

from hypothesis import strategies as st

from tests.fuzz.attempts import CREDENTIAL, Attempt
from tests.fuzz.bodies import CRLF, TEXTS, long, mostly
from tests.records import DOCUMENT

_CLAIM: Final = {"prefix": "0" * 12, "digest": "0" * 64}
# A document of its own each time: a storage key is nobody else's.
_DOCUMENTS: Final = st.uuids().map(lambda key: {**DOCUMENT, "storage_key": key.hex})
_ROUTES: Final[dict[str, st.SearchStrategy[dict[str, Any]]]] = {
    # Of a client that nobody asks for its bytes: there are none.
    "/clients/records/documents": _DOCUMENTS,
    "/principals/by-key": st.just(_CLAIM),
    "/principals/by-subject": TEXTS.map(lambda subject: {"subject": subject}),
    "/summary-jobs/claimed": st.just({"most": 1, "kept_seconds": 1.0}),
    "/storage-keys/known": st.lists(TEXTS, max_size=5).map(lambda keys: {"keys": keys}),
}
_ODD_VALUES: Final = st.one_of(
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from((2**63, -(2**63), 10**400, [], {}, [[]] * 3, {"": None})),
    long(("a", 100_001)),
)
_RAW: Final = st.one_of(
    st.sampled_from(
        (b"", b"null", b"[]", b"{}", b'"', b"{", b"{}{}", b"NaN", b"1e999", b"-", b"\xff", b"\xef\xbb\xbf{}")
    ),
    st.sampled_from(
        (b'{"subject":"\\ud800"}', b'{"\\ud800":1}', b'{"\\u0000":1}', b'{"subject":"\xed\xa0\x80"}', b"\0")
    ),
    st.sampled_from((b'{"subject":"a","subject":"b"}', b'{"keys":[' + b'"a",' * 1500 + b'"a"]}')),
    long((b"[", 100_000), (b'{"a":', 100_000), (b"1", 5000)),
)
_CONTENT_TYPES: Final = mostly(
    b"application/json",
    st.sampled_from(
        (b"application/json; charset=utf-16", b"text/plain", b"application/problem+json", b"", b"\xff")
    ),
)


@st.composite
def _bodies(draw: st.DrawFn, route: str) -> bytes:
    """Return a body for a route: mostly right but for one field."""
    if draw(st.integers(0, 3)) == 0:
        return draw(_RAW)
    content = dict(draw(_ROUTES[route]))
    if draw(st.booleans()):
        content[draw(st.one_of(st.sampled_from(sorted(content)), TEXTS))] = draw(_ODD_VALUES)
    text = json.dumps(content, ensure_ascii=draw(st.booleans()))
    return text.encode("utf-8", "surrogatepass")


@st.composite
def record_requests(draw: st.DrawFn) -> Attempt:
    """Return a request to the data store by another service."""
    route = draw(st.sampled_from(sorted(_ROUTES)))
    body = draw(_bodies(route))
    head = (
        f"POST {route} HTTP/1.1".encode(),
        b"Host: x",
        b"Connection: close",
        b"Content-Type: " + draw(_CONTENT_TYPES),
        draw(
            mostly(
                b"Robin-Actor: user:1", st.sampled_from((b"Robin-Actor: \xff", b"Robin-Actor: " + b"u" * 300))
            )
        ),
    )
    if draw(st.booleans()):
        framing, wire = b"Content-Length: %d" % len(body), body
    else:
        framing, wire = (
            b"Transfer-Encoding: chunked",
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n",
        )
    return Attempt("POST", CRLF.join((*head, framing)) + CRLF + CREDENTIAL + CRLF + wire, complete=True)

"""Multipart bodies, right and wrong, and the texts that names are made of."""

from typing import Any, Final
from urllib.parse import quote

from hypothesis import strategies as st

CRLF: Final = b"\r\n"
_USUAL: Final = 8  # times as often as what is unusual


def mostly(usual: object, *others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the usual, and now and then something else: what is wrong everywhere is refused at the first look."""
    choice = [st.just(usual)] * (_USUAL * len(others)) + list(others)
    return st.sampled_from(choice).flatmap(lambda chosen: chosen)


def long(*parts: tuple[Any, int]) -> st.SearchStrategy[Any]:
    """Return one of these texts that are a short one many times."""
    return st.sampled_from(parts).map(lambda part: part[0] * part[1])


_NASTY: Final = (
    *(
        "",
        ".",
        "..",
        "/",
        "\\",
        " ",
        "\t",
        "~",
        "*",
        "%",
        "%00",
        "%2e%2e%2f",
        "../../etc/passwd",
        "C:\\a\\b.txt",
    ),
    *(
        "a\0b",
        "\x01\x1f\x7f\x85",
        "\ufeff",
        "\u202egpj.exe",
        "\ud800",
        "\udfff\ud800",
        "a\u0301" * 40,
        "\U0010ffff",
    ),
    *(
        "CON",
        "nul.txt",
        "data:text/html,x",
        "a" * 255,
        "a" * 256,
        "a" * 5000,
        "é" * 255,
        "🙂" * 255,
        "-rf",
        "a\r\nX: y",
    ),
    *(
        "' OR 1=1 --",
        "${7*7}",
        "{{7*7}}",
        "%s%n",
        "<script>alert(1)</script>",
        "=cmd|' /C calc'!A0",
        "//[",
        "a:b:c",
    ),
)
TEXTS: Final = st.one_of(st.sampled_from(_NASTY), st.text(max_size=40), st.text(st.characters(), max_size=40))
BYTES: Final = st.one_of(
    TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
    st.sampled_from((b"\xff\xfe\x00", b"\xc0\xaf", b"\xed\xa0\x80", b"\x80" * 70, b"\0" * 9000)),
)


def _line(text: bytes) -> bytes:
    """Return bytes that end no line by themselves."""
    return text.replace(b"\r", b"").replace(b"\n", b"")


LINES: Final = BYTES.map(_line)


_BOUNDARIES: Final = st.one_of(
    st.sampled_from((b"----WebKitFormBoundary7MA4YWxkTrZu0gW", b"-", b"--", b"'()+_,-./:=?", b"b" * 70)),
    st.sampled_from((b"", b" ", b"b" * 71, b"b b", b"\xff", b'"', b"\0", b"a\tb")),
    LINES,
)
_CONTENTS: Final = st.one_of(
    st.sampled_from(
        (b"The harbour of Bergen is old. Seagulls are loud.", b"x", b"", b"\r\n", b"\0", b"\xff\xfe" * 9)
    ),
    st.sampled_from((b"\r\n--", b"\r\n--b", b"--b--\r\n", "\ufeffa".encode("utf-16"), b"\xef\xbb\xbf")),
    long(
        (b"a. ", 9000),
        (b"(", 20_000),
        (b"\n", 20_000),
        (b"x", 99_999),
        (b"x", 100_001),
        (b"\xe4. ", 99),
        ("🙂.".encode(), 999),
    ),
    BYTES,
)
_FILE: Final = b'form-data; name="file"; filename="a.txt"'


@st.composite
def _dispositions(draw: st.DrawFn) -> bytes:
    """Return a Content-Disposition, most of them of a file."""
    name = draw(mostly(b"file", LINES))
    filename = draw(LINES)
    percent = quote(filename, safe="").encode()
    shape = draw(
        st.sampled_from(
            (
                b'form-data; name="%(name)s"; filename="%(file)s"',
                b"form-data; name=%(name)s; filename=%(file)s",
                b'form-data; name="%(name)s"; filename="%(file)s"; filename*=UTF-8\'\'%(percent)s',
                b"form-data; name=\"%(name)s\"; filename*=UTF-8''%(percent)s",
                b"form-data; name=\"file\"; filename*=nonsense'%(name)s'%(percent)s",
                b'form-data; name="file"; filename*0="%(file)s"; filename*1="b"',
                b'form-data; name="file"; name="%(name)s"; filename="a"; filename="%(file)s"',
                b'form-data; name="file"; filename="%(file)s',
                b'attachment; name="%(name)s"; filename="%(file)s"',
                b'form-data; name="%(name)s"',
                b'; name="file"; filename="%(file)s";;;=;',
                b"%(file)s",
            )
        )
    )
    return shape % {b"name": name, b"file": filename, b"percent": percent}


_PART_HEADERS: Final = st.one_of(
    st.sampled_from(
        (
            b"Content-Type: text/plain",
            b"Content-Type: text/plain; charset=\xff",
            b"Content-Transfer-Encoding: base64",
            b"Content-Length: 99999999999999999999",
            b"Content-Disposition: " + _FILE,
            b": nothing",
            b"no colon",
            b" folded",
            b"X: " + b"y" * 5000,
            b"\0: \0",
            b"",
        )
    ),
    st.builds(lambda text: b"Content-Type: " + text, LINES),
    LINES,
)
_LINE_ENDS: Final = mostly(CRLF, st.sampled_from((b"\n", b"\r", b"")))


@st.composite
def _parts(draw: st.DrawFn) -> bytes:
    """Return a part's headers and content."""
    headers = [b"Content-Disposition: " + draw(st.one_of(st.just(_FILE), _dispositions()))]
    headers += draw(mostly([], st.lists(_PART_HEADERS, min_size=1, max_size=3)))
    return draw(_LINE_ENDS).join((*draw(st.permutations(headers)), b"", draw(_CONTENTS)))


@st.composite
def _bodies(draw: st.DrawFn, boundary: bytes) -> bytes:
    """Return a multipart body, whole or not."""
    parts = draw(mostly(None, st.lists(_parts(), max_size=4))) or [draw(_parts())]
    parts *= draw(mostly(1, st.sampled_from((0, 2, 500))))
    used = draw(mostly(boundary, st.sampled_from((boundary[:-1], boundary + b"x", boundary.upper(), b""))))
    end = draw(mostly(b"--\r\n", st.sampled_from((b"--", b"", b"-", b"--x", b"--\r\n--" + boundary))))
    body = b"".join(b"--" + used + CRLF + part + CRLF for part in parts) + b"--" + used + end
    body = body[: draw(mostly(len(body), st.integers(0, len(body))))]
    before = draw(mostly(b"", st.sampled_from((b"preamble\r\n", b"\0" * 100, b"\r\n"))))
    return before + body + draw(mostly(b"", st.sampled_from((b"epilogue", b"\r\n" * 100))))


def _file_in(boundary: bytes, content: bytes) -> bytes:
    """Return a body that nothing is wrong with."""
    head = b"--" + boundary + b"\r\nContent-Disposition: " + _FILE + b"\r\n\r\n"
    return head + content + b"\r\n--" + boundary + b"--\r\n"


_CONTENT_TYPES: Final = mostly(
    b"multipart/form-data; boundary=%s",
    st.sampled_from(
        (
            b'multipart/form-data; boundary="%s"',
            b"multipart/form-data; boundary=%s; boundary=c",
            b"Multipart/Form-Data;boundary=%s;charset=utf-16",
            b"multipart/mixed; boundary=%s",
            b"multipart/form-data",
            b"multipart/form-data; boundary*=utf-8''%s",
            b"application/json",
            b"",
            b"\xff/\xff; %s",
        )
    ),
)


@st.composite
def forms(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return a Content-Type and a body."""
    boundary = draw(mostly(b"b", _BOUNDARIES))
    content_type = draw(_CONTENT_TYPES).replace(b"%s", boundary)
    others = (BYTES, _CONTENTS.map(lambda content: _file_in(boundary, content)))
    return _line(content_type), draw(st.one_of(_bodies(boundary), _bodies(boundary), *others))

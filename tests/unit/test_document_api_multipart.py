"""The one file of a multipart body, however it is cut, and every body that is none."""

import itertools
from collections.abc import AsyncIterator, Iterable

import pytest
from starlette.requests import ClientDisconnect, Request

from document_api.documents.multipart import MultipartFile, safe_filename
from document_api.settings import MULTIPART_ENVELOPE_BYTES
from observability import Problem

BOUNDARY = "XX"
LIMIT = 1000
CONTENT = b"one\r\n--X\r\n--\r\nXX two\r\n"


def part(content: bytes, disposition: str = 'name="file"; filename="a.txt"', *headers: str) -> bytes:
    """Return one part with its opening boundary."""
    lines = [f"Content-Disposition: form-data; {disposition}", *headers]
    return f"--{BOUNDARY}\r\n".encode() + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def body(*parts: bytes) -> bytes:
    """Return a whole body."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def request(pieces: Iterable[bytes], content_type: str | None = None, length: int | None = None) -> Request:
    """Return a request whose body arrives in these pieces, with a disconnect after the last when it is cut."""
    headers = [(b"content-type", (content_type or f"multipart/form-data; boundary={BOUNDARY}").encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, object]:
        return waiting.pop(0)

    return Request({"type": "http", "method": "PUT", "path": "/", "headers": headers}, receive)


async def read(upload: MultipartFile, limit: int = LIMIT) -> bytes:
    """Return all bytes of the file."""
    return b"".join([chunk async for chunk in upload.chunks(limit)])


async def upload(data: bytes, limit: int = LIMIT, content_type: str | None = None) -> tuple[bytes, str, str]:
    """Return content, name and type of the file in a body that arrives at once."""
    file = MultipartFile(request([data], content_type))
    return await read(file, limit), file.filename, file.media_type


async def refusal(data: bytes, limit: int = LIMIT, content_type: str | None = None) -> tuple[int, str]:
    """Return how a body is refused."""
    with pytest.raises(Problem) as problem:
        await upload(data, limit, content_type)
    return problem.value.status, problem.value.detail


async def test_every_cut_of_the_body_gives_the_same_file() -> None:
    """Networks cut anywhere: inside a boundary, a header, a line end."""
    whole = b"\r\n" + body(
        part(b"before", 'name="note"'),
        part(CONTENT, 'name="file"; filename="n\u00e4me.txt"'),
        part(b"after", 'name="x"'),
    )
    for cut in range(len(whole) + 1):
        file = MultipartFile(request([whole[:cut], whole[cut:]]))
        assert await read(file) == CONTENT, cut
        assert file.filename == "näme.txt", cut


async def test_a_body_that_arrives_byte_by_byte_gives_the_same_file() -> None:
    """The slowest client is served as well."""
    whole = body(part(CONTENT))
    assert await read(MultipartFile(request(bytes([byte]) for byte in whole))) == CONTENT


async def test_every_truncation_of_the_body_is_refused() -> None:
    """What was cut short is never taken for a file."""
    whole = body(part(CONTENT))
    for end in range(whole.index(f"--{BOUNDARY}--".encode()) + len(BOUNDARY) + 3):
        status, _ = await refusal(whole[:end])
        assert status == 400, end


async def test_a_client_that_hangs_up_is_not_a_bad_body() -> None:
    """Starlette's own exception goes through: nobody is there to be told."""

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    scope = request([]).scope
    with pytest.raises(ClientDisconnect):
        await read(MultipartFile(Request(scope, receive)))


async def test_an_epilogue_is_no_part_of_the_file() -> None:
    """RFC 2046 allows text after the last boundary; it is ignored."""
    content, _, _ = await upload(body(part(CONTENT)) + b"good bye")
    assert content == CONTENT


async def test_a_preamble_is_a_400() -> None:
    """No client writes one into a form: what stands before the first boundary is a mistake, but for line ends."""
    status, _ = await refusal(b"hello\r\n" + body(part(CONTENT)))
    assert status == 400


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="file"; filename="a.txt"', "a.txt"),
        ("name=file; filename=a.txt", "a.txt"),
        ('filename="a.txt"; name="file"', "a.txt"),
        ('name="file"; filename="über 中文 🙂.md"', "über 中文 🙂.md"),
        ('name="file"; filename="a\\"b.txt"', 'a"b.txt'),
        ('name="file"; filename="a%22b.txt"', "a%22b.txt"),
        ('name="file"; filename="x;y=z.txt"', "x;y=z.txt"),
        ('name="file"; filename="../../etc/passwd"', "passwd"),
        ('name="file"; filename="C:\\\\docs\\\\a.txt"', "a.txt"),
        ('name="file"; filename="/abs/a.txt"', "a.txt"),
        ('name="file"; filename="a.txt"; filename*=UTF-8\'\'b.txt', "a.txt"),
    ],
)
async def test_the_name_is_the_last_component_of_what_was_sent(disposition: str, name: str) -> None:
    """UTF-8 as browsers and curl send it; a name is never a path."""
    _, found, _ = await upload(body(part(CONTENT, disposition)))
    assert found == name


@pytest.mark.parametrize(
    "disposition",
    [
        'name="file"',
        'name="file"; filename=""',
        'name="file"; filename=".."',
        'name="file"; filename="a/"',
        'name="file"; filename="\t "',
        # RFC 7578, 4.2 forbids it in forms.
        "name=\"file\"; filename*=UTF-8''a.txt",
    ],
)
async def test_a_file_without_a_usable_name_is_a_422(disposition: str) -> None:
    """The client is told what is accepted."""
    status, detail = await refusal(body(part(CONTENT, disposition)))
    assert status == 422
    assert "file name" in detail


def test_unprintable_characters_leave_the_name() -> None:
    """No name breaks a terminal or a log."""
    assert safe_filename("a\x00b\x1b[31m\n.txt") == "ab[31m.txt"


def test_a_long_name_is_cut() -> None:
    """To what the data store keeps."""
    assert len(safe_filename("x" * 1000)) == 255


async def test_a_name_that_is_no_utf8_is_kept_readable() -> None:
    """Old clients send Latin-1: the file is taken all the same."""
    data = body(part(CONTENT)).replace(b"a.txt", b"caf\xe9.txt")
    _, name, _ = await upload(data)
    assert name == "caf\ufffd.txt"


@pytest.mark.parametrize(
    ("headers", "name", "media_type"),
    [
        (["Content-Type: text/markdown"], "a.bin", "text/markdown"),
        (["content-type: Text/Plain; charset=utf-8"], "a.bin", "text/plain"),
        ([], "a.txt", "text/plain"),
        ([], "a", "application/octet-stream"),
        (["Content-Type: nonsense"], "a.json", "application/json"),
        (["Content-Type: a/" + "b" * 200], "a", "application/octet-stream"),
        (["Content-Type: text/<script>"], "a.txt", "text/plain"),
    ],
)
async def test_the_type_is_the_declared_one_or_the_names(
    headers: list[str], name: str, media_type: str
) -> None:
    """Nonsense is no type."""
    _, _, found = await upload(body(part(CONTENT, f'name="file"; filename="{name}"', *headers)))
    assert found == media_type


async def test_other_fields_are_skipped() -> None:
    """Before and after the file."""
    content, name, _ = await upload(body(part(b"x", 'name="a"'), part(CONTENT), part(b"y", 'name="b"')))
    assert (content, name) == (CONTENT, "a.txt")


async def test_a_file_in_another_field_is_no_file() -> None:
    """The field is named `file`."""
    status, detail = await refusal(body(part(CONTENT, 'name="document"; filename="a.txt"')))
    assert status == 422
    assert "'file'" in detail


async def test_two_files_are_refused() -> None:
    """One upload is one document."""
    status, detail = await refusal(body(part(CONTENT), part(CONTENT)))
    assert status == 422
    assert "more than one" in detail


async def test_an_empty_file_is_refused() -> None:
    """There is nothing to keep."""
    status, detail = await refusal(body(part(b"")))
    assert status == 422
    assert "empty" in detail


@pytest.mark.parametrize("data", [b"", b"--XX--\r\n"])
async def test_an_empty_form_is_refused(data: bytes) -> None:
    """With no part there is no file."""
    status, _ = await refusal(data)
    assert status in {400, 422}


@pytest.mark.parametrize(
    "data",
    [
        b"this is no multipart",
        b"--YY\r\n\r\n",
        b"--XX\r\nno colon here\r\n\r\nabc\r\n--XX--\r\n",
        b"--XX\r\n: no name\r\n\r\nabc\r\n--XX--\r\n",
        b"--XXabc\r\n",
        b"--XX\nContent-Disposition: form-data\n\nabc\n--XX--\n",
    ],
)
async def test_a_malformed_body_is_a_400(data: bytes) -> None:
    """It says what is wrong and what is accepted."""
    status, detail = await refusal(data)
    assert status == 400
    assert "send one multipart/form-data part" in detail


async def test_an_endless_part_header_is_a_400() -> None:
    """Headers are held in memory, so they are bounded."""
    status, _ = await refusal(
        body(part(CONTENT, 'name="file"; filename="a.txt"', "X: " + "x" * 100_000)), 10**6
    )
    assert status == 400


async def test_endless_part_headers_are_a_400() -> None:
    """Their number is bounded as well."""
    status, _ = await refusal(body(part(CONTENT, 'name="file"', *(f"X-{n}: x" for n in range(5000)))), 10**6)
    assert status == 400


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ("text/plain", 415),
        ("multipart/mixed; boundary=XX", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        (f"multipart/form-data; boundary={'x' * 71}", 400),
    ],
)
async def test_a_body_of_another_kind_is_refused(content_type: str, status: int) -> None:
    """415 for another type, 400 where the boundary is missing or too long."""
    found, detail = await refusal(body(part(CONTENT)), content_type=content_type)
    assert found == status
    assert "send one multipart/form-data part" in detail


@pytest.mark.parametrize(("length", "accepted"), [(70, True), (71, False)])
async def test_a_boundary_has_at_most_seventy_characters(length: int, *, accepted: bool) -> None:
    """RFC 2046, 5.1.1: what is held to find the next boundary is bounded."""
    long = b"x" * length
    data = body(part(CONTENT)).replace(BOUNDARY.encode() + b"\r", long + b"\r").replace(b"XX--", long + b"--")
    content_type = f"multipart/form-data; boundary={long.decode()}"
    if accepted:
        assert (await upload(data, content_type=content_type))[0] == CONTENT
    else:
        assert (await refusal(data, content_type=content_type))[0] == 400


async def test_a_quoted_boundary_is_understood() -> None:
    """RFC 2046 allows quotes."""
    content, _, _ = await upload(body(part(CONTENT)), content_type='multipart/form-data; boundary="XX"')
    assert content == CONTENT


async def test_a_file_of_exactly_the_limit_is_taken() -> None:
    """The limit itself is allowed."""
    content, _, _ = await upload(body(part(b"x" * LIMIT)))
    assert len(content) == LIMIT


async def test_one_byte_more_than_the_limit_is_a_413() -> None:
    """And the detail names the limit."""
    status, detail = await refusal(body(part(b"x" * (LIMIT + 1))))
    assert status == 413
    assert str(LIMIT) in detail


async def test_a_body_that_declares_too_much_is_refused_unread() -> None:
    """Content-Length saves reading what will not be kept."""

    async def receive() -> dict[str, object]:
        raise AssertionError("read")

    scope = request([], length=LIMIT + MULTIPART_ENVELOPE_BYTES + 1).scope
    with pytest.raises(Problem) as problem:
        await read(MultipartFile(Request(scope, receive)))
    assert problem.value.status == 413


async def test_the_limit_holds_while_streaming() -> None:
    """An endless chunked body is given up at the limit, not at its end."""
    taken = 0

    def endless() -> Iterable[bytes]:
        nonlocal taken
        yield body(part(b"x"))[:-9]
        while True:
            taken += 1
            yield b"x" * 100

    scope = request([]).scope
    pieces = iter(endless())

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": next(pieces), "more_body": True}

    with pytest.raises(Problem) as problem:
        await read(MultipartFile(Request(scope, receive)))
    assert problem.value.status == 413
    assert taken <= LIMIT / 100


async def test_other_fields_are_bounded_as_well() -> None:
    """A form without end is no way around the limit."""
    status, _ = await refusal(
        body(part(b"x" * (LIMIT + MULTIPART_ENVELOPE_BYTES), 'name="note"'), part(CONTENT))
    )
    assert status == 413


async def test_the_file_is_handed_on_while_the_body_still_arrives() -> None:
    """Never more than a chunk of it is held."""
    arrived: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            arrived.append(f"in {number}")
            yield [part(b"0" * 100)[:-2], b"1" * 100, b"\r\n--XX--\r\n"][number]

    source = pieces()

    async def receive() -> dict[str, object]:
        piece = await anext(source, b"")
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    async for chunk in MultipartFile(Request(request([]).scope, receive)).chunks(LIMIT):
        arrived.append(f"out {chunk[:1].decode()}")  # noqa: PERF401  the order is the point

    assert arrived[:4] == ["in 0", "out 0", "in 1", "out 1"]


@pytest.mark.parametrize(("bytes_per_second", "accepted"), [(3, False), (1, True), (0, True)])
async def test_an_upload_that_crawls_is_a_408_after_its_grace(
    bytes_per_second: int, *, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bytes a second would hold a place for hours; a slow line, and a connection that gets going, may be."""
    clock = itertools.count()
    monkeypatch.setattr("document_api.documents.multipart.time.monotonic", lambda: float(next(clock)))
    data = body(part(b"x" * 200))
    crawling = MultipartFile(request([data[at : at + 2] for at in range(0, len(data), 2)]))

    async def read_all() -> int:
        return sum([len(chunk) async for chunk in crawling.chunks(LIMIT, bytes_per_second)])

    if accepted:
        assert await read_all() == 200
        return
    with pytest.raises(Problem) as refused:
        await read_all()
    assert refused.value.status == 408
    assert next(clock) > 30

"""The files of a multipart/form-data body (RFC 7578), streamed: never more than a chunk of one in memory."""

import mimetypes
import re
import time
from collections.abc import AsyncIterator
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from document_api.settings import MULTIPART_ENVELOPE_BYTES
from observability import Problem

FIELD: Final = "file"
ACCEPTED: Final = f"send one multipart/form-data part named '{FIELD}' with a file name"
MAX_FILENAME_CHARS: Final = 255
_DEFAULT_TYPE: Final = "application/octet-stream"
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_MAX_BOUNDARY_BYTES: Final = 70  # RFC 2046, 5.1.1
# A connection may need a while to get going.
_GRACE_SECONDS: Final = 30.0


class BadMultipart(Problem):
    """The body is not what RFC 7578 says, or was cut short."""

    status = 400


class WrongForm(Problem):
    """The body is well-formed, but not one file with a name."""

    status = 422


class TooLarge(Problem):
    """The file has more bytes than are accepted."""

    status = 413

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The file is larger than {max_bytes} bytes, the most that is accepted.")


class TooSlow(Problem):
    """The body comes in so slowly that it would hold a place for hours."""

    status = 408

    def __init__(self, bytes_per_second: int) -> None:
        super().__init__(
            f"The upload comes slower than {bytes_per_second} bytes a second.",
            headers={"Connection": "close"},
        )


class PartHeaders(dict[str, str]):
    """The headers of a part, their names in lower case."""

    @property
    def of_a_file(self) -> bool:
        """Tell whether the part is one named `file`."""
        return self._options().get(b"name") == FIELD.encode()

    def name_and_type(self) -> tuple[str, str]:
        """Return the file's name and media type; raises Problem (422) where it has no usable name."""
        filename = safe_filename(self._options().get(b"filename", b"").decode("utf-8", "replace"))
        return filename, _media_type(self.get("content-type", ""), filename)

    def _options(self) -> dict[bytes, bytes]:
        return parse_options_header(self.get("content-disposition"))[1]


class MultipartFile:
    """The part named `file` of a request; its name and type are known once the first chunk is there."""

    def __init__(self, request: Request) -> None:
        self._form = _Form(request)
        self.filename = ""
        self.media_type = _DEFAULT_TYPE

    async def chunks(self, max_bytes: int, min_bytes_per_second: int = 0) -> AsyncIterator[bytes]:
        """Yield the file's bytes as they arrive, and check the whole body on the way.

        Raises Problem: 400 malformed or cut short, 408 slower than allowed, 413 more than `max_bytes`, 415 not multipart, 422 no file, two
        files, an empty file or no file name.
        """
        size = 0
        async for part in self._form.parts(max_bytes, min_bytes_per_second):
            if isinstance(part, PartHeaders):
                self._enter(part)
                continue
            size += len(part)
            if size > max_bytes:
                raise TooLarge(max_bytes)
            yield part
        if not self.filename:
            raise WrongForm(f"The form has no file in a field '{FIELD}'; {ACCEPTED}.")
        if size == 0:
            raise WrongForm(f"The file is empty; {ACCEPTED} and at least one byte.")

    def _enter(self, headers: PartHeaders) -> None:
        """Begin the file: take its name and type."""
        if self.filename:
            raise WrongForm(f"The form has more than one '{FIELD}'; {ACCEPTED}.")
        self.filename, self.media_type = headers.name_and_type()


class OneOfSeveral:
    """One of the parts named `file` of a request that has several, to be read before the next one."""

    def __init__(self, headers: PartHeaders, parts: "_Lookahead") -> None:
        self._headers = headers
        self._parts = parts
        self.filename = ""
        self.media_type = _DEFAULT_TYPE

    async def chunks(self, max_bytes: int, _min_bytes_per_second: int = 0) -> AsyncIterator[bytes]:
        """Yield the file's bytes as they arrive; raises Problem as MultipartFile does, for this file."""
        self.filename, self.media_type = self._headers.name_and_type()
        size = 0
        async for part in self._parts.until_headers():
            size += len(part)
            if size > max_bytes:
                raise TooLarge(max_bytes)
            yield part
        if size == 0:
            raise WrongForm(f"The file is empty; {ACCEPTED} and at least one byte.")


class MultipartFiles:
    """All parts named `file` of a request, one after the other."""

    def __init__(self, request: Request) -> None:
        self._form = _Form(request)

    async def files(self, max_bytes: int, min_bytes_per_second: int) -> AsyncIterator[OneOfSeveral]:
        """Yield each file when its headers are there; what of it is not read is passed over.

        Raises Problem: 400 malformed or cut short, 408 slower than allowed, 413 a body of more than `max_bytes`, 415 not multipart.
        """
        parts = _Lookahead(self._form.parts(max_bytes, min_bytes_per_second))
        while headers := await parts.next_headers():
            yield OneOfSeveral(headers, parts)


class _Lookahead:
    """Goes through the parts of a form, file by file."""

    def __init__(self, parts: AsyncIterator[PartHeaders | bytes]) -> None:
        self._parts = parts
        self._next: PartHeaders | None = None

    async def next_headers(self) -> PartHeaders | None:
        """Return the headers of the next file, None at the end."""
        async for _ in self.until_headers():
            pass
        found, self._next = self._next, None
        return found

    async def until_headers(self) -> AsyncIterator[bytes]:
        """Yield the bytes that come before the next file's headers."""
        while self._next is None and (part := await anext(self._parts, None)) is not None:
            if isinstance(part, bytes):
                yield part
            else:
                self._next = part


class _Form:
    """The body of a request, as the headers of its files and their bytes; other fields are passed over."""

    def __init__(self, request: Request) -> None:
        self._request = request

    async def parts(self, max_bytes: int, min_bytes_per_second: int) -> AsyncIterator[PartHeaders | bytes]:
        """Yield what is a file's, as it arrives; raises Problem (400, 408, 413, 415) for the body."""
        body = _Body(self._request.headers.get("content-type"))
        inside = False
        async for data in self._received(max_bytes, min_bytes_per_second):
            for part in body.parse(data):
                if isinstance(part, PartHeaders):
                    inside = part.of_a_file
                if inside:
                    yield part
        if not body.complete:
            raise BadMultipart(f"The multipart body ends before its closing boundary; {ACCEPTED}.")

    async def _received(self, max_bytes: int, min_bytes_per_second: int) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; other fields are not kept, and yet they are not endless."""
        self._refuse_declared_length(max_bytes)
        received, started = 0, time.monotonic()
        async for data in self._request.stream():
            received += len(data)
            if received > max_bytes + MULTIPART_ENVELOPE_BYTES:
                raise TooLarge(max_bytes)
            seconds = time.monotonic() - started
            if seconds > _GRACE_SECONDS and received < seconds * min_bytes_per_second:
                raise TooSlow(min_bytes_per_second)
            yield data

    def _refuse_declared_length(self, max_bytes: int) -> None:
        """Refuse a body that says it is too large before any of it is read."""
        declared = self._request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > max_bytes + MULTIPART_ENVELOPE_BYTES:
            raise TooLarge(max_bytes)


class _Body:
    """A multipart body as a flat sequence: the headers of a part, then its bytes."""

    def __init__(self, content_type: str | None) -> None:
        self.complete = False
        self._found: list[PartHeaders | bytes] = []
        self._headers: dict[str, str] = {}
        self._name = b""
        self._value = b""
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": lambda: self._found.append(PartHeaders(self._headers)),
                "on_part_data": lambda data, start, end: self._found.append(data[start:end]),
                "on_end": self._on_end,
            },
        )

    def parse(self, data: bytes) -> list[PartHeaders | bytes]:
        """Return what this piece of the body holds."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise BadMultipart(f"The multipart body is malformed: {error}; {ACCEPTED}.") from error
        found, self._found = self._found, []
        return found

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name = self._value = b""

    def _on_end(self) -> None:
        self.complete = True


def _boundary(content_type: str | None) -> bytes:
    """Return the boundary that a multipart/form-data Content-Type names."""
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data":
        raise Problem(f"The body must be multipart/form-data; {ACCEPTED}.", status=415)
    boundary = options.get(b"boundary")
    if not boundary or len(boundary) > _MAX_BOUNDARY_BYTES:
        raise BadMultipart(f"The Content-Type names no usable boundary; {ACCEPTED}.")
    return boundary


def safe_filename(name: str) -> str:
    """Return the last component of a client's file name, without unprintable characters; a name is never a path.

    Raises Problem: 422 when nothing is left.
    """
    base = _UNPRINTABLE.sub("", re.split(r"[/\\]", name)[-1]).strip()[:MAX_FILENAME_CHARS]
    if base in {"", ".", ".."}:
        raise WrongForm(f"The file has no usable name; {ACCEPTED}.")
    return base


def _media_type(declared: str, filename: str) -> str:
    """Return the media type that the part declares, else the one its name suggests."""
    media_type = declared.partition(";")[0].strip().lower()
    if _MEDIA_TYPE.fullmatch(media_type):
        return media_type
    return mimetypes.guess_type(filename)[0] or _DEFAULT_TYPE

"""The bytes of a document on their way to a client: whole or in ranges (RFC 9110, 13 and 14)."""

import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from anyio import CancelScope
from starlette.datastructures import Headers
from starlette.responses import FileResponse, MalformedRangeHeader, RangeNotSatisfiable
from starlette.types import Message, Receive, Scope, Send

from document_api.documents.schemas import Recorded
from document_api.documents.shelf import Content, Readable
from observability.admission import set_aside
from observability.problems import problem_response

_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')
_NOT_MODIFIED: Final = 304


class ContentResponse(FileResponse):
    """Sends a document's bytes, or the ranges of them that are asked for, from wherever they are kept.

    Its digest is its ETag: the same bytes are the same whenever they were stored. It is never shown by a browser in our
    place: always an attachment, under a name that is quoted whatever it holds.
    """

    def __init__(self, document: Recorded, content: Content) -> None:
        self._content = content
        super().__init__(
            "",  # it is opened by _open_file
            headers={"etag": f'"{document.sha256}"'},
            media_type=document.file_type,
            filename=document.filename,
            stat_result=_as_file(content),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a client that is slow to read keeps nobody from being served."""

        async def send_aside(message: Message) -> None:
            with set_aside():
                await send(message)

        asked = Headers(scope=scope)
        if self._is_known(asked.get("if-none-match")):
            await self._not_modified(send)
            return
        try:
            if "range" in asked:
                self._parse_range_header(asked["range"], self._size)
        except MalformedRangeHeader:
            scope = _without_range(scope)  # as if it were not there (RFC 9110, 14.2)
        except RangeNotSatisfiable:
            refusal = problem_response(
                416, f"The document has {self._size} bytes.", {"Content-Range": f"bytes */{self._size}"}
            )
            await refusal(scope, receive, send)
            return
        await super().__call__(scope, receive, send_aside)

    @asynccontextmanager
    async def _open_file(self) -> AsyncIterator[Readable]:  # type: ignore[override]  # as much of a file as is used
        file = await self._content.open()
        try:
            yield file
        finally:
            with CancelScope(shield=True):  # a client that hangs up leaves no file open
                await file.aclose()

    @property
    def _size(self) -> int:
        return self._content.size

    def _is_known(self, tags: str | None) -> bool:
        """Tell whether the client has these bytes already."""
        return tags is not None and (tags.strip() == "*" or self.headers["etag"] in _TAG.findall(tags))

    async def _not_modified(self, send: Send) -> None:
        kept = [pair for pair in self.raw_headers if pair[0] in {b"etag", b"last-modified"}]
        await send({"type": "http.response.start", "status": _NOT_MODIFIED, "headers": kept})
        await send({"type": "http.response.body", "body": b""})


def _as_file(content: Content) -> os.stat_result:
    """Return size and time as a file would have them."""
    times = (content.modified,) * 3
    return os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, content.size, *times))


def _without_range(scope: Scope) -> Scope:
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}

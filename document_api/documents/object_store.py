"""Document bytes in an S3-compatible store, each document an object that is put in one request: whole, or not at all."""

import errno
import mmap
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store
from pydantic import HttpUrl, SecretStr

from document_api.documents.shelf import Content, StoreRefusedError
from observability.admission import set_aside
from observability.signals import StorageBackend

if TYPE_CHECKING:
    from obstore import AsyncReadableFile
    from obstore.store import S3Config

# A whole document goes or comes within it; all tries together are given up before an upload is.
_REQUEST_SECONDS: Final = 20
_CONNECT_SECONDS: Final = 3
_RETRIES: Final = 2
_RETRY_SECONDS: Final = 5
# Asked for at once of a document that is read.
_READ_BYTES: Final = 1024 * 1024
_DOCUMENTS: Final = "documents"
_HEALTH: Final = "health"
# Of an answer that is an error.
_CODE: Final = re.compile(r"<Code>(\w{1,100})</Code>")
_SAID_CHARS: Final = 300


class Bucket:
    """A shelf in a bucket; its methods raise StoreRefusedError, an OSError."""

    backend = StorageBackend.S3
    remote = True

    def __init__(
        self,
        url: str,
        *,
        endpoint: HttpUrl | None,
        region: str,
        access_key_id: str | None,
        secret_access_key: SecretStr | None,
    ) -> None:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        config: S3Config = {"region": region}
        if endpoint is not None:
            config["endpoint"] = str(endpoint).rstrip("/")
        if access_key_id is not None and secret_access_key is not None:
            config["access_key_id"] = access_key_id
            config["secret_access_key"] = secret_access_key.get_secret_value()
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            config=config,
            client_options={
                "allow_http": endpoint is not None and endpoint.scheme == "http",
                "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                "timeout": timedelta(seconds=_REQUEST_SECONDS),
            },
            retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
        )

    def prepare(self) -> None:
        """Prove that an object can be put, read and deleted."""
        content, path = uuid.uuid4().bytes, f"{_HEALTH}/{uuid.uuid4().hex}"
        with _as_os_error(), _bucket_is_there():
            obstore.put(self._store, path, content, use_multipart=False)
            given = bytes(obstore.get(self._store, path).bytes())
            obstore.delete(self._store, path)
        if given != content:
            raise StoreRefusedError(errno.EIO, "it does not give back what was put")

    def put(self, key: str, temporary: Path) -> None:
        """Put a file in one request: of one in parts, a killed process would leave parts that nobody sees and all pay for."""
        with _as_os_error(), temporary.open("rb") as file, _bucket_is_there():
            # Of an empty file there is no map.
            if not temporary.stat().st_size:
                obstore.put(self._store, _path(key), b"", use_multipart=False)
                return
            # Not closed: a connection that was given up may hold it for a moment longer.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            obstore.put(self._store, _path(key), content, use_multipart=False)

    def replace(self, key: str, temporary: Path, *, saved_as: str) -> None:  # noqa: ARG002  the shelf's way
        """Put it over what is there."""
        self.put(key, temporary)

    def may_have(self, temporary: Path) -> bool:  # noqa: ARG002  the shelf's way
        """Say yes: the file does not tell, and the data store does."""
        return True

    def find(self, key: str) -> Content:
        """Return an object's size and time, and what reads it in bounded pieces."""
        with _as_os_error():
            found = obstore.head(self._store, _path(key))
        return Content(found["size"], found["last_modified"].timestamp(), partial(self._open, key))

    def remove(self, key: str) -> None:
        """Delete an object; the store calls it done where there is none."""
        with _as_os_error():
            obstore.delete(self._store, _path(key))

    def check(self) -> None:
        """List what `prepare` has deleted: an object that is not there looks the same in a bucket that is not."""
        with _as_os_error():
            obstore.list(self._store, prefix=_HEALTH).collect()

    async def _open(self, key: str) -> "ObjectReader":
        with _as_os_error(), set_aside():
            return ObjectReader(
                await obstore.open_reader_async(self._store, _path(key), buffer_size=_READ_BYTES)
            )


class ObjectReader:
    """Reads an object piece by piece."""

    def __init__(self, file: "AsyncReadableFile") -> None:
        self._file = file

    async def read(self, size: int, /) -> bytes:
        """Return as many bytes, unless the object ends."""
        with _as_os_error(), set_aside():
            return bytes(await self._file.read(size))

    async def seek(self, offset: int, /) -> int:
        """Go to a place in the object."""
        return await self._file.seek(offset)

    async def aclose(self) -> None:
        """Let go of what was read ahead."""
        self._file.close()


def _path(key: str) -> str:
    return f"{_DOCUMENTS}/{key}"


@contextmanager
def _bucket_is_there() -> Iterator[None]:
    """Say so where it is not."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreRefusedError(errno.EIO, "there is no such bucket") from error


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Say what goes wrong as a file system does; FileNotFoundError is one already."""
    try:
        yield
    except BaseError as error:
        raise StoreRefusedError(errno.EIO, _said(error)) from error


def _said(error: BaseError) -> str:
    """Return in one line what went wrong; of what the store itself says the code, as the rest may tell who asked."""
    line, _, answer = str(error).partition("<")
    code = _CODE.search(answer)
    told = line.partition("\n")[0].rstrip(" :")[:_SAID_CHARS]
    return f"{told} ({code[1]})" if code else told

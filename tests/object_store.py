"""A real server that speaks S3, built where the tests run."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.store import S3Store
from pydantic import SecretStr

from local_stack.build import Program, build, cache_dir
from tests.ports import free_port
from tests.waiting import eventually

# Not among the stack's programs: only the tests need it.
PROGRAM: Final = Program("gofakes3", ("github.com/johannesboyne/gofakes3/cmd/gofakes3",))
BUCKET: Final = "documents"
PREFIX: Final = "robin/here"
_KEY: Final = "a key"
_SECRET: Final = "a secret of the tests"


@dataclass
class ObjectServer:
    """A server with one bucket, in memory."""

    binary: Path
    log: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return what a document API is told to use it."""
        return {
            "storage_url": f"s3://{BUCKET}/{PREFIX}",
            "aws_endpoint_url": f"http://127.0.0.1:{self.port}",
            "aws_access_key_id": _KEY,
            "aws_secret_access_key": SecretStr(_SECRET),
        }

    def keys(self) -> list[str]:
        """Return the names of all that is kept in the bucket."""
        return [each["path"] for page in obstore.list(self._store()) for each in page]

    def objects(self) -> dict[str, bytes]:
        """Return all that is kept in the bucket, while nothing changes."""
        store = self._store()
        return {path: bytes(obstore.get(store, path).bytes()) for path in self.keys()}

    def put(self, key: str, content: bytes) -> None:
        """Keep an object."""
        obstore.put(self._store(), key, content)

    def clear(self) -> None:
        """Delete all that is kept in the bucket."""
        store = self._store()
        for path in self.keys():
            obstore.delete(store, path)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it, from an empty bucket on."""
        command = [
            *(str(self.binary), "-backend", "memory", "-initialbucket", BUCKET),
            *("-host", f"127.0.0.1:{self.port}"),
        ]
        with self.log.open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            self.process = process
            try:
                eventually(self._answers, "the object store is up")
                yield
            finally:
                process.terminate()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let it take connections and answer none until the block ends."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def _store(self) -> S3Store:
        return S3Store(
            BUCKET,
            config={
                "endpoint": f"http://127.0.0.1:{self.port}",
                "region": "us-east-1",
                "access_key_id": _KEY,
                "secret_access_key": _SECRET,
            },
            client_options={"allow_http": True},
        )


def object_server(folder: Path) -> ObjectServer:
    """Return a server that is not running yet."""
    (binary,) = build(PROGRAM, cache_dir(os.environ), log=folder / "build.log")
    return ObjectServer(binary, folder / "gofakes3.log", free_port())

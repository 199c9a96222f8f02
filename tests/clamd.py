"""A virus scanner that speaks clamd's protocol: clamd itself is not to be had where the tests run."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# What every scanner calls infected (eicar.org), in two parts: no scanner is to find it here.
EICAR: Final = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
SIGNATURE: Final = "Eicar-Signature"


class _Handler(socketserver.StreamRequestHandler):
    """Answers one command, as clamd(8) says."""

    server: "FakeClamd"

    def handle(self) -> None:
        """Read a command up to its NUL, and answer it."""
        command = b""
        while not command.endswith(b"\0"):
            command += self.rfile.read(1)
        if command == b"zPING\0":
            self.wfile.write(b"PONG\0")
        elif command == b"zINSTREAM\0":
            self.wfile.write(self.server.canned or self._scanned())

    def _scanned(self) -> bytes:
        content = b""
        while length := int.from_bytes(self.rfile.read(4), "big"):
            content += self.rfile.read(length)
            if len(content) > self.server.max_bytes:
                return b"INSTREAM size limit exceeded. ERROR\0"
        self.server.scanned.append(content)
        return f"stream: {SIGNATURE} FOUND\0".encode() if EICAR in content else b"stream: OK\0"


class FakeClamd(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """What was scanned is in `scanned`; `canned` answers whatever comes, unheard."""

    daemon_threads = True

    def __init__(self, address: str | tuple[str, int]) -> None:
        self.address_family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        super().__init__(address, _Handler)  # type: ignore[arg-type]
        self.scanned: list[bytes] = []
        self.canned = b""
        self.max_bytes = 2**20

    @property
    def address(self) -> str:
        """Where it listens, as CLAMD_ADDRESS has it."""
        at = self.server_address
        return at if isinstance(at, str) else f"{at[0]}:{at[1]}"  # type: ignore[str-bytes-safe]


@contextmanager
def fake_clamd(path: Path | None = None) -> Iterator[FakeClamd]:
    """Lend a scanner that listens on a free port, or at a path."""
    with FakeClamd(str(path) if path else ("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

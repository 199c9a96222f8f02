"""Asking a service whether it is well, for real."""

import http.client
import socket
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

TIMEOUT_SECONDS = 5.0


class Probe(Protocol):
    """A question that a healthy service answers."""

    def problem(self) -> str | None:
        """Return what is wrong, None when the service is healthy."""


@dataclass(frozen=True)
class Trust:
    """Whom a TLS server on this machine must be: the name in its certificate, and a file with who vouches for that."""

    name: str
    ca_file: str

    def secured(self, port: int) -> ssl.SSLSocket:
        """Return a connection whose other side has been checked."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file may be the certificate itself
        plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        try:
            return context.wrap_socket(plain, server_hostname=self.name)
        except OSError:
            plain.close()
            raise


@dataclass(frozen=True)
class HttpProbe:
    """A GET that must be answered with 200, by HTTPS where it is said whom to trust."""

    port: int
    path: str
    trust: Trust | None = None

    def problem(self) -> str | None:
        """Ask once."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            if self.trust is not None:
                connection.sock = self.trust.secured(self.port)
            connection.request("GET", self.path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"no answer on port {self.port}: {error}"
        finally:
            connection.close()
        return None if status == http.client.OK else f"GET {self.path} on port {self.port} answers {status}"


@dataclass(frozen=True)
class TlsProbe:
    """A handshake that must succeed."""

    port: int
    trust: Trust

    def problem(self) -> str | None:
        """Shake hands once."""
        try:
            self.trust.secured(self.port).close()
        except OSError as error:
            return f"no TLS on port {self.port}: {error}"
        return None


@dataclass(frozen=True)
class CommandProbe:
    """A program that must end with 0."""

    command: Sequence[str]

    def problem(self) -> str | None:
        """Run it once."""
        try:
            result = subprocess.run(
                self.command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return None if result.returncode == 0 else (result.stdout + result.stderr).strip()

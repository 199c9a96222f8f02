"""Asking a service whether it is well, for real."""

import http.client
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
class HttpProbe:
    """A GET that must be answered with 200."""

    port: int
    path: str

    def problem(self) -> str | None:
        """Ask once."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", self.path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"no answer on port {self.port}: {error}"
        finally:
            connection.close()
        return None if status == http.client.OK else f"GET {self.path} on port {self.port} answers {status}"


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

"""Where the servers are: option, else environment variable, else what ./setup-and-run.sh runs, else the standard port."""

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Server:
    """One server that the checks talk to, and how its address is given."""

    key: str
    title: str
    default: str

    @property
    def option(self) -> str:
        """Command-line option."""
        return f"--{self.key.replace('_', '-')}-url"

    @property
    def variable(self) -> str:
        """Environment variable."""
        return f"{self.key.upper()}_URL"


# Several addresses are separated by commas; for the log store they are candidates, the first that answers is taken.
SERVERS = (
    Server("nginx", "nginx", "http://localhost"),
    # In Docker the services are reached through nginx only; the local stack says where each instance listens.
    Server("document_api", "document-api, each instance", ""),
    Server("data_store", "data-store, each instance", ""),
    Server("collector_health", "OTel collector", "http://localhost:13133"),
    Server("jaeger", "Jaeger", "http://localhost:16686"),
    Server("prometheus", "Prometheus", "http://localhost:9090"),
    Server("alertmanager", "Alertmanager", "http://localhost:9093"),
    Server("logs", "log store", "http://localhost:3100,http://localhost:9428"),
)


@dataclass(frozen=True, slots=True)
class Targets:
    """Addresses of all servers, by key, and a file with an authority that vouches for them besides the known ones."""

    urls: Mapping[str, tuple[str, ...]]
    ca_file: str | None = None

    def one(self, key: str) -> str:
        """The only, or first, address of a server."""
        return self.urls[key][0]

    def all(self, key: str) -> tuple[str, ...]:
        """All addresses of a server."""
        return self.urls[key]

    def trust(self) -> ssl.SSLContext:
        """Return whom to believe that he is the server asked for. Raises OSError: the file cannot be used."""
        context = ssl.create_default_context()
        if self.ca_file:
            context.load_verify_locations(self.ca_file)
        return context


def state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder in which ./setup-and-run.sh keeps its state."""
    return Path(environment.get("ROBIN_STATE_DIR") or _CHECKOUT / ".robin")


def local_stack_endpoints(folder: Path) -> Mapping[str, Any]:
    """Addresses that ./setup-and-run.sh has left in its folder; none when nothing runs that it started.

    Raises ValueError: the file is there, but cannot be read.
    """
    file = folder / "run" / "endpoints.json"
    try:
        endpoints = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {file}: {error}") from error
    if not isinstance(endpoints, dict):
        raise ValueError(f"cannot read {file}: expected a JSON object")  # noqa: TRY004  one error for a bad file
    return endpoints


def targets(
    given: Mapping[str, str | None], environment: Mapping[str, str], local: Mapping[str, Any]
) -> Targets:
    """Settle the addresses of all servers."""
    return Targets(
        {
            server.key: _addresses(
                given.get(server.key)
                or environment.get(server.variable)
                or local.get(server.key, server.default)
            )
            for server in SERVERS
        },
        given.get("ca_file") or environment.get("CA_FILE") or local.get("ca_file"),
    )


def _addresses(value: str | list[str]) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(part.strip().rstrip("/") for part in parts if part.strip())


@dataclass(frozen=True, slots=True)
class Options:
    """What to do, and how much of it."""

    checks: tuple[str, ...]
    verbose: bool
    clients: int
    files: int
    load_factor: float
    concurrency: int
    deadline: float
    max_upload_bytes: int
    max_p95_seconds: float
    max_error_percent: float
    min_rate: float
    json_file: Path | None

"""A system that bad input is sent to, and what may have become of it afterwards."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from local_stack.nginx import LoadBalancer
from observability.service import AuthMode
from tests.edge import running as running_nginx
from tests.fuzz.doors import Door
from tests.fuzz.processes import Held, Service, running
from tests.integration.conftest import MIGRATED, PostgreSQL
from tests.integration.tenancy import FOREIGN, PEPPER, SERVICE_TOKEN, System, populate
from tests.ports import free_port
from tests.telemetry_spy import spied_telemetry
from tests.waiting import eventually

MAX_UPLOAD_BYTES: Final = 100_000
SECRET: Final = b"Whiskers are what the other one sells."
# Whatever the services keep for themselves is closed by then: connections that are not used any more, for one.
_CALM_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Target:
    """A system with a document of another client in it, and its two processes."""

    auth_mode: AuthMode
    system: System
    api: Service
    store: Service

    @property
    def key_line(self) -> bytes:
        """The header's line of somebody who may upload for his own client."""
        return f"X-API-Key: {self.system.keys['writer']}\r\n".encode()

    @property
    def token_line(self) -> bytes:
        """The header's line of the document API."""
        return f"Authorization: Bearer {SERVICE_TOKEN}\r\n".encode()

    def complaints(self) -> list[str]:
        """Return what both have written of failures, but for the collector, which is not there."""
        lines = (self.api.said + self.store.said).splitlines()
        failures = [line for line in lines if '"level": "ERROR"' in line or "Traceback" in line]
        return [line for line in failures if '"logger": "opentelemetry.' not in line]

    def held(self) -> list[Held]:
        """Ask both what they hold."""
        return [self.api.held(), self.store.held()]


@contextmanager
def running_target(postgresql: PostgreSQL, folder: Path, auth_mode: AuthMode) -> Iterator[Target]:
    """Run both services, and store a document of another client."""
    database = postgresql.create_database(template=MIGRATED)
    shared = {
        "AUTH_MODE": auth_mode,
        "SERVICE_TOKEN": SERVICE_TOKEN,
        "HEALTH_DEADLINE_SECONDS": "5",
    }
    with ExitStack() as stack:
        store = stack.enter_context(
            running(
                "data_store",
                folder,
                DATABASE_URL=postgresql.url(database),
                MIGRATION_DATABASE_URL=postgresql.owner_url(database),
                API_KEY_PEPPER=PEPPER,
                **shared,
            )
        )
        uploads = folder / "uploads"
        api = stack.enter_context(
            running(
                "document_api",
                folder,
                DATA_STORE_URL=store.url,
                UPLOAD_DIR=str(uploads),
                MAX_UPLOAD_BYTES=str(MAX_UPLOAD_BYTES),
                TENANT_REQUESTS_PER_SECOND="0",
                WRONG_CREDENTIALS_PER_SECOND="0",
                **shared,
            )
        )
        clients = (stack.enter_context(httpx.Client(base_url=each.url, timeout=30)) for each in (api, store))
        telemetry = stack.enter_context(spied_telemetry())
        system = System(*clients, uploads, telemetry, postgresql, database)
        populate(system)
        files = {"file": ("a.txt", SECRET, "text/plain")}
        assert system.upload(system.key("stranger"), FOREIGN, files=files).status_code == 200
        yield Target(auth_mode, system, api, store)


@contextmanager
def load_balancer(target: Target, folder: Path) -> Iterator[int]:
    """Run nginx in front of the document API, and lend its port."""
    port = free_port()
    balancer = LoadBalancer(
        listen=f"127.0.0.1:{port}",
        upstream_ports=[target.api.port],
        max_upload_bytes=MAX_UPLOAD_BYTES,
        access_log=folder / "access.json",
        config_dir=folder / "config",
        run_dir=folder / "run",
    )
    balancer.write()
    with running_nginx(balancer, port, []):
        yield port


@dataclass(frozen=True)
class Before:
    """What a system keeps and holds before bad input is sent to it."""

    held: list[Held]
    numbers: set[int]
    files: set[str]

    @classmethod
    def of(cls, target: Target) -> "Before":
        """Look at it now."""
        return cls(target.held(), numbers_of(target.system), set(files_of(target.system.uploads)))


def assert_unharmed(target: Target, door: Door, before: Before) -> None:
    """Hold the system to what it was: healthy, every document whole, nothing left over, nothing held."""
    system = target.system
    health = system.api.get("/health", headers=system.key("operator"))
    assert (health.status_code, set(health.json()["components"].values())) == (200, {"healthy"}), health.text
    eventually(lambda: not leftovers(system.uploads), lambda: f"{leftovers(system.uploads)} is gone")
    _assert_only_what_was_told_is_stored(system, door, before)
    assert target.complaints() == []
    eventually(
        lambda: all(map(Held.is_no_more_than, target.held(), before.held)),
        lambda: f"{before.held} again, not {target.held()}",
        seconds=_CALM_SECONDS,
    )


def _assert_only_what_was_told_is_stored(system: System, door: Door, before: Before) -> None:
    new = numbers_of(system) - before.numbers
    assert door.stored <= new | before.numbers
    # Whoever goes away before the answer may have been done with; all others were told.
    assert len(new - door.stored) <= door.answers["closed"]
    recorded = {
        key: size
        for key, size in system.sql("SELECT storage_key, file_size FROM document_metadata")
        if "/" in key
    }
    files = files_of(system.uploads)
    assert files.keys() - before.files <= recorded.keys()
    assert {key: files.get(key) for key in recorded} == recorded


def numbers_of(system: System) -> set[int]:
    """Return the numbers of all documents."""
    return {number for (number,) in system.sql("SELECT id FROM document_metadata")}


def files_of(uploads: Path) -> dict[str, int]:
    """Return the sizes of all that is stored, by key."""
    folder = uploads / "documents"
    return {
        str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()
    }


def leftovers(uploads: Path) -> list[Path]:
    """Return what lies where documents arrive."""
    return list((uploads / "incoming").iterdir())

"""What docker-compose.yml says, for the tests that hold it against everything else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_store.settings import DataStoreSettings
from document_api.settings import DocumentApiSettings
from observability.service import ServiceSettings

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS: dict[str, type[ServiceSettings]] = {
    "document-api": DocumentApiSettings,
    "data-store": DataStoreSettings,
}
VOLUME_INIT = ROOT / "docker_stack" / "volume-init.sh"
DOCKERFILES = {name: ROOT / SERVICES[name]["build"]["dockerfile"] for name in SETTINGS}
JOBS = {"volume-init", "migrate", "backup"}

every_service = pytest.mark.parametrize("name", SERVICES)
own_service = pytest.mark.parametrize("name", SETTINGS)


def conditions(name: str) -> dict[str, str]:
    """Return what a service waits for, and until when."""
    return {other: how["condition"] for other, how in SERVICES[name].get("depends_on", {}).items()}


def mounts(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield source, target and mode of everything mounted into a service."""
    for volume in SERVICES[name].get("volumes", []):
        source, target, mode = [*volume.split(":"), "rw"][:3]
        yield source, target, mode

"""What docker-compose.yml asks for: services, images, and jobs that end by themselves."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FROM = re.compile(r"^FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE | re.MULTILINE)
NO_IMAGE = "scratch"
# As observability/service.py has them, which needs packages that may not be installed yet.
PRODUCTION, DEMONSTRATION = "production", "demo-only"
PUBLIC_SERVICE = "document-api"
FIRST_JOB = "volume-init"  # is given every secret, to refuse what docker_stack/volume-init.sh refuses


@dataclass(frozen=True)
class Model:
    """The composed stack, as `docker compose config` resolves it."""

    services: tuple[str, ...]
    jobs: frozenset[str]  # services that others wait for to have ended
    images: tuple[str, ...]  # that cannot be built here: of services, and under those that are built
    unencrypted: bool = False  # for production, and open to whoever listens on the way
    demonstration: str | None = (
        None  # a variable that is only good for one, where the stack is for production
    )

    @classmethod
    def parse(cls, config: str) -> "Model":
        """Read the output of `docker compose config --format json`."""
        services: Mapping[str, Mapping[str, Any]] = json.loads(config)["services"]
        built = {service.get("image") for service in services.values() if service.get("build")}
        images = (
            image
            for service in services.values()
            if service.get("build") or service["image"] not in built
            for image in _images(service)
        )
        return cls(
            tuple(services),
            frozenset(_jobs(services)),
            tuple(dict.fromkeys(images)),
            _unencrypted(services.get(PUBLIC_SERVICE, {}).get("environment") or {}),
            _demonstration(services.get(FIRST_JOB, {}).get("environment") or {}),
        )


def _unencrypted(environment: Mapping[str, str | None]) -> bool:
    """Say whether a public service of production is told that nothing encrypts what it says."""
    is_encrypted = (environment.get("PUBLIC_TLS") or "").lower() in {"1", "true", "yes", "on"}
    return environment.get("ENVIRONMENT") == PRODUCTION and not is_encrypted


def _demonstration(environment: Mapping[str, str | None]) -> str | None:
    """Return the first secret that everybody knows, where that matters."""
    if environment.get("ENVIRONMENT") != PRODUCTION:
        return None
    return next((name for name, value in environment.items() if DEMONSTRATION in (value or "")), None)


def _images(service: Mapping[str, Any]) -> Iterator[str]:
    build = service.get("build")
    if not build:
        yield service["image"]
    elif "dockerfile_inline" in build:
        yield from base_images(build["dockerfile_inline"])
    else:
        dockerfile = Path(build["context"]) / build.get("dockerfile", "Dockerfile")
        yield from base_images(dockerfile.read_text())


def base_images(dockerfile: str) -> Iterator[str]:
    """Yield the images that the stages of a Dockerfile start from; one that an argument names cannot be told."""
    stages = {NO_IMAGE}
    for image, stage in FROM.findall(dockerfile):
        if image not in stages and "$" not in image:
            yield image
        stages.add(stage)


def _jobs(services: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for service in services.values():
        for name, dependency in (service.get("depends_on") or {}).items():
            if dependency.get("condition") == "service_completed_successfully":
                yield name

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
REQUIRED, TRUE = "required", frozenset({"1", "true", "yes", "on"})
BY_TLS = "docker-compose.tls.yml sets it, as ./setup-and-run.sh --docker --tls does"
FIRST_JOB = "volume-init"  # is given what production may refuse: docker_stack/volume-init.sh does, this before anything starts


@dataclass(frozen=True)
class Model:
    """The composed stack, as `docker compose config` resolves it."""

    services: tuple[str, ...]
    jobs: frozenset[str]  # services that others wait for to have ended
    images: tuple[str, ...]  # that cannot be built here: of services, and under those that are built
    refusal: str | None = None  # names the variable that production does not start with

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
            _refusal(services.get(FIRST_JOB, {}).get("environment") or {}),
        )


def _refusal(environment: Mapping[str, str | None]) -> str | None:
    """Return why production does not start, as one line that names the variable."""
    if environment.get("ENVIRONMENT") != PRODUCTION:
        return None
    given = {name: value or "" for name, value in environment.items()}
    if given.get("AUTH_MODE") != REQUIRED:
        return f"AUTH_MODE: must be '{REQUIRED}' with ENVIRONMENT=production"
    if given.get("PUBLIC_TLS", "").lower() not in TRUE:
        return f"PUBLIC_TLS: must be true with ENVIRONMENT=production: {BY_TLS}"
    if given.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").startswith("http://"):
        return f"OTEL_EXPORTER_OTLP_ENDPOINT: must be https:// to another host with ENVIRONMENT=production: {BY_TLS}"
    known = next((name for name, value in given.items() if DEMONSTRATION in value), None)
    return known and f"{known}: must not be the demonstration's with ENVIRONMENT=production"


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

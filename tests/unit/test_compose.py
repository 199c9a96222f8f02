"""docker-compose.yml keeps the promises of the composed stack. No engine is needed."""

import os
import re
from itertools import pairwise

from tests.compose import (
    COMPOSE,
    JOBS,
    ROOT,
    SERVICES,
    VOLUME_INIT,
    conditions,
    every_service,
    mounts,
    own_service,
)

# What images say of themselves: they make a volume without a name there, unless something is mounted.
VOLUMES_OF_IMAGES = {
    "jaegertracing/jaeger": "/tmp",  # noqa: S108 - a folder in a container
    "prom/prometheus": "/prometheus",
    "prom/alertmanager": "/alertmanager",
    "postgres": "/var/lib/postgresql/data",
}
# Its image holds nothing that could ask it: its health is published instead.
WITHOUT_HEALTH_CHECK = JOBS | {"otel-collector"}
# The other images start as an ordinary user of their own.
IMAGES_OF_ROOT = ("nginx:", "postgres:", "prom/blackbox-exporter:")


def test_there_is_no_version_and_no_fixed_container_name() -> None:
    """The one is obsolete, the other forbids a second instance."""
    assert "version" not in COMPOSE
    assert [name for name, service in SERVICES.items() if "container_name" in service] == []


@every_service
def test_every_container_is_locked_down_and_bounded(name: str) -> None:
    """Read-only root, no capabilities, limits, logs that rotate."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"].keys() >= {"max-size", "max-file"}
    assert service["restart"] == ("no" if name in JOBS else "unless-stopped")


@every_service
def test_nobody_but_the_job_that_gives_volumes_away_runs_as_root(name: str) -> None:
    """An image that starts as root is given its ordinary user."""
    service = SERVICES[name]
    user = service.get("user", "")
    if name == "volume-init":
        assert (user, service["cap_add"], service["network_mode"]) == ("0:0", ["CHOWN"], "none")
    elif service["image"].startswith(IMAGES_OF_ROOT):
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    else:
        assert not user.startswith("0")
    assert "cap_add" not in service or name == "volume-init"


@every_service
def test_every_health_check_fails_when_the_service_does(name: str) -> None:
    """A command that needs no shell, asks the service itself by IPv4, and tells an error status from an answer."""
    if name in WITHOUT_HEALTH_CHECK:
        assert "healthcheck" not in SERVICES[name]
        return
    kind, program, *arguments = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    assert program in {"curl", "wget", "python", "pg_isready", "/usr/bin/loki"}
    assert program != "curl" or any(re.match(r"-\w*f", argument) for argument in arguments)
    assert program == "/usr/bin/loki" or "127.0.0.1" in " ".join(arguments)
    assert "start_interval" not in SERVICES[name]["healthcheck"]


def test_the_health_of_what_cannot_ask_itself_is_published() -> None:
    """The collector is asked from outside."""
    assert any(port.endswith(":13133") for port in SERVICES["otel-collector"]["ports"])


@every_service
def test_nobody_waits_for_what_never_comes(name: str) -> None:
    """For health only where there is a check, for an end only of jobs."""
    for other, condition in conditions(name).items():
        if other in JOBS:
            assert condition == "service_completed_successfully"
        elif other in WITHOUT_HEALTH_CHECK:
            assert condition == "service_started"
        else:
            assert condition in {"service_healthy", "service_started"}


def test_each_service_starts_after_what_a_request_needs() -> None:
    """Whoever is told that nginx is up can upload."""
    chain = ("nginx", "document-api", "data-store-lb", "data-store", "postgres")
    for name, next_name in pairwise(chain):
        assert conditions(name)[next_name] == "service_healthy"


def test_telemetry_is_stopped_in_the_order_of_its_flow() -> None:
    """Services before the collector, the collector before the back ends: all that they hand over last arrives."""
    assert "otel-collector" in conditions("document-api")
    assert "otel-collector" in conditions("data-store")
    assert {"jaeger", "prometheus", "loki"} <= conditions("otel-collector").keys()


def test_only_nginx_is_open_to_the_network() -> None:
    """All other ports are published on 127.0.0.1, and each has a variable."""
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            address = "" if name == "nginx" else r"127\.0\.0\.1:"
            assert re.fullmatch(address + r"\$\{[A-Z_]+_PORT:-\d+\}:\d+", port), (name, port)


@own_service
def test_what_is_scaled_publishes_no_port(name: str) -> None:
    """A port of the host can be had once."""
    assert "ports" not in SERVICES[name]


def test_the_database_is_reached_by_the_data_store_and_who_probes_it_alone() -> None:
    """Not even document_api shares a network with it."""
    database = set(SERVICES["postgres"]["networks"])
    sharing = {name for name, service in SERVICES.items() if database & set(service.get("networks", []))}
    assert sharing == {"postgres", "data-store", "migrate", "backup", "blackbox-exporter"}
    assert all(COMPOSE["networks"][network]["internal"] for network in database)


@every_service
def test_files_of_the_checkout_are_mounted_read_only_and_exist(name: str) -> None:
    """Docker would make an empty folder in the place of a file that is missing."""
    for source, _, mode in mounts(name):
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert mode == "ro"


def test_scripts_that_images_start_are_executable() -> None:
    """Their entrypoints pass over what is not."""
    scripts = [ROOT / source for name in SERVICES for source, _, _ in mounts(name) if source.endswith(".sh")]
    assert len(scripts) == 3
    assert all(os.access(script, os.X_OK) for script in scripts)


def test_every_named_volume_is_declared_used_and_never_anonymous() -> None:
    """What is written outlives its container."""
    named = {source for name in SERVICES for source, _, _ in mounts(name) if not source.startswith(".")}
    assert named == COMPOSE["volumes"].keys()
    assert all(":" in volume for service in SERVICES.values() for volume in service.get("volumes", []))


@every_service
def test_no_image_leaves_a_volume_without_a_name_behind(name: str) -> None:
    """Each start would make another one, and nobody removes them."""
    folder = VOLUMES_OF_IMAGES.get(SERVICES[name]["image"].split(":")[0])
    taken = {target for _, target, _ in mounts(name)}
    temporary = {mount.split(":")[0] for mount in SERVICES[name].get("tmpfs", [])}
    assert folder is None or folder in taken | temporary


def test_folders_that_images_lack_are_given_to_their_users() -> None:
    """The job changes the owner of exactly those volumes."""
    script = VOLUME_INIT.read_text()
    given = {
        folder: owner
        for owner, folders in re.findall(r"^chown (\S+) (.+)", script, re.MULTILINE)
        for folder in folders.split()
    }
    targets = {target: source for source, target, _ in mounts("volume-init") if source in COMPOSE["volumes"]}
    assert given.keys() == targets.keys()
    owners = {targets[folder]: owner for folder, owner in given.items()}
    assert owners["edge-logs"] == SERVICES["nginx"]["user"]
    assert owners == {
        "edge-logs": "101:101",
        "otel-collector-data": "10001:10001",
        "loki-data": "10001:10001",
    }

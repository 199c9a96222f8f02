"""docker-compose.tls.yml keeps its promises beside docker-compose.yml. No engine is needed."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_stack.certificates import NAMES
from local_stack.nginx import PLACEHOLDER, SITE_TEMPLATE, TLS_CONFIG

ROOT = Path(__file__).parents[2]
BASE: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.tls.yml").read_text())
OVERLAY: dict[str, dict[str, Any]] = COMPOSE["services"]
INIT = (ROOT / "docker_stack" / "tls-init.sh").read_text()
# Who gets which certificate, as whom, and where from.
LAID = re.findall(r"^lay (\S+) (\d+:\d+) (\S+)$", INIT, re.MULTILINE)


def mounts(name: str) -> Iterator[tuple[str, str, bool]]:
    """Yield source, target and whether it is read-only of what the overlay mounts into a service."""
    for volume in OVERLAY[name].get("volumes", []):
        if isinstance(volume, str):
            source, target, mode = [*volume.split(":"), "rw"][:3]
            yield source, target, mode == "ro"
        else:
            yield volume["source"], volume["target"], volume["read_only"]


def test_it_adds_to_services_that_are_there() -> None:
    """A name of its own would be a service without an image."""
    assert OVERLAY.keys() <= BASE.keys()


@pytest.mark.parametrize("name", OVERLAY)
def test_files_of_the_checkout_are_read_only_and_exist(name: str) -> None:
    """Certificates may be missing: then Compose says so, and makes no folder in their place."""
    for source, _, read_only in mounts(name):
        if source.startswith("."):
            assert read_only
            assert (ROOT / source).exists()
    for volume in OVERLAY[name].get("volumes", []):
        if isinstance(volume, dict):
            assert volume["bind"] == {"create_host_path": False}


def test_each_certificate_is_laid_for_its_owner_alone() -> None:
    """As whom the container runs that reads it; in a volume that nobody else has, but the job that lays it."""
    owners = {name: owner for name, owner, _ in LAID}
    assert owners.keys() == NAMES.keys()
    assert {f"tls-{name}" for name in owners} == COMPOSE["volumes"].keys()
    for name, owner in owners.items():
        dockerfile = BASE[name].get("build", {}).get("dockerfile")
        runs_as = (
            re.findall(r"^USER (\S+)$", (ROOT / dockerfile).read_text(), re.MULTILINE)[-1]
            if dockerfile
            else BASE[name].get("user", "10001:10001")  # the collector's image's own
        )
        assert owner == runs_as, name
        has_it = {
            service for service in OVERLAY for source, _, _ in mounts(service) if source == f"tls-{name}"
        }
        assert has_it == {name, "volume-init"} | ({"migrate", "backup"} if name == "data-store" else set())


def test_the_job_lays_what_it_is_given() -> None:
    """Every folder that its script names is mounted, and it still does what it did before."""
    targets = {target for _, target, _ in mounts("volume-init")}
    assert {f"/volumes/tls/{name}" for name, _, _ in LAID} <= targets
    for _, _, folder in LAID:
        assert any(folder == target or folder.startswith(f"{target}/") for target in targets)
    first, *rest = OVERLAY["volume-init"]["entrypoint"]
    assert (first, rest[0]) == ("/bin/sh", "-ec")  # the second only after the first
    assert [part.split()[-1] for part in rest[1].split(";")] == [
        BASE["volume-init"]["entrypoint"][-1],
        "/tls-init.sh",
    ]
    assert os.access(ROOT / "docker_stack" / "tls-init.sh", os.X_OK)


def test_nginx_is_given_the_same_placeholders_as_without_tls() -> None:
    """And finds the certificate where its configuration says, beside its main file."""
    given = OVERLAY["nginx"]["environment"]
    assert given.keys() <= set(PLACEHOLDER.findall(SITE_TEMPLATE.read_text()))
    assert all(BASE["nginx"]["environment"][name] == "" for name in given)
    targets = {target: source for source, target, _ in mounts("nginx")}
    assert targets["/etc/nginx/certificate"] == "tls-nginx"
    assert "ssl_certificate certificate/fullchain.pem;" in TLS_CONFIG.read_text()
    assert (
        f"include {Path(next(target for target in targets if target.endswith('.conf'))).parent}/*.conf;"
        in (ROOT / "nginx" / "nginx.conf").read_text()
    )


def test_postgresql_does_what_it_did_and_takes_the_network_by_tls_alone() -> None:
    """Compose replaces a command as a whole; the container's own socket stays as it is."""
    command, before = OVERLAY["postgres"]["command"], BASE["postgres"]["command"]
    assert command[: len(before)] == before
    added = dict(option.removeprefix("-c").split("=") for option in command[len(before) :])
    assert added["ssl"] == "on"
    targets = {target: source for source, target, _ in mounts("postgres")}
    rules = [
        line.split()
        for line in (ROOT / targets[added["hba_file"]]).read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert {rule[0] for rule in rules} == {"local", "hostssl"}
    assert {rule[-1] for rule in rules if rule[0] == "hostssl"} == {"scram-sha-256"}


@pytest.mark.parametrize("name", ["data-store", "migrate", "backup"])
def test_whoever_asks_the_database_verifies_it(name: str) -> None:
    """By its name, against the authority that signed it."""
    environment = OVERLAY[name]["environment"]
    assert environment["PGSSLMODE"] == "verify-full"
    assert Path(environment["PGSSLROOTCERT"]).parent in {Path(target) for _, target, _ in mounts(name)}
    url = BASE[name]["environment"]["DATABASE_URL"]
    assert re.search(r"@([a-z-]+):", url)[1] in NAMES["postgres"]  # type: ignore[index]
    assert "sslmode" not in url


@pytest.mark.parametrize("name", ["document-api", "data-store"])
def test_telemetry_goes_by_tls_with_a_certificate(name: str) -> None:
    """To a name that the collector's certificate holds; all files are in the service's own volume."""
    environment = OVERLAY[name]["environment"]
    scheme, host = environment["OTEL_EXPORTER_OTLP_ENDPOINT"].split("://")
    assert scheme == "https"
    assert host.split(":")[0] in NAMES["otel-collector"]
    (folder,) = {target for source, target, _ in mounts(name) if source == f"tls-{name}"}
    files = {value for value in environment.values() if value.startswith("/")}
    assert {f"{folder}/{file}" for file in ("ca.pem", "fullchain.pem", "privkey.pem")} == files


def test_the_collector_reads_its_overlay_and_the_certificate_where_that_looks() -> None:
    """Its defaults are the places in the container."""
    command = OVERLAY["otel-collector"]["command"]
    assert command[: len(BASE["otel-collector"]["command"])] == BASE["otel-collector"]["command"]
    targets = {target: source for source, target, _ in mounts("otel-collector")}
    assert targets[command[-1].removeprefix("--config=")] == "./otel-collector-tls.yaml"
    defaults = re.findall(r":-(/[^}]+)}", (ROOT / "otel-collector-tls.yaml").read_text())
    assert {str(Path(file).parent) for file in defaults} == {
        target for target, source in targets.items() if source == "tls-otel-collector"
    }


@pytest.mark.parametrize("name", ["document-api", "volume-init"])
def test_who_refuses_production_without_tls_knows_of_it(name: str) -> None:
    """The service, and the job that says so before anything starts."""
    environment = OVERLAY[name]["environment"]
    assert environment["PUBLIC_TLS"] == "true"
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://otel-collector:4317"


@pytest.mark.parametrize(("environment", "seconds"), [({}, "300"), ({"TLS_DIR": "/certificate"}, "31536300")])
def test_a_try_does_not_bind_a_browser_for_long(environment: dict[str, str], seconds: str) -> None:
    """A year is for a certificate of one's own."""
    (first, then) = re.fullmatch(
        r"max-age=\$\{TLS_DIR:\+(\d+)\}(\d+)", OVERLAY["nginx"]["environment"]["NGINX_HSTS"]
    ).groups()  # type: ignore[union-attr]
    assert (first if environment else "") + then == seconds

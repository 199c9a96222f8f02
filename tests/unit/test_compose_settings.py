"""Settings and secrets that docker-compose.yml gives to whom, and what production refuses."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from docker_stack.compose import UPLOADS
from docker_stack.model import Model
from local_stack.stack import TLS_BETWEEN_SERVICES
from tests.compose import DOCKERFILES, SERVICES, SETTINGS, VOLUME_INIT, conditions, mounts, own_service

SECRETS = (
    "POSTGRES_PASSWORD",
    "DATABASE_SERVICE_PASSWORD",
    "SERVICE_TOKEN",
    "API_KEY_PEPPER",
    "GRAFANA_ADMIN_PASSWORD",
)
ENCRYPTED = {"PUBLIC_TLS": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "https://otel-collector:4317"}
# What production starts with.
PROPER = {"AUTH_MODE": "required", **ENCRYPTED, **dict.fromkeys(SECRETS, "0123456789abcdef")}


@own_service
def test_every_setting_of_a_service_can_be_given_to_its_container(name: str) -> None:
    """But address, port and TLS inside, the folder that is a volume, and the owner's password, which only migrations have."""
    inside = {"HOST", "PORT", "UPLOAD_DIR", *TLS_BETWEEN_SERVICES}
    fields = {field.upper() for field in SETTINGS[name].model_fields} - inside
    assert fields - SERVICES[name]["environment"].keys() <= {"MIGRATION_DATABASE_URL"}
    assert "MIGRATION_DATABASE_URL" not in SERVICES[name]["environment"]


def test_the_data_store_is_given_a_role_that_owns_nothing() -> None:
    """The owner's password is with PostgreSQL, with the jobs that migrate and back up, and with the one that refuses it."""
    environments = {name: service.get("environment", {}) for name, service in SERVICES.items()}
    knowing = {name for name, given in environments.items() if "POSTGRES_PASSWORD" in str(given.values())}
    assert knowing == {"postgres", "migrate", "backup", "volume-init"}
    assert environments["data-store"]["DATABASE_URL"].startswith("postgresql://robin_service:")
    assert environments["migrate"]["DATABASE_URL"] == environments["data-store"]["DATABASE_URL"]
    assert environments["migrate"]["MIGRATION_DATABASE_URL"].startswith("postgresql://robin:")


def test_the_data_store_starts_on_tables_that_are_up_to_date() -> None:
    """As it may not change them itself."""
    assert conditions("data-store")["migrate"] == "service_completed_successfully"
    assert SERVICES["migrate"]["command"] == ["python", "-m", "data_store", "migrate"]
    assert SERVICES["migrate"]["image"] == SERVICES["data-store"]["image"]


def test_a_backup_runs_when_it_is_asked_for_with_what_migrations_have_and_the_documents() -> None:
    """In the place where document_api keeps them, as the same user, and knowing whether they are elsewhere."""
    backup, migrate = SERVICES["backup"], SERVICES["migrate"]
    told = {**SERVICES["document-api"]["environment"], **migrate["environment"]}
    assert backup["profiles"] == ["backup"]
    assert backup["image"] == migrate["image"]
    for variable, value in backup["environment"].items():
        assert told[variable] == value, variable
    assert "STORAGE_URL" in backup["environment"]
    assert list(mounts("backup")) == list(mounts("document-api"))
    assert UPLOADS in {target for _, target, _ in mounts("backup")}
    users = [re.findall(r"^USER (\S+)$", file.read_text(), re.MULTILINE)[-1] for file in DOCKERFILES.values()]
    assert len(set(users)) == 1


def waited_for(name: str) -> set[str]:
    """Return all services that have to be there before a service starts."""
    direct = conditions(name).keys()
    return set(direct).union(*map(waited_for, direct))


def test_whoever_holds_a_secret_of_the_demonstration_starts_after_the_job_that_refuses_it() -> None:
    """That job is given each, with the same default as everybody else."""
    known = {
        name: set(re.findall(r"\$\{(\w+):-([^}]*demo-only[^}]*)\}", str(service.get("environment"))))
        for name, service in SERVICES.items()
    }
    assert known["volume-init"] == set().union(*known.values())
    assert {name for name, _ in known["volume-init"]} == set(SECRETS)
    holding = {name for name, secrets in known.items() if secrets} - {"volume-init"}
    assert holding == {"postgres", "migrate", "backup", "data-store", "document-api", "grafana"}
    assert {name for name in holding if "volume-init" not in waited_for(name)} == set()


def volume_init(tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the job with a `chown` that only says what it was asked."""
    chown = tmp_path / "chown"
    chown.write_text('#!/bin/sh\necho "$@"\n')
    chown.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", VOLUME_INIT],
        env={"PATH": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "robin-demo-only") for name in SECRETS),
        ("AUTH_MODE", "open"),
        ("AUTH_MODE", ""),
        ("PUBLIC_TLS", "false"),
        ("PUBLIC_TLS", ""),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel-collector:4317"),
    ],
)
def test_production_refuses_what_is_only_good_for_a_demonstration(
    tmp_path: Path, name: str, value: str
) -> None:
    """One line that names the variable, the same in a container and before one starts; nothing is given away."""
    given = {"ENVIRONMENT": "production", **PROPER, name: value}
    ended = volume_init(tmp_path, given)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"{name}: must ")
    assert ended.stderr.count("\n") == 1
    service = {"image": "alpine:3", "environment": given}
    model = Model.parse(json.dumps({"services": {"volume-init": service}}))
    assert f"{model.refusal}\n" == ended.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"ENVIRONMENT": "production", **PROPER},
        {"ENVIRONMENT": "development", "SERVICE_TOKEN": "robin-demo-only"},
    ],
    ids=["production", "development"],
)
def test_all_else_is_not_refused(tmp_path: Path, environment: dict[str, str]) -> None:
    """The folders are given to their users."""
    ended = volume_init(tmp_path, environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[0] == "101:101 /volumes/edge-logs"
    service = {"image": "alpine:3", "environment": environment}
    assert Model.parse(json.dumps({"services": {"volume-init": service}})).refusal is None


def test_the_job_is_told_what_the_services_are_told() -> None:
    """It would let through, or refuse, something else."""
    told, public = SERVICES["volume-init"]["environment"], SERVICES["document-api"]["environment"]
    for name in ("ENVIRONMENT", "AUTH_MODE", *ENCRYPTED):
        assert told[name] == public[name]

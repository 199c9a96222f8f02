"""docker-compose.yml and the Dockerfiles keep the promises of the composed stack. No engine is needed."""

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_store.settings import DataStoreSettings
from docker_stack.compose import UPLOADS
from docker_stack.model import Model
from document_api.settings import MULTIPART_ENVELOPE_BYTES, DocumentApiSettings
from local_stack import postgres
from local_stack.back_ends import CAPTURE_CONTENT
from local_stack.nginx import PLACEHOLDER, SITE_TEMPLATE
from local_stack.stack import TLS_BETWEEN_SERVICES
from observability.service import ServiceSettings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS: dict[str, type[ServiceSettings]] = {
    "document-api": DocumentApiSettings,
    "data-store": DataStoreSettings,
}
DOCKERFILES = {name: ROOT / SERVICES[name]["build"]["dockerfile"] for name in SETTINGS}
TARGETS = ROOT / "monitoring" / "prometheus" / "targets"
VOLUME_INIT = ROOT / "docker_stack" / "volume-init.sh"
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
JOBS = {"volume-init", "migrate", "backup"}
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
TAKEN = re.compile(r"^COPY (?!--from)(.+) \S+$", re.MULTILINE)

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


def default(variable: str, service: str) -> str:
    """Return the default of a variable in the environment of a service."""
    found = re.fullmatch(r"\$\{\w+:-(.*)\}", SERVICES[service]["environment"][variable])
    assert found
    return found[1]


def test_there_is_no_version_and_no_fixed_container_name() -> None:
    """The one is obsolete, the other forbids a second instance."""
    assert "version" not in COMPOSE
    assert [name for name, service in SERVICES.items() if "container_name" in service] == []


@every_service
def test_every_image_has_a_pinned_tag(name: str) -> None:
    """Two machines run the same."""
    _, _, tag = SERVICES[name]["image"].rpartition(":")
    assert re.fullmatch(r"v?\d+(\.\d+)*", tag)


@own_service
def test_our_own_images_carry_the_projects_version(name: str) -> None:
    """The tag says what is inside."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SERVICES[name]["image"] == f"robin/{name}:{project['version']}"


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


def test_whoever_probes_or_scrapes_shares_a_network_with_its_targets() -> None:
    """A target on another network would be down for ever."""
    for asking, file, pattern in (
        ("blackbox-exporter", "probe.yml", r'targets: \["(?:http://)?([a-z-]+):'),
        ("prometheus", "probe.yml", r'__exporter: "([a-z-]+):'),
        ("prometheus", "scrape.yml", r'targets: \["([a-z-]+):'),
    ):
        asked = re.findall(pattern, (TARGETS / file).read_text())
        assert asked
        own = set(SERVICES[asking]["networks"])
        lost = {name for name in asked if name != "localhost" and not own & set(SERVICES[name]["networks"])}
        assert lost == set(), (asking, file)


def test_every_replica_of_the_services_is_probed_where_the_exporter_reaches_it() -> None:
    """Prometheus asks Docker's name server for them, on a network that both of them share with the services."""
    file = TARGETS.parent / "scrape" / "replicas.yml"
    (job,) = yaml.safe_load(file.read_text())["scrape_configs"]
    asked = {name: each["port"] for each in job["dns_sd_configs"] for name in each["names"]}
    named = dict(re.findall(r"http://([a-z-]+):(\d+)/health", (TARGETS / "probe.yml").read_text()))
    assert {name: str(port) for name, port in asked.items()} == named
    shared = set(SERVICES["prometheus"]["networks"]) & set(SERVICES["blackbox-exporter"]["networks"])
    assert all(shared & set(SERVICES[name]["networks"]) for name in asked)
    exporter = next(rule for rule in job["relabel_configs"] if rule.get("target_label") == "__address__")
    assert f'"{exporter["replacement"]}"' in (TARGETS / "probe.yml").read_text()


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
    """In the place where document_api keeps them, and as the same user."""
    backup, migrate = SERVICES["backup"], SERVICES["migrate"]
    assert backup["profiles"] == ["backup"]
    assert backup["image"] == migrate["image"]
    for variable, value in backup["environment"].items():
        assert migrate["environment"][variable] == value, variable
    assert list(mounts("backup")) == list(mounts("document-api"))
    assert UPLOADS in {target for _, target, _ in mounts("backup")}
    users = [re.findall(r"^USER (\S+)$", file.read_text(), re.MULTILINE)[-1] for file in DOCKERFILES.values()]
    assert len(set(users)) == 1


def test_each_image_is_built_once() -> None:
    """Two builds of one image at once fail where the engine stores images with containerd; nobody else has it to pull."""
    building = [service["image"] for service in SERVICES.values() if "build" in service]
    assert len(building) == len(set(building)) == len(SETTINGS)
    for service in SERVICES.values():
        if service["image"] in building and "build" not in service:
            assert service["pull_policy"] == "never"


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


def test_alertmanager_is_given_every_setting_of_its_start_and_a_place_to_write() -> None:
    """Its root is read-only; secrets are files that it may only read."""
    alertmanager = SERVICES["alertmanager"]
    script = (ROOT / "monitoring" / "alertmanager" / "start.sh").read_text()
    fixed = {"ALERT_SECRETS_DIR"}
    assert set(re.findall(r"\bALERT_[A-Z_]+", script)) - fixed == alertmanager["environment"].keys()
    assert alertmanager["entrypoint"] == ["/bin/sh", "/etc/alertmanager/start.sh"]
    assert ("./secrets/alertmanager", "/run/secrets/alertmanager", "ro") in mounts("alertmanager")
    assert any(tmpfs.startswith("/tmp:") for tmpfs in alertmanager["tmpfs"])  # noqa: S108


def test_alertmanager_tells_nobody_before_prometheus_has_told_it_again_of_all_that_fires() -> None:
    """Prometheus does so at the first evaluation later than its resend delay, whose default is a minute."""
    config = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text())
    evaluation = int(config["global"]["evaluation_interval"].removesuffix("s"))
    assert not [
        flag for flag in SERVICES["prometheus"]["command"] if flag.startswith("--rules.alert.resend-delay")
    ]
    (delay,) = [
        flag for flag in SERVICES["alertmanager"]["command"] if flag.startswith("--dispatch.start-delay=")
    ]
    assert int(delay.partition("=")[2].removesuffix("s")) >= 60 + 2 * evaluation


def test_nginx_is_given_every_placeholder_of_its_template() -> None:
    """One that is missing would stay in the configuration as it is."""
    wanted = set(PLACEHOLDER.findall(SITE_TEMPLATE.read_text()))
    assert wanted <= SERVICES["nginx"]["environment"].keys()
    assert re.compile(SERVICES["nginx"]["environment"]["NGINX_ENVSUBST_FILTER"]).match("UPSTREAM_SERVERS")


def test_nginx_and_document_api_agree_on_the_largest_upload() -> None:
    """The defaults fit together."""
    largest = int(default("NGINX_MAX_UPLOAD_BYTES", "nginx"))
    assert largest == DocumentApiSettings.model_fields["max_upload_bytes"].default
    assert int(default("NGINX_MAX_BODY_BYTES", "nginx")) == largest + MULTIPART_ENVELOPE_BYTES


def test_the_edge_follows_containers_that_come_and_go() -> None:
    """Both load balancers ask Docker's name server again and again."""
    assert "document-api:8000 resolve" in SERVICES["nginx"]["environment"]["UPSTREAM_SERVERS"]
    for file in ("nginx.conf", "data-store.conf"):
        assert re.search(
            r"^    resolver 127\.0\.0\.11 valid=\d+s", (ROOT / "nginx" / file).read_text(), re.MULTILINE
        )
    assert "data-store:8001 resolve" in (ROOT / "nginx" / "data-store.conf").read_text()


def test_the_collector_lets_a_models_questions_pass_where_the_document_api_sends_them() -> None:
    """Both are told by one variable of the shell."""
    for service in ("document-api", "otel-collector"):
        assert SERVICES[service]["environment"][CAPTURE_CONTENT] is None


def test_the_collector_reads_the_rotated_access_log_too() -> None:
    """Its pattern fits both names that the rotation leaves."""
    pattern = Path(SERVICES["otel-collector"]["environment"]["NGINX_ACCESS_LOG"])
    written = Path(SERVICES["nginx"]["environment"]["NGINX_ACCESS_LOG"])
    assert written.match(str(pattern))
    assert written.with_suffix(".1.json").match(str(pattern))


def test_postgresql_logs_as_in_the_local_stack() -> None:
    """The collector has one configuration for both."""
    given = dict(option.removeprefix("-c").split("=", 1) for option in SERVICES["postgres"]["command"][1:])
    of_the_place = {"listen_addresses", "unix_socket_directories"}
    assert {name: value for name, value in postgres.SETTINGS.items() if name not in of_the_place}.items() <= (
        given.items()
    )
    assert given["log_file_mode"] == "0644"


@pytest.mark.parametrize(("name", "variable"), [("nginx", "NGINX_VERSION"), ("postgres", "POSTGRES_VERSION")])
def test_the_collector_calls_other_programs_by_the_version_that_runs(name: str, variable: str) -> None:
    """Its default for service.version is the tag of the image."""
    tag = SERVICES[name]["image"].partition(":")[2]
    assert f"${{env:{variable}:-{tag}}}" in (ROOT / "otel-collector-config.yaml").read_text()


@pytest.mark.parametrize(
    "file",
    [
        "otel-collector-config.yaml",
        "monitoring/prometheus/targets/scrape.yml",
        "monitoring/prometheus/targets/alertmanager.yml",
        "monitoring/prometheus/targets/probe.yml",
        "monitoring/grafana/provisioning/datasources/robin.yaml",
        "nginx/data-store.conf",
        "docker-compose.yml",
    ],
)
def test_every_address_in_a_configuration_is_a_service(file: str) -> None:
    """Names and ports of containers are written in many places, and Compose checks none."""
    text = re.sub(r"#.*", "", (ROOT / file).read_text())
    hosts = set(re.findall(r"(?:https?://|@|[\" -])([a-z][a-z0-9-]*):\d{4,5}\b", text))
    assert hosts
    assert hosts - SERVICES.keys() - {"localhost"} == set()


def copied(dockerfile: Path) -> set[str]:
    """Return what a Dockerfile takes out of the checkout."""
    return {source for line in TAKEN.findall(dockerfile.read_text()) for source in line.split()}


def test_what_is_copied_is_sent_to_the_engine_and_nothing_else() -> None:
    """The .dockerignore lets through what the images hold."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert let_through == set().union(*map(copied, DOCKERFILES.values()))
    assert all((ROOT / source).exists() for source in let_through)


@own_service
class TestDockerfile:
    """What the images are made of."""

    def test_the_last_stage_runs_as_an_ordinary_user(self, name: str) -> None:
        """Given by number, so that everybody can tell that it is not root."""
        last = DOCKERFILES[name].read_text().rpartition("\nFROM ")[2]
        assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)
        assert "pip" not in re.sub(r"#.*", "", last)

    def test_packages_are_pinned_wheels_with_hashes(self, name: str) -> None:
        """Nothing is compiled, and nothing else than what was tested is installed."""
        text = DOCKERFILES[name].read_text()
        assert f"requirements/{name}.txt" in text
        assert "--require-hashes" in text
        assert "--only-binary :all:" in text

    def test_only_the_service_and_the_shared_packages_are_copied(self, name: str) -> None:
        """Neither the other service nor the tests."""
        reading = {"telemetry_queries"} if name == "document-api" else set()
        assert copied(DOCKERFILES[name]) == {
            f"requirements/{name}.txt",
            "access",
            "observability",
            name.replace("-", "_"),
            *reading,
        }

    def test_it_needs_no_frontend_from_a_registry(self, name: str) -> None:
        """Every builder reads it: no syntax line, no heredoc, no linked copy."""
        text = DOCKERFILES[name].read_text()
        assert "# syntax=" not in text
        assert "<<" not in text
        assert "--link" not in text

"""docker-compose.yml and the configurations of the programs in it fit together."""

import re
from pathlib import Path

import pytest
import yaml

from document_api.settings import MULTIPART_ENVELOPE_BYTES, DocumentApiSettings
from local_stack import postgres
from local_stack.back_ends import CAPTURE_CONTENT
from local_stack.nginx import PLACEHOLDER, SITE_TEMPLATE
from tests.compose import ROOT, SERVICES, mounts

TARGETS = ROOT / "monitoring" / "prometheus" / "targets"


def default(variable: str, service: str) -> str:
    """Return the default of a variable in the environment of a service."""
    found = re.fullmatch(r"\$\{\w+:-(.*)\}", SERVICES[service]["environment"][variable])
    assert found
    return found[1]


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

"""TLS of the local stack: certificates, settings and what is handed to whom, without starting anything."""

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from local_stack import certificates, tls
from local_stack.back_ends import COLLECTOR_TLS_CONFIG, BackEnds
from local_stack.certificates import NAMES, Authority, own_certificate
from local_stack.closing import curl_example
from local_stack.errors import UsageError
from local_stack.health import HttpProbe, TlsProbe, Trust
from local_stack.ports import choose_ports
from local_stack.register import Register
from local_stack.services import Service
from local_stack.settings import CHECKOUT, Settings
from local_stack.stack import Stack
from local_stack.state import State
from local_stack.tls import Tls
from tests.certificates import issue


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests gets in."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A new state folder."""
    state = State(tmp_path / "state")
    state.create()
    return state


def stack(state: State, **settings: object) -> Stack:
    """Return a stack with TLS, its ports settled."""
    values = {"tls": True, "http_port": 8080, "https_port": 8443, **settings}
    chosen = choose_ports(Settings(**values))  # type: ignore[arg-type]
    return Stack(chosen, state, sys.executable, Tls.prepare(chosen, state))


class TestAuthority:
    """Made once, and anew when it must be."""

    def test_everybody_gets_a_certificate_that_openssl_finds_good(self, tmp_path: Path) -> None:
        """For each of the names; keys are the owner's alone, and the authority's own is nowhere."""
        authority = Authority(tmp_path / "tls")
        assert authority.ensure()
        for name, identities in NAMES.items():
            pair = authority.pair(name)
            hosts = [identity for identity in identities if not identity[0].isdigit() and ":" not in identity]
            for host in hosts:
                command = ["openssl", "verify", "-CAfile", authority.certificate, "-verify_hostname", host]
                subprocess.run([*map(str, command), str(pair.certificate)], check=True, capture_output=True)
            assert stat.S_IMODE(pair.key.stat().st_mode) == 0o600
            assert pair.leaf().not_valid_after_utc - datetime.now(UTC) < timedelta(days=398)
        keys = {path.parent.name for path in authority.folder.rglob("*") if "KEY" in _text(path)}
        assert keys == NAMES.keys()

    def test_what_is_good_stays(self, tmp_path: Path) -> None:
        """A second start changes nothing: browsers keep their trust."""
        authority = Authority(tmp_path / "tls")
        authority.ensure()
        before = authority.certificate.read_bytes()
        assert not authority.ensure()
        assert authority.certificate.read_bytes() == before

    @pytest.mark.parametrize("damage", ["missing", "broken", "ends soon"])
    def test_what_is_not_is_made_anew(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
    ) -> None:
        """All of it, by a new authority."""
        authority = Authority(tmp_path / "tls")
        if damage == "ends soon":
            monkeypatch.setattr(certificates, "LIFETIME", timedelta(days=29))
        authority.ensure()
        monkeypatch.undo()
        before = authority.certificate.read_bytes()
        if damage == "missing":
            authority.pair("postgres").key.unlink()
        elif damage == "broken":
            authority.pair("postgres").certificate.write_text("nothing")
        assert authority.ensure()
        assert authority.certificate.read_bytes() != before
        assert not authority.ensure()

    def test_it_has_a_command_line_for_docker(self, tmp_path: Path) -> None:
        """docker_stack runs it, and whoever calls Compose himself."""
        folder = tmp_path / "tls"
        subprocess.run(
            [sys.executable, "-m", "local_stack.certificates", folder],
            check=True,
            cwd=CHECKOUT,
        )
        assert not Authority(folder).ensure()


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


class TestOwnCertificate:
    """TLS_DIR is looked at before anything starts."""

    def test_a_good_one_is_taken_with_its_first_name(self, tmp_path: Path) -> None:
        """A wildcard stands for one that it covers."""
        issue(trustme.CA(), tmp_path / "own", "*.example.org", "example.org")
        assert own_certificate(tmp_path / "own").name == "robin.example.org"

    @pytest.mark.parametrize(
        "wrong", ["nothing", "no key", "another key", "ended", "no name", "no certificate"]
    )
    def test_what_is_wrong_is_one_line_with_the_variable(self, tmp_path: Path, wrong: str) -> None:
        """And nothing is touched."""
        folder, authority = tmp_path / "own", trustme.CA()
        if wrong != "nothing":
            name = "127.0.0.1" if wrong == "no name" else "example.org"
            pair = issue(authority, folder, name, ended=wrong == "ended")
            if wrong == "no key":
                pair.key.unlink()
            elif wrong == "another key":
                pair.key.write_bytes(authority.issue_cert("x").private_key_pem.bytes())
            elif wrong == "no certificate":
                pair.certificate.write_text("nothing")
        with pytest.raises(UsageError, match=r"^TLS_DIR=[^\n]+$"):
            tls.check(Settings(tls=True, tls_dir=folder))


class TestProduction:
    """Nobody is answered there without TLS."""

    @pytest.mark.parametrize("settings", [{}, {"tls_dir": Path("/somewhere")}])
    def test_it_is_refused_with_the_variable(self, settings: dict[str, Path]) -> None:
        """TLS_DIR alone switches nothing on."""
        with pytest.raises(UsageError, match=r"^TLS: must be true with ENVIRONMENT=production"):
            tls.check(Settings(environment="production", **settings))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "settings",
        [
            {"environment": "production", "tls": True},
            {"environment": "production", "public_tls": True},
            {"environment": "development"},
        ],
    )
    def test_with_it_or_without_need_it_starts(self, settings: dict[str, object]) -> None:
        """Here, or in front of nginx; a demonstration needs none."""
        tls.check(Settings(**settings))  # type: ignore[arg-type]


class TestStack:
    """Everything that asks knows of it."""

    def test_without_tls_there_is_nothing_of_it(self, state: State) -> None:
        """No port, no process, no variable."""
        plain = stack(state, tls=False)
        assert plain.tls is None
        assert (plain.settings.https_port, plain.settings.postgres_tls_port) == (None, None)
        assert plain.url == "http://127.0.0.1:8080"
        assert "postgres_tls" not in plain.names()
        assert "ca_file" not in plain.endpoints()
        assert "PUBLIC_TLS" not in plain.document_apis({})[0].environment
        assert not (state.root / "tls").exists()

    def test_addresses_are_https_and_say_whom_to_trust(self, state: State) -> None:
        """For people, and for test_observability.py."""
        running = stack(state)
        ca_file = state.root / "tls" / "ca.pem"
        assert running.url == "https://localhost:8443"
        assert stack(state, https_port=443).url == "https://localhost"
        assert running.endpoints()["ca_file"] == str(ca_file)
        assert f"curl --cacert {ca_file} -X PUT" in curl_example(running.url, running.ca_file)

    def test_with_an_own_certificate_its_name_is_the_address(self, state: State, tmp_path: Path) -> None:
        """Clients know its authority, or are told by whoever chose it."""
        issue(trustme.CA(), tmp_path / "own", "robin.example.org")
        running = stack(state, tls_dir=tmp_path / "own")
        assert running.url == "https://robin.example.org:8443"
        assert running.ca_file is None
        assert running.nginx().probe == HttpProbe(
            8443, "/nginx-health", Trust("robin.example.org", str(tmp_path / "own" / "fullchain.pem"))
        )

    def test_the_services_send_telemetry_as_themselves_and_verify_the_database(self, state: State) -> None:
        """By the standard variables; the shell has the last word on where it goes."""
        running = stack(state)
        store, api = running.data_store({}).environment, running.document_apis({})[0].environment
        folder = state.root / "tls"
        for name, environment in (("data-store", store), ("document-api", api)):
            assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://127.0.0.1:4317"
            assert environment["OTEL_EXPORTER_OTLP_CERTIFICATE"] == str(folder / "ca.pem")
            assert environment["OTEL_EXPORTER_OTLP_CLIENT_KEY"] == str(folder / name / "privkey.pem")
        assert "@127.0.0.1:5433/robin?sslmode=verify-full" in store["DATABASE_URL"]
        assert api["PUBLIC_TLS"] == "true"
        elsewhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317"}
        assert running.data_store(elsewhere).environment.items() >= elsewhere.items()

    def test_the_collector_is_given_its_overlay(self, state: State, tmp_path: Path) -> None:
        """After the configuration that it changes."""
        running = stack(state)
        service = BackEnds(running.settings, state, {}, running.tls).service("otelcol", tmp_path / "otelcol")
        assert service.command[-2:] == ("--config", str(COLLECTOR_TLS_CONFIG))
        assert service.environment["COLLECTOR_TLS_CLIENT_CA"] == str(state.root / "tls" / "ca.pem")

    def test_new_certificates_start_everybody_anew(self, state: State) -> None:
        """Who holds the old ones would be refused by all others."""
        before = [service.inputs for service in everybody(stack(state))]
        assert [service.inputs for service in everybody(stack(state))] == before
        (state.root / "tls" / "ca.pem").unlink()
        after = [service.inputs for service in everybody(stack(state))]
        assert not set(before) & set(after)

    def test_the_register_keeps_whom_the_probes_trust(self, state: State, tmp_path: Path) -> None:
        """`--status` asks as the start did."""
        trust = Trust("localhost", "/ca.pem")
        for probe in (HttpProbe(1, "/", trust), HttpProbe(1, "/"), TlsProbe(1, trust)):
            service = Service(name="x", command=("x",), probe=probe, priority=1, url="u", directory=tmp_path)
            Register({}).having(service).write(state)
            entry = Register.read(state).entries["x"]
            assert entry is not None
            assert entry.probe == probe


def everybody(running: Stack) -> list[Service]:
    """Return each service that has certificates or trusts them."""
    assert running.tls
    collector = BackEnds(running.settings, running.state, {}, running.tls).service(
        "otelcol", Path(os.devnull)
    )
    api, *_ = running.document_apis({})
    return [running.postgres_tls(running.tls), running.data_store({}), api, running.nginx(), collector]

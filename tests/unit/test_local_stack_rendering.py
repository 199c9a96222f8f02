"""What the local stack renders and refuses, without starting anything."""

import os
import socket
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
import yaml

from local_stack import postgres
from local_stack.__main__ import main
from local_stack.back_ends import CAPTURE_CONTENT, COLLECTOR_CONFIG, BackEnds
from local_stack.errors import StackError, UsageError
from local_stack.health import HttpProbe
from local_stack.leftovers import _names_state
from local_stack.log_files import files_of, tail
from local_stack.nginx import SITE_TEMPLATE, LoadBalancer, render
from local_stack.ports import _problem, check_free, choose_http_port
from local_stack.register import Register
from local_stack.services import Service, digest_files
from local_stack.settings import Settings
from local_stack.stack import Stack
from local_stack.state import LONGEST_SOCKET_PATH, State
from local_stack.supervision import Supervisor
from observability.telemetry import SHUTDOWN_SECONDS
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests gets in."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def service(tmp_path: Path, **changes: object) -> Service:
    """Return a service to render."""
    values: dict[str, object] = {
        "name": "thing",
        "command": ("a program", "100%"),
        "probe": HttpProbe(1, "/"),
        "priority": 1,
        "url": "http://127.0.0.1:1",
        "directory": tmp_path,
    }
    return Service(**(values | changes))  # type: ignore[arg-type]


class TestSettings:
    """The environment, checked before anything starts."""

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("HTTP_PORT", "web"),
            ("POSTGRES_PORT", "0"),
            ("PROMETHEUS_PORT", "65536"),
            ("DOCUMENT_API_INSTANCES", "0"),
            ("MAX_UPLOAD_BYTES", "-1"),
            ("SHUTDOWN_SECONDS", "-1"),
            ("ALERT_SPEEDUP", "0.5"),
            ("ALERT_SPEEDUP", "nan"),
            ("ALERT_SPEEDUP", "61"),
        ],
    )
    def test_a_wrong_value_names_its_variable(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        """One line that says which variable and what it was."""
        monkeypatch.setenv(variable, value)
        with pytest.raises(UsageError, match=f"^{variable}='{value}': [^\\n]+$"):
            Settings.from_environment()

    def test_two_services_on_one_port_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The ports of further instances count too."""
        monkeypatch.setenv("DATA_STORE_PORT", "8010")
        with pytest.raises(UsageError, match="DOCUMENT_API_PORT and DATA_STORE_PORT both want port 8010"):
            Settings.from_environment()

    def test_an_instance_beyond_the_last_port_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first one's port is fine, the second one's does not exist."""
        monkeypatch.setenv("DOCUMENT_API_PORT", "65530")
        with pytest.raises(UsageError, match=r"DOCUMENT_API_PORT=65530 .*DOCUMENT_API_INSTANCES=2 .*65540"):
            Settings.from_environment()

    def test_instances_are_ten_ports_apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As the README says."""
        monkeypatch.setenv("DOCUMENT_API_INSTANCES", "3")
        assert Settings.from_environment().document_api_ports == (8000, 8010, 8020)


class TestPorts:
    """Taken ports are found before anything starts."""

    def test_the_holder_of_a_taken_port_is_named(self) -> None:
        """Port, variable, process and command line; our own processes are no obstacle."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            settings = Settings(alertmanager_port=port)
            with pytest.raises(
                StackError, match=rf"port {port} \(ALERTMANAGER_PORT\) is taken by process \d+ \(.+\)"
            ):
                check_free(settings, own=set())

    def test_a_port_of_our_own_stack_is_no_obstacle(self) -> None:
        """A second `up` meets the first one's processes."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert _problem("ALERTMANAGER_PORT", port, own={os.getpid()}) is None
            assert _problem("ALERTMANAGER_PORT", port, own={1}) is not None

    def test_a_chosen_http_port_is_kept(self) -> None:
        """HTTP_PORT overrides 80 and 8080."""
        assert choose_http_port(Settings(http_port=8123)) == 8123


class TestState:
    """Everything of a stack lies below its one folder."""

    def test_a_long_path_gets_a_short_socket(self, tmp_path: Path) -> None:
        """Sockets have a limit that folders do not have; two folders never share one."""
        long = tmp_path / ("x" * 200)
        socket_path = State(long).supervisor_socket
        assert len(str(socket_path)) <= LONGEST_SOCKET_PATH
        assert socket_path != State(tmp_path / ("y" * 200)).supervisor_socket
        assert State(Path("/short")).supervisor_socket == Path("/short/run/supervisor.sock")

    def test_folders_that_were_there_before_are_closed_too(self, tmp_path: Path) -> None:
        """A build makes logs/ before there is a stack, with whatever the umask allows."""
        state = State(tmp_path)
        state.logs.mkdir(mode=0o755)
        state.create()
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in (state.logs, state.uploads)} == {0o700}

    def test_a_second_command_does_not_change_the_stack_at_the_same_time(self, tmp_path: Path) -> None:
        """It says so at once."""
        state = State(tmp_path)
        state.create()
        with state.locked(), pytest.raises(StackError, match="under way"), state.locked():
            pass


class TestRendering:
    """Configuration out of values, with odd values handled or refused."""

    def test_only_its_own_placeholders_are_filled_in(self) -> None:
        """nginx's variables stay; a missing value is an error."""
        assert render(
            "${NGINX_LISTEN} $uri ${HOME} ${UPSTREAM_SERVERS}", {"NGINX_LISTEN": "1", "UPSTREAM_SERVERS": "s"}
        ) == ("1 $uri ${HOME} s")
        with pytest.raises(KeyError):
            render(SITE_TEMPLATE.read_text(), {})

    def test_nginx_takes_the_document_and_its_envelope(self, tmp_path: Path) -> None:
        """The body's limit is the document's and 64 KiB."""
        text = LoadBalancer(
            listen="1",
            upstream_ports=[2, 3],
            max_upload_bytes=1000,
            access_log=tmp_path / "a",
            config_dir=tmp_path / "c",
            run_dir=tmp_path / "r",
        ).write()
        assert "client_max_body_size 66536;" in text
        assert text.count("max_fails=1 fail_timeout=2s;\n") == 2

    def test_prometheus_probes_every_instance(self, tmp_path: Path) -> None:
        """One that is not asked could be dead for long."""
        state = State(tmp_path)
        settings = Settings(http_port=80, document_api_port=9000, document_api_instances=3)
        BackEnds(settings, state).service("prometheus", tmp_path / "prometheus")
        groups = yaml.safe_load((state.config / "prometheus" / "targets" / "probe.yml").read_text())
        targets = {group["labels"]["service"]: group["targets"] for group in groups}
        assert targets["document-api"] == [f"http://127.0.0.1:{port}/health" for port in (9000, 9010, 9020)]
        assert targets["postgresql"] == ["127.0.0.1:5432"]

    def test_supervisor_gets_percent_signs_and_spaces_unharmed(self, tmp_path: Path) -> None:
        """Its own expansion of % must not meet ours."""
        text = Supervisor(State(tmp_path))._render(service(tmp_path, environment={"A": "50% off, 'x' too"}))
        assert "command='a program' 100%%\n" in text
        assert "A=\"50%% off, 'x' too\"," in text

    @pytest.mark.parametrize("value", ["a\nb", "a ;b", "a #b", "'\"", '"at the end"'])
    def test_what_supervisor_would_misread_is_refused(self, tmp_path: Path, value: str) -> None:
        """Never silently another value than the one that was set."""
        with pytest.raises(UsageError):
            Supervisor(State(tmp_path))._render(service(tmp_path, environment={"LLM_MODEL": value}))

    def test_changed_code_gives_another_digest(self, tmp_path: Path) -> None:
        """A changed, a new and a renamed file are seen."""
        (tmp_path / "a.py").write_text("1")
        digests = {digest_files([tmp_path])}
        (tmp_path / "a.py").write_text("2")
        digests.add(digest_files([tmp_path]))
        (tmp_path / "b.py").write_text("")
        digests.add(digest_files([tmp_path]))
        (tmp_path / "b.py").rename(tmp_path / "c.py")
        digests.add(digest_files([tmp_path]))
        assert len(digests) == 4


class TestMetricExports:
    """Points come often enough for the ranges of the rules."""

    @pytest.mark.parametrize(("speedup", "milliseconds"), [(1, "4000"), (5, "800"), (60, "500")])
    def test_they_are_sped_up_with_alerting(self, tmp_path: Path, speedup: float, milliseconds: str) -> None:
        """But to no more than two a second."""
        state = State(tmp_path)
        state.create()
        store = Stack(Settings(alert_speedup=speedup), state, "python").data_store({})
        assert store.environment["OTEL_METRIC_EXPORT_INTERVAL"] == milliseconds

    def test_the_shell_has_the_last_word(self, tmp_path: Path) -> None:
        """As with every other variable of telemetry."""
        state = State(tmp_path)
        state.create()
        shell = {"OTEL_METRIC_EXPORT_INTERVAL": "250"}
        store = Stack(Settings(alert_speedup=20), state, "python").data_store(shell)
        assert store.environment["OTEL_METRIC_EXPORT_INTERVAL"] == "250"


class TestSecrets:
    """Who is given which, whatever the shell holds."""

    SHELL: ClassVar = {
        "DATABASE_URL": "postgresql://elsewhere/robin",
        "MIGRATION_DATABASE_URL": "postgresql://elsewhere/robin",
        "SERVICE_TOKEN": "of-the-shell",
        "API_KEY_PEPPER": "of-the-shell",
        "CREDENTIAL_CACHE_SECONDS": "3",
        "LLM_API_KEY": "of-the-model",
        "STORAGE_URL": "s3://documents",
        "AWS_SECRET_ACCESS_KEY": "of-the-store",
        "AUTH_MODE": "required",
    }

    @pytest.fixture
    def stack(self, tmp_path: Path) -> Stack:
        """A stack that has not been started."""
        state = State(tmp_path)
        state.create()
        return Stack(Settings(postgres_port=15432), state, "python")

    def test_the_data_store_is_no_owner(self, stack: Stack) -> None:
        """It has neither the owner's password nor any way to it."""
        environment = stack.data_store(self.SHELL).environment
        password = postgres.service_password(stack.state)
        assert environment["DATABASE_URL"] == f"postgresql://robin_service:{password}@127.0.0.1:15432/robin"
        assert "MIGRATION_DATABASE_URL" not in environment
        assert postgres.database_password(stack.state) not in str(environment)

    def test_migrations_and_the_command_line_are_the_owner(self, stack: Stack) -> None:
        """And know whom to let at the tables, and how keys are hashed."""
        environment = stack.owner_environment(self.SHELL)
        password = postgres.database_password(stack.state)
        store = stack.data_store(self.SHELL).environment
        assert environment["MIGRATION_DATABASE_URL"] == f"postgresql://robin:{password}@127.0.0.1:15432/robin"
        for name in ("DATABASE_URL", "API_KEY_PEPPER", "CREDENTIAL_CACHE_SECONDS", "AUTH_MODE"):
            assert environment[name] == store[name]

    def test_a_backup_knows_where_the_bytes_are_as_the_stack_was_started(self, stack: Stack) -> None:
        """And no key of that place."""
        assert stack.owner_environment(self.SHELL)["STORAGE_URL"] == "s3://documents"
        assert stack.owner_environment({})["STORAGE_URL"] == ""
        assert "AWS_SECRET_ACCESS_KEY" not in stack.owner_environment(self.SHELL)

    def test_both_services_know_one_token_and_each_its_own_secrets(self, stack: Stack) -> None:
        """document_api is told of no database and no pepper, data_store of no model's or object store's key."""
        store = stack.data_store(self.SHELL).environment
        for api in (each.environment for each in stack.document_apis(self.SHELL)):
            assert api["SERVICE_TOKEN"] == store["SERVICE_TOKEN"] == stack.state.secret("service-token")
            assert {"DATABASE_URL", "API_KEY_PEPPER"}.isdisjoint(api)
            assert {"LLM_API_KEY", "AWS_SECRET_ACCESS_KEY"} <= api.keys()
        assert {"LLM_API_KEY", "AWS_SECRET_ACCESS_KEY"}.isdisjoint(store)
        assert store["API_KEY_PEPPER"] == stack.state.secret("api-key-pepper")

    def test_a_secret_is_made_once_and_is_its_owner_s_alone(self, tmp_path: Path) -> None:
        """No two are alike."""
        state = State(tmp_path)
        secrets = [state.secret(name) for name in ("service-token", "api-key-pepper", "service-token")]
        assert secrets[0] == secrets[2] != secrets[1]
        assert all(len(secret) == 48 for secret in secrets)
        assert stat.S_IMODE((tmp_path / "service-token").stat().st_mode) == 0o600

    def test_administering_what_does_not_run_is_one_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """That says how to start it."""
        monkeypatch.setenv("ROBIN_STATE_DIR", str(tmp_path))
        assert main(["admin", "list", "clients", "--json"]) == 1
        assert capsys.readouterr().err == (
            f"error: the stack of {tmp_path} does not run; start it with: ./setup-and-run.sh\n"
        )


class TestAlertmanager:
    """What decides whom it tells reaches it, and a change starts it anew."""

    @staticmethod
    def service(tmp_path: Path, environment: Mapping[str, str] | None = None, speedup: float = 1) -> Service:
        """Return it with the secrets of a test."""
        state = State(tmp_path / "state")
        state.create()
        (tmp_path / "secrets").mkdir(exist_ok=True)
        settings = Settings(alert_secrets_dir=tmp_path / "secrets", alert_speedup=speedup)
        return BackEnds(settings, state, environment or {}).service("alertmanager", tmp_path / "alertmanager")

    def test_it_is_given_every_variable_of_alerts_and_no_other(self, tmp_path: Path) -> None:
        """Settings of notifications come from the shell, the place of secrets from the settings."""
        shell = {"ALERT_EMAIL_TO": "a@example.org", "ALERT_SECRETS_DIR": "elsewhere", "LLM_API_KEY": "secret"}
        environment = self.service(tmp_path, shell).environment
        assert environment == {
            "ALERT_EMAIL_TO": "a@example.org",
            "ALERT_SECRETS_DIR": str(tmp_path / "secrets"),
            "ALERTMANAGER": str(tmp_path / "alertmanager"),
            "ALERTMANAGER_CONFIG_DIR": str(tmp_path / "state" / "run"),
        }

    def test_the_secrets_of_the_checkout_are_the_default(self) -> None:
        """There, a page says what each is."""
        assert (Settings().alert_secrets_dir / "README.md").is_file()

    def test_secrets_that_change_start_it_anew(self, tmp_path: Path) -> None:
        """It says which notifications are on when it starts."""
        inputs = [self.service(tmp_path).inputs]
        for text in ("https://one.example.org", "https://other.example.org"):
            (tmp_path / "secrets" / "slack_webhook_url").write_text(text)
            inputs.append(self.service(tmp_path).inputs)
        assert len(set(inputs)) == 3
        (tmp_path / "secrets" / "slack_webhook_url").unlink()
        assert self.service(tmp_path).inputs == inputs[0]

    def test_another_speed_starts_it_anew(self, tmp_path: Path) -> None:
        """And the real one is the file itself."""
        speeds = [self.service(tmp_path, speedup=speedup).inputs for speedup in (1, 20, 1)]
        assert speeds[0] == speeds[2] != speeds[1]


def test_the_collector_lets_a_models_questions_pass_where_the_document_api_sends_them(tmp_path: Path) -> None:
    """Both are told by one variable of the shell; untold, neither."""
    state = State(tmp_path)
    state.create()
    shells: tuple[Mapping[str, str], ...] = ({CAPTURE_CONTENT: "SPAN_ONLY"}, {})
    for shell in shells:
        collector = BackEnds(Settings(), state, shell).service("otelcol", tmp_path / "otelcol")
        (api, *_) = Stack(Settings(), state, "python").document_apis(shell)
        assert collector.environment[CAPTURE_CONTENT] == api.environment.get(CAPTURE_CONTENT, "")
        assert CAPTURE_CONTENT in COLLECTOR_CONFIG.read_text()


class TestDatabaseOutside:
    """PostgreSQL's place for root whose checkout its user cannot reach."""

    @pytest.fixture
    def outside(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Data in that place, of a state folder in the first line of a test."""
        monkeypatch.setattr(postgres, "REACHABLE_HOME", tmp_path / "reachable")
        outside = postgres.outside_home(State(tmp_path / "state"))
        (outside / "postgres" / "data").mkdir(parents=True)
        return outside

    def test_data_of_a_deleted_state_folder_goes(self, tmp_path: Path, outside: Path) -> None:
        """Its password went with the folder: nobody could log in."""
        assert postgres.forget_deleted(State(tmp_path / "state")) == outside
        assert not outside.exists()

    def test_data_that_a_state_folder_leads_to_stays(self, tmp_path: Path, outside: Path) -> None:
        """The link tells that the folder still is the one the data belongs to."""
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "postgres").symlink_to(outside / "postgres")
        assert postgres.forget_deleted(State(tmp_path / "state")) is None
        assert (outside / "postgres" / "data").exists()

    def test_data_of_another_state_folder_stays(self, tmp_path: Path, outside: Path) -> None:
        """Each folder has its own place."""
        assert postgres.forget_deleted(State(tmp_path / "another")) is None
        assert (outside / "postgres" / "data").exists()

    def test_a_server_that_was_left_over_there_is_found(self, tmp_path: Path, outside: Path) -> None:
        """PostgreSQL overwrites its environment; its command line names this place only."""
        program = outside / "postgres" / "postgres"
        program.write_text("#!/bin/sh\nread -r line\n")
        program.chmod(0o755)
        with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
            try:
                left_over = psutil.Process(process.pid)  # for a moment after exec it has no command line
                assert eventually(lambda: _names_state(left_over, State(tmp_path / "state")))
            finally:
                process.kill()


class TestStopping:
    """Supervisor kills what has not ended in time: nobody who still answers or sends may be among them."""

    def test_services_are_given_longer_than_they_take(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Running requests, then telemetry, then what is to be closed, each as long as it may take."""
        monkeypatch.setenv("SHUTDOWN_SECONDS", "42")
        state = State(tmp_path)
        state.create()
        stack = Stack(Settings.from_environment(), state, "python")
        for one in (stack.data_store({}), *stack.document_apis({})):
            assert one.stop_seconds > 42 + SHUTDOWN_SECONDS


class TestRegisterAndLogs:
    """What `status` and `logs` read."""

    def test_the_register_survives_being_written(self, tmp_path: Path) -> None:
        """Services that have not been started yet stay in it."""
        state = State(tmp_path)
        state.create()
        register = Register({"later": None}).having(service(tmp_path))
        register.write(state)
        assert Register.read(state) == register

    def test_an_unknown_service_is_answered_with_the_known_ones(self, tmp_path: Path) -> None:
        """All of them, by name."""
        with pytest.raises(
            UsageError, match=r"no service 'nix'; there are: alertmanager, .*data_store, .*victoria-logs"
        ):
            files_of("nix", State(tmp_path))

    def test_all_instances_are_shown_under_their_common_name(self, tmp_path: Path) -> None:
        """document_api is every document_api-N."""
        state = State(tmp_path)
        state.create()
        for name in ("document_api-1.log", "document_api-2.log", "nginx.log"):
            (state.logs / name).write_text("".join(f"{name} {i}\n" for i in range(9)))
        files = files_of("document_api", state)
        assert tail(files, 1) == ["document_api-1.log 8", "document_api-2.log 8"]

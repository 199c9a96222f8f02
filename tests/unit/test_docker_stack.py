"""Docker or local processes: the choice, what `docker compose` says, and what is told of it. No engine is needed."""

import getpass
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from data_store.backup.archive import Writer
from docker_stack import model, up
from docker_stack.__main__ import main
from docker_stack.choice import Choice, choose, running_way
from docker_stack.containers import Container, parse_ps, problems
from docker_stack.model import Model, base_images
from local_stack.state import State
from observability.service import DEMONSTRATION, Environment

CHECKOUT = Path(__file__).parents[2]
NO_JOBS: frozenset[str] = frozenset()

# Takes the place of the docker command: answers what answers.json says for the first prefix that fits, one answer
# after the other where there are several, and notes what it was asked.
FAKE = """#!{python}
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
asked = " ".join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])
with (folder / "asked").open("a") as notes:
    notes.write(asked + "\\n")
answers = json.loads((folder / "answers.json").read_text())
for prefix, given in answers.items():
    if asked.startswith(prefix):
        code, output = given[0]
        if len(given) > 1:  # others ask at the same time: nobody may read half of it
            del given[0]
            (folder / "partial").write_text(json.dumps(answers))
            (folder / "partial").replace(folder / "answers.json")
        (sys.stderr if code else sys.stdout).write(output)
        sys.exit(code)
sys.exit("unexpected: " + asked)
"""

CONFIG = {
    "services": {
        "init": {"image": "alpine:3"},
        "api": {"image": "robin/api:1", "build": {"context": "{root}", "dockerfile": "Dockerfile"}},
        "nginx": {
            "image": "nginx:1",
            "environment": {"PASSWORD": "never-shown"},
            "depends_on": {
                "init": {"condition": "service_completed_successfully", "required": True},
                "api": {"condition": "service_healthy", "required": True},
            },
        },
    }
}
ENGINE = {"docker version": [[0, "28.2.2\n"]], "docker compose version": [[0, "2.40.3\n"]]}


def row(service: str, state: str = "running", health: str = "healthy", **more: Any) -> dict[str, Any]:
    """One object of `docker compose ps --format json`, without what nobody reads."""
    name = f"robin-{service}-1"
    return {"Name": name, "Service": service, "State": state, "Health": health, "ExitCode": 0, **more}


def lines(*rows: Mapping[str, Any]) -> str:
    """Rows as Compose prints them: one object a line."""
    return "".join(f"{json.dumps(each)}\n" for each in rows)


INIT = row("init", "exited", "")
ALL_WELL = lines(INIT, row("api"), row("nginx"))


class Docker:
    """The docker command that a test puts on the path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answers: dict[str, list[list[Any]]] = {}

    def install(self, *names: str) -> None:
        """Put executables there."""
        for name in names:
            program = self._folder / name
            program.write_text(FAKE.replace("{python}", sys.executable))
            program.chmod(0o755)

    def answers(self, answers: Mapping[str, Sequence[Sequence[Any]]]) -> None:
        """Set what it answers: by the beginning of the question, exit code and output."""
        self._answers |= {question: [list(each) for each in given] for question, given in answers.items()}
        (self._folder / "answers.json").write_text(json.dumps(self._answers))

    @property
    def asked(self) -> list[str]:
        """What it was asked."""
        return (self._folder / "asked").read_text().splitlines()


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """An engine that has everything, for a stack of two services and a job."""
    binaries, root = tmp_path / "bin", tmp_path / "checkout"
    binaries.mkdir()
    root.mkdir()
    (root / "Dockerfile").write_text("FROM python:3 AS build\nFROM build\n")
    (root / "docker-compose.yml").touch()
    monkeypatch.setenv("PATH", str(binaries))
    monkeypatch.setattr("docker_stack.choice.COMPOSE_FILE", root / "docker-compose.yml")
    fake = Docker(binaries)
    fake.install("docker")
    config = json.dumps(CONFIG).replace("{root}", str(root))
    fake.answers(
        {
            **ENGINE,
            "docker compose config": [[0, config]],
            "docker image inspect": [[0, "sha256:1\n"]],
            "docker compose ps --all": [[0, ALL_WELL]],
            "docker compose ps --quiet": [[0, ""]],
            "docker compose up": [[0, "done\n"]],
        }
    )
    return fake


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A state folder in which nothing runs."""
    return State(tmp_path / "state")


class TestChoice:
    """Which way, and why: one line."""

    def test_docker_is_chosen_where_an_engine_answers_and_all_images_are_there(
        self, docker: Docker, state: State
    ) -> None:
        """Nobody outside is asked; images under those that are built count, built ones do not."""
        assert choose(state) == Choice("docker", "an engine answers and has all 3 images")
        assert [each.split()[-1] for each in docker.asked if "inspect" in each] == [
            "alpine:3",
            "python:3",
            "nginx:1",
        ]

    def test_docker_is_chosen_where_a_registry_has_the_images(self, docker: Docker, state: State) -> None:
        """One of those that are missing is asked for, by its manifest."""
        docker.answers(
            {"docker image inspect": [[0, "1"], [1, "no"]], "docker manifest inspect": [[0, "{}"]]}
        )
        assert choose(state).way == "docker"
        assert docker.asked[-1] == "docker manifest inspect python:3"

    @pytest.mark.parametrize(
        ("answers", "reason"),
        [
            ({"docker version": [[1, "Cannot connect\n"]]}, "no Docker engine answers: Cannot connect"),
            ({"docker version": [[0, "\n"]]}, "no Docker engine answers"),
            ({"docker compose version": [[1, "unknown command"]]}, "Docker Compose 2 is missing"),
            (
                {"docker image inspect": [[1, ""]], "docker manifest inspect": [[1, "x\nno such host\n"]]},
                "no registry answers for the image alpine:3: no such host",
            ),
            (
                {"docker compose config": [[15, "yaml: line 3"]]},
                "docker compose config --format json: yaml: line 3",
            ),
        ],
        ids=["no engine", "silent client", "no compose", "no registry", "wrong file"],
    )
    def test_processes_are_chosen_where_docker_lacks_something(
        self, docker: Docker, state: State, answers: dict[str, list[list[Any]]], reason: str
    ) -> None:
        """The line says what."""
        docker.answers(answers)
        choice = choose(state)
        assert choice.way == "local"
        assert reason in choice.reason
        assert str(choice).startswith("running as local processes, without Docker: ")
        assert len(str(choice).splitlines()) == 1

    @pytest.mark.usefixtures("docker")
    def test_processes_are_chosen_where_docker_is_not_installed(
        self, state: State, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is run to find out."""
        monkeypatch.setenv("PATH", "")
        assert choose(state) == Choice("local", "no docker command is installed")
        assert running_way(state) == "local"

    def test_a_compose_of_its_own_name_is_taken(self, docker: Docker, state: State) -> None:
        """`docker-compose` of version 2 is the same program."""
        docker.install("docker-compose")
        config = docker._answers["docker compose config"]
        docker.answers({"docker compose version": [[1, ""]], "docker-compose version": [[0, "v2.3.3\n"]]})
        docker.answers({"docker-compose config": config, "docker-compose ps --quiet": [[0, ""]]})
        assert choose(state).way == "docker"

    def test_compose_1_is_too_old(self, docker: Docker, state: State) -> None:
        """It knows neither the file nor the options."""
        docker.install("docker-compose")
        docker.answers({"docker compose version": [[1, ""]], "docker-compose version": [[0, "1.29.2\n"]]})
        assert "Docker Compose 2 is missing" in choose(state).reason

    @pytest.mark.usefixtures("docker")
    def test_processes_that_run_already_go_on(self, state: State) -> None:
        """An engine that comes later does not move the data away from under a running stack."""
        state.create()
        with socket.socket(socket.AF_UNIX) as supervisor:
            supervisor.bind(str(state.supervisor_socket))
            supervisor.listen()
            assert choose(state) == Choice("local", "it runs that way already")
            assert running_way(state) == "local"

    def test_containers_that_run_already_go_on(self, docker: Docker, state: State) -> None:
        """Whatever image is missing now: processes would want the same ports."""
        docker.answers({"docker compose ps --quiet": [[0, "1\n"]], "docker image inspect": [[1, ""]]})
        assert choose(state) == Choice("docker", "it runs that way already")

    @pytest.mark.parametrize(("containers", "way"), [("1\n", "docker"), ("", "local")])
    def test_what_runs_is_acted_on(self, docker: Docker, state: State, containers: str, way: str) -> None:
        """`status`, `down` and `logs` follow the containers, if there are any."""
        docker.answers({"docker compose ps --quiet": [[0, containers]]})
        assert running_way(state) == way

    @pytest.mark.usefixtures("docker")
    def test_the_way_goes_to_stdout_and_the_reason_to_stderr(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The script reads the one, the person the other."""
        monkeypatch.setenv("ROBIN_STATE_DIR", str(tmp_path / "state"))
        assert main(["choose", "up"]) == 0
        said = capsys.readouterr()
        assert (said.out, said.err) == (
            "docker\n",
            "running with Docker: an engine answers and has all 3 images\n",
        )


class TestContainers:
    """What `docker compose ps` says."""

    def test_both_forms_are_read(self) -> None:
        """Compose 2.21 changed one array into one object a line."""
        rows = [
            row(
                "nginx",
                Publishers=[{"URL": "::", "TargetPort": 80, "PublishedPort": 8080, "Protocol": "tcp"}],
            ),
            row("api", Health=None, Publishers=None),
            row("loki", Publishers=[{"URL": "", "TargetPort": 9095, "PublishedPort": 0, "Protocol": "tcp"}]),
        ]
        assert parse_ps(json.dumps(rows)) == parse_ps(lines(*rows))
        api, loki, nginx = parse_ps(lines(*rows))
        assert (nginx.name, nginx.ports) == ("robin-nginx-1", {80: 8080})
        assert (api.health, api.ports, loki.ports) == ("", {}, {})
        assert parse_ps("") == parse_ps("[]") == []

    @pytest.mark.parametrize(
        ("container", "problem"),
        [
            (Container("a", "a", "running", "healthy"), None),
            (Container("a", "a", "running"), None),
            (Container("a", "a", "running", "starting"), "its health check has not passed yet"),
            (Container("a", "a", "running", "unhealthy"), "its health check fails"),
            (Container("a", "a", "created"), "created"),
            (Container("a", "a", "exited", exit_code=0), "it ended with 0"),
            (Container("a", "a", "restarting"), "it ends after every start"),
            (Container("a", "a", "dead", exit_code=137), "it ended with 137"),
        ],
        ids=str,
    )
    def test_a_container_is_well_when_it_runs_and_its_check_passes(
        self, container: Container, problem: str | None
    ) -> None:
        """One that has ended is not well, even with 0: nobody stops a server on purpose and calls it healthy."""
        assert problems([container], ["a"], NO_JOBS) == {"a": problem}

    def test_a_job_is_well_once_it_has_ended_with_0(self) -> None:
        """It prepares something, and others wait for its end."""
        jobs = frozenset({"init"})
        done = Container("i", "init", "exited")
        assert problems([done], ["init"], jobs) == {"i": None}
        assert problems([Container("i", "init", "exited", exit_code=1)], ["init"], jobs) == {
            "i": "it ended with 1"
        }
        assert problems([Container("i", "init", "running")], ["init"], jobs) == {"i": "it has not ended yet"}

    def test_a_service_without_a_container_is_a_problem(self) -> None:
        """What was never made is not overlooked."""
        assert problems([], ["loki"], NO_JOBS) == {"loki": "it has no container"}

    @pytest.mark.parametrize(("status", "well"), [(200, True), (503, False)])
    def test_what_cannot_ask_itself_is_asked_from_outside(self, status: int, *, well: bool) -> None:
        """The collector's image holds nothing that could ask; its port is published instead."""
        with serving(status) as port:
            collector = Container("c", "otel-collector", "running", ports={13133: port})
            problem = problems([collector], ["otel-collector"], NO_JOBS)["c"]
        assert (problem is None) == well
        gone = problems([collector], ["otel-collector"], NO_JOBS)["c"]
        assert "no answer" in (gone or "")

    def test_stages_arguments_and_scratch_are_no_images_to_get(self) -> None:
        """Only what has to come from a registry counts."""
        text = "ARG V=1\nFROM --platform=linux/amd64 golang:1 AS Build\nfrom x:${V}\nFROM Build\nFROM scratch\nFROM nginx:1\n"
        assert list(base_images(text)) == ["golang:1", "nginx:1"]

    def test_jobs_are_what_others_wait_for_to_have_ended(self, tmp_path: Path) -> None:
        """The file itself says so."""
        (tmp_path / "Dockerfile").write_text("FROM python:3\n")
        parsed = Model.parse(json.dumps(CONFIG).replace("{root}", str(tmp_path)))
        assert parsed.jobs == {"init"}
        assert parsed.images == ("alpine:3", "python:3", "nginx:1")

    def test_what_is_built_for_one_service_and_run_by_another_is_no_image_to_get(
        self, tmp_path: Path
    ) -> None:
        """No registry has it."""
        (tmp_path / "Dockerfile").write_text("FROM python:3\n")
        config = json.loads(json.dumps(CONFIG).replace("{root}", str(tmp_path)))
        config["services"]["migrate"] = {"image": "robin/api:1"}
        parsed = Model.parse(json.dumps(config))
        assert "migrate" in parsed.services
        assert parsed.images == ("alpine:3", "python:3", "nginx:1")


class serving:  # noqa: N801  a context manager
    """A server that answers everything with one status."""

    def __init__(self, status: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> int:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self._server.server_port

    def __exit__(self, *_details: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class TestCommands:
    """What a person sees."""

    @pytest.fixture(autouse=True)
    def _quick(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(up, "LOOK_SECONDS", 0.01)
        monkeypatch.setenv("ROBIN_STATE_DIR", str(tmp_path / "state"))

    def test_up_tells_what_became_well_and_ends_with_where_everything_is(
        self, docker: Docker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Published ports are read from the containers: they need not be the standard ones."""
        with serving(200) as port:
            published = [{"TargetPort": 80, "PublishedPort": port}]
            nginx = row("nginx", Publishers=published)
            starting = lines(INIT, row("api", health="starting"))
            docker.answers(
                {"docker compose ps --all": [[0, ""], [0, starting], [0, lines(INIT, row("api"), nginx)]]}
            )
            assert main(["up"]) == 0
        said = capsys.readouterr().out
        assert "docker compose up --detach --build" in docker.asked
        told = [line.split("] ")[1] for line in said.splitlines() if line.endswith("is well")]
        assert told == ["robin-init-1 is well", "robin-api-1 is well", "robin-nginx-1 is well"]
        assert f"curl -X PUT -F file=@README.md http://localhost:{port}/clients/" in said
        written = json.loads((tmp_path / "state" / "run" / "endpoints.json").read_text())
        assert written == {"document_api": [], "data_store": [], "nginx": f"http://localhost:{port}"}

    @pytest.mark.parametrize("code", [0, 1], ids=["leaf", "others wait for it"])
    def test_an_unhealthy_service_is_named_with_its_last_lines(
        self, docker: Docker, capsys: pytest.CaptureFixture[str], code: int
    ) -> None:
        """Whether Compose itself gave up on it or not; what runs well is told, too."""
        docker.answers(
            {
                "docker compose up": [[code, "dependency failed to start\n"]],
                "docker compose ps --all": [[0, lines(INIT, row("api", health="unhealthy"), row("nginx"))]],
                "docker compose logs --no-color --tail 15 api": [[0, "api-1 | no database\n"]],
                "docker inspect": [[0, "ok\n\nrefused\n\n"]],
            }
        )
        assert main(["up"]) == 1
        error = capsys.readouterr().err
        assert "error: robin-api-1 does not run: its health check fails (refused)" in error
        assert "    api-1 | no database" in error
        assert "well: robin-nginx-1" in error

    def test_a_service_that_ends_after_every_start_is_given_up(
        self, docker: Docker, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A restart may cure it; five do not."""
        restarting = lines(INIT, row("api", "restarting", ""), row("nginx"))
        docker.answers(
            {"docker compose ps --all": [[0, restarting]], "docker compose logs": [[0, "api-1 | boom\n"]]}
        )
        assert main(["up"]) == 1
        error = capsys.readouterr().err
        assert "robin-api-1 does not run: it ends after every start" in error
        assert "boom" in error

    def test_a_failed_build_shows_what_compose_said(
        self, docker: Docker, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """No container is to blame."""
        docker.answers(
            {"docker compose up": [[17, "failed to solve: x\n"]], "docker compose ps --all": [[0, ""]]}
        )
        assert main(["up"]) == 1
        error = capsys.readouterr().err
        assert "docker compose up ended with 17" in error
        assert "    failed to solve: x" in error

    def test_what_never_gets_well_is_named_in_the_end(
        self, docker: Docker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Waiting has a limit."""
        monkeypatch.setattr(up, "HEALTHY_SECONDS", 0.05)
        docker.answers(
            {
                "docker compose ps --all": [[0, lines(INIT, row("api", health="starting"), row("nginx"))]],
                "docker compose logs": [[0, "api-1 | warming up\n"]],
            }
        )
        assert main(["up"]) == 1
        assert "robin-api-1 does not run: its health check has not passed yet" in capsys.readouterr().err

    @pytest.mark.usefixtures("docker")
    def test_up_refuses_while_local_processes_run(
        self, state: State, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Both want the same ports."""
        state.create()
        with socket.socket(socket.AF_UNIX) as supervisor:
            supervisor.bind(str(state.supervisor_socket))
            supervisor.listen()
            assert main(["up"]) == 1
        assert "./setup-and-run.sh --local --down" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("rows", "code", "shown"),
        [
            (ALL_WELL, 0, "robin-nginx-1 running    -                        healthy"),
            (ALL_WELL, 0, "robin-init-1  exited     -                        done"),
            (
                lines(INIT, row("api")),
                1,
                "nginx        -          -                        it has no container",
            ),
            (lines(INIT), 3, "does not run"),
            ("", 3, "does not run"),
        ],
        ids=["well", "job", "one is missing", "only the job", "nothing"],
    )
    def test_status_shows_every_container_and_exits_by_health(
        self, docker: Docker, capsys: pytest.CaptureFixture[str], rows: str, code: int, shown: str
    ) -> None:
        """0: all are well, 1: not all, 3: nothing runs."""
        docker.answers({"docker compose ps --all": [[0, rows]]})
        assert main(["status"]) == code
        assert shown in capsys.readouterr().out

    @pytest.mark.usefixtures("docker")
    def test_logs_of_an_unknown_service_name_the_known_ones(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Exit 2: it was asked wrongly."""
        assert main(["logs", "ngnix"]) == 2
        assert capsys.readouterr().err == "error: there is no service 'ngnix'; there are: api, init, nginx\n"

    def test_logs_show_the_output_and_the_file_beside_it(
        self, docker: Docker, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """nginx writes its requests into a file that the collector reads."""
        docker.answers(
            {
                "docker compose logs --tail 50 nginx": [[0, "nginx-1 | started\n"]],
                "docker compose exec --no-TTY nginx": [[0, '{"log_message": "GET /health 200"}\n']],
            }
        )
        assert main(["logs", "nginx"]) == 0
        assert {"nginx-1 | started", '{"log_message": "GET /health 200"}'} == set(
            capfd.readouterr().out.splitlines()
        )

    def test_admin_runs_in_a_container_of_the_owner_with_all_arguments(self, docker: Docker) -> None:
        """Options are the command's own; the audit log is told who of this machine it was; its exit code is kept."""
        docker.answers({"docker compose ps --quiet": [[0, "1\n"]], "docker compose run": [[2, ""]]})
        assert main(["admin", "create-user", "--help", "--name", "Ada Lovelace"]) == 2
        assert docker.asked[-1] == (
            f"docker compose run --rm --no-deps --no-TTY --env LOGNAME={getpass.getuser()} migrate"
            " python -m data_store.admin create-user --help --name Ada Lovelace"
        )

    def test_a_backup_comes_out_of_a_container_that_has_the_documents(
        self, docker: Docker, tmp_path: Path
    ) -> None:
        """What it says goes into the file; no file is left where it fails, and its exit code is kept."""
        archive = io.BytesIO()
        writer = Writer(archive, 0)
        writer.add("complete.json", b"{}")
        writer.close()
        docker.answers(
            {
                "docker compose ps --quiet": [[0, "1\n"]],
                "docker compose run": [[0, archive.getvalue().decode()], [3, "no space\n"]],
            }
        )
        whole, failed = tmp_path / "whole.tar", tmp_path / "failed.tar"
        assert main(["backup", str(whole)]) == 0
        assert whole.read_bytes() == archive.getvalue()
        assert main(["backup", str(failed)]) == 3
        assert not failed.exists()
        assert docker.asked[-1] == (
            "docker compose run --rm --no-deps --no-TTY backup python -m data_store.backup create"
            " --uploads /var/lib/robin/uploads"
        )
        assert main(["restore", str(whole)]) == 3
        assert docker.asked[-1].endswith(
            "python -m data_store.backup restore --uploads /var/lib/robin/uploads"
        )

    @pytest.mark.usefixtures("docker")
    @pytest.mark.parametrize("command", [["admin", "list"], ["backup", "-"], ["restore", "-"]])
    def test_what_is_run_beside_the_stack_needs_one_that_runs(
        self, capsys: pytest.CaptureFixture[str], command: list[str]
    ) -> None:
        """It starts nothing by the way."""
        assert main(command) == 1
        assert capsys.readouterr().err == (
            "error: the composed stack does not run; start it with: ./setup-and-run.sh --docker\n"
        )

    @pytest.mark.parametrize("environment", ["production", "development"])
    def test_production_is_not_started_as_a_demonstration(
        self, docker: Docker, capsys: pytest.CaptureFixture[str], environment: str
    ) -> None:
        """One line names the variable, before anything is built."""
        told = {"ENVIRONMENT": environment, "AUTH_MODE": None, "SERVICE_TOKEN": "robin-demo-only"}
        config = {"services": {"volume-init": {"image": "alpine:3", "environment": told}}}
        docker.answers(
            {
                "docker compose config": [[0, json.dumps(config)]],
                "docker compose ps --all": [[0, lines(row("volume-init"))]],
            }
        )
        started = main(["up"]) == 0
        assert started == (environment == "development")
        assert started == any(asked.startswith("docker compose up") for asked in docker.asked)
        refusal = "error: AUTH_MODE: must be 'required' with ENVIRONMENT=production\n"
        assert capsys.readouterr().err == ("" if started else refusal)

    @pytest.mark.parametrize("own", [False, True], ids=["local authority", "TLS_DIR"])
    def test_with_tls_certificates_are_made_and_the_address_is_https(
        self,
        docker: Docker,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        *,
        own: bool,
    ) -> None:
        """Compose is given both files, and clients are told whom to trust where they cannot know."""
        monkeypatch.setenv("TLS", "true")
        monkeypatch.setenv("INTERNAL_TLS_DIR", str(tmp_path / "tls"))
        if own:
            monkeypatch.setenv("TLS_DIR", str(tmp_path / "own"))
        compose = "docker compose --file docker-compose.yml --file docker-compose.tls.yml"
        config = json.dumps(CONFIG).replace("{root}", str(tmp_path / "checkout"))
        with serving(200) as port:
            published = [
                {"TargetPort": 80, "PublishedPort": port},
                {"TargetPort": 443, "PublishedPort": 8443},
            ]
            well = ALL_WELL + lines(row("nginx", Publishers=published))
            docker.answers(
                {
                    f"{compose} config": [[0, config]],
                    f"{compose} ps --all": [[0, well]],
                    f"{compose} up": [[0, "done\n"]],
                }
            )
            assert main(["up"]) == 0
        ca_file = tmp_path / "tls" / "ca.pem"
        assert ca_file.exists()
        assert f"{compose} up --detach --build" in docker.asked
        written = json.loads((tmp_path / "state" / "run" / "endpoints.json").read_text())
        assert written["nginx"] == "https://localhost:8443"
        assert written.get("ca_file") == (None if own else str(ca_file))
        assert (f"curl --cacert {ca_file} -X PUT" in capsys.readouterr().out) is not own

    def test_restart_begins_new_containers_before_the_old_ones_end(
        self, docker: Docker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As many as there were, of the service that was named; nothing else is touched."""
        monkeypatch.setattr("docker_stack.restart.KNOWN_SECONDS", 0)
        docker.answers(
            {
                "docker compose ps --quiet": [[0, "one\ntwo\nthree\n"], [0, "one\ntwo\n"]],
                "docker stop": [[0, ""]],
                "docker rm": [[0, ""]],
            }
        )
        assert main(["restart", "document_api"]) == 0
        assert docker.asked[-5:] == [
            "docker compose up --detach --wait --no-deps --no-recreate --scale document-api=4 document-api",
            "docker stop one",
            "docker rm one",
            "docker stop two",
            "docker rm two",
        ]

    def test_where_the_new_ones_do_not_do_well_the_old_ones_stay(
        self, docker: Docker, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """One line says why."""
        docker.answers(
            {
                "docker compose ps --quiet": [[0, "one\n"]],
                "docker compose up": [[1, "container robin-data-store-2 is unhealthy\n"]],
            }
        )
        assert main(["restart"]) == 1
        assert "robin-data-store-2 is unhealthy" in capsys.readouterr().err
        assert not [each for each in docker.asked if each.startswith("docker stop")]

    @pytest.mark.parametrize(
        ("runs", "code", "said"),
        [("", 1, "the composed stack does not run"), ("one\n", 2, "there are: data-store, document-api")],
    )
    def test_what_cannot_be_restarted_is_told(
        self, docker: Docker, capsys: pytest.CaptureFixture[str], runs: str, code: int, said: str
    ) -> None:
        """A stack that does not run, a service that keeps data."""
        docker.answers({"docker compose ps --quiet": [[0, runs]]})
        assert main(["restart", "postgres"]) == code
        assert said in capsys.readouterr().err

    def test_down_keeps_the_data(self, docker: Docker, tmp_path: Path) -> None:
        """Volumes are not removed; addresses that lead nowhere are."""
        endpoints = tmp_path / "state" / "run" / "endpoints.json"
        endpoints.parent.mkdir(parents=True)
        endpoints.write_text("{}")
        docker.answers({"docker compose down": [[0, ""]]})
        assert main(["down"]) == 0
        assert docker.asked[-1] == "docker compose down"
        assert not endpoints.exists()

    def test_a_missing_engine_is_one_clear_line(
        self, docker: Docker, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Asked for with --docker, there is nothing to fall back on."""
        docker.answers({"docker version": [[1, "Cannot connect to the Docker daemon\n"]]})
        assert main(["up"]) == 1
        assert (
            capsys.readouterr().err
            == "error: no Docker engine answers: Cannot connect to the Docker daemon\n"
        )

    def test_no_value_of_the_configuration_is_shown(
        self, docker: Docker, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """`config` resolves passwords."""
        docker.answers({"docker compose up": [[1, "x\n"]], "docker compose logs": [[0, ""]]})
        for command in (["up"], ["status"], ["choose", "up"], ["logs", "api"]):
            main(command)
        said = capfd.readouterr()
        assert "never-shown" not in said.out + said.err


@pytest.mark.parametrize(("action", "code"), [("--status", 3), ("--down", 0)])
@pytest.mark.parametrize("used", [False, True], ids=["nothing set up", "only used with Docker"])
def test_the_script_says_when_nothing_was_set_up_as_processes(
    tmp_path: Path, action: str, code: int, *, used: bool
) -> None:
    """An environment that was made for test_observability.py alone lacks what the local stack needs."""
    if used:
        (tmp_path / "venv" / "bin").mkdir(parents=True)
        (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
        (tmp_path / "venv" / ".installed-checks").touch()
    environment = {**os.environ, "ROBIN_STATE_DIR": str(tmp_path)}
    ended = subprocess.run(
        [CHECKOUT / "setup-and-run.sh", "--local", action],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == code, ended.stderr
    assert "has not been set up as local processes" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("--admin", "list", "--json"), ("--local", "--admin", "--status")])
def test_what_follows_admin_is_for_the_admin_command_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Options that the script has as well are not its own there."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\ncase "$1 $3" in -c*) ;; *choose) echo local ;; *) echo "$@" ;; esac\n')
    python.chmod(0o755)
    (tmp_path / "venv" / ".installed-local-stack").touch()
    ended = subprocess.run(
        [CHECKOUT / "setup-and-run.sh", *arguments],
        env={**os.environ, "ROBIN_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    following = arguments[arguments.index("--admin") + 1 :]
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"-m local_stack admin {' '.join(following)}\n"


@pytest.mark.parametrize("option", ["--backup", "--restore"])
@pytest.mark.parametrize(("file", "meant"), [("b.tar", "{here}/b.tar"), ("/b.tar", "/b.tar"), ("-", "-")])
def test_the_file_of_a_backup_is_named_from_where_one_is(
    tmp_path: Path, option: str, file: str, meant: str
) -> None:
    """The script itself goes to the checkout."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\ncase "$1" in -c*) ;; *) echo "$@" ;; esac\n')
    python.chmod(0o755)
    (tmp_path / "venv" / ".installed-local-stack").touch()
    ended = subprocess.run(
        [CHECKOUT / "setup-and-run.sh", "--local", option, file],
        env={**os.environ, "ROBIN_STATE_DIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.stdout == f"-m local_stack {option[2:]} {meant.format(here=tmp_path)}\n"
    unnamed = subprocess.run(
        [CHECKOUT / "setup-and-run.sh", option], capture_output=True, text=True, check=False, timeout=60
    )
    assert unnamed.returncode == 2
    assert unnamed.stderr.startswith(f"error: {option} needs the name of a file\n")


def test_what_production_refuses_is_the_same_everywhere() -> None:
    """The services say it with packages that may not be installed here yet."""
    assert (model.PRODUCTION, model.DEMONSTRATION) == (Environment.PRODUCTION, DEMONSTRATION)
    script = (CHECKOUT / "docker_stack" / "volume-init.sh").read_text()
    assert f"{Environment.PRODUCTION.value}:*{DEMONSTRATION}*" in script


def test_nothing_has_to_be_installed_for_it() -> None:
    """It decides before there is a virtual environment; -S hides every installed package."""
    ended = subprocess.run(
        [sys.executable, "-S", "-m", "docker_stack", "--help"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr

"""Docker Compose on this checkout."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO

from docker_stack.containers import Container, parse_ps
from docker_stack.engine import answer_of, ask, engine_version, find_compose
from docker_stack.model import Model
from local_stack import backup
from local_stack.errors import StackError, UsageError

CHECKOUT = Path(__file__).resolve().parent.parent
COMPOSE_FILE = CHECKOUT / "docker-compose.yml"
TLS_FILE = CHECKOUT / "docker-compose.tls.yml"
# Files that a container writes beside its output, as patterns.
WRITTEN_THEMSELVES = {"nginx": "/var/log/edge/access*.json", "postgres": "/var/log/postgresql/*.json"}
UPLOADS = "/var/lib/robin/uploads"
HOW_TO_GET_COMPOSE = (
    "Docker Compose 2 is missing: install the package docker-compose-plugin of docs.docker.com"
)


class Compose:
    """One way to call it; the current folder is the checkout's."""

    def __init__(self, command: tuple[str, ...], *, tls: bool) -> None:
        files = ("--file", COMPOSE_FILE.name, "--file", TLS_FILE.name) if tls else ()
        self._command = (*command, *files)
        self._tls = tls

    @classmethod
    def find(cls) -> "Compose":
        """Return it, or say what is missing."""
        engine = engine_version()
        if not engine.well:
            raise StackError(f"no Docker engine answers: {engine.reason}")
        command = find_compose()
        if command is None:
            raise StackError(HOW_TO_GET_COMPOSE)
        return cls(command, tls=os.environ.get("TLS", "").lower() in {"1", "true", "yes", "on"})

    @property
    def ca_file(self) -> Path | None:
        """Whom clients have to be told to trust; None without TLS, and where nginx has a certificate of the user's."""
        own = os.environ.get("TLS_DIR")
        return _internal_certificates() / "ca.pem" if self._tls and not own else None

    def make_certificates(self) -> None:
        """With TLS, make what the containers need of certificates and have not got."""
        if not self._tls:
            return
        command = (sys.executable, "-m", "local_stack.certificates", str(_internal_certificates()))
        answer = ask(command)
        if not answer.well:
            raise StackError(f"the certificates could not be made: {answer.reason}")

    @cached_property
    def model(self) -> Model:
        """What the file asks for."""
        return Model.parse(answer_of((*self._command, "config", "--format", "json")))

    def containers(self) -> list[Container]:
        """All containers, those that have ended as well."""
        return parse_ps(answer_of((*self._command, "ps", "--all", "--format", "json")))

    def runs(self) -> bool:
        """Whether any of it runs."""
        return bool(answer_of((*self._command, "ps", "--quiet")).strip())

    @contextmanager
    def up(self, output: IO[str]) -> Iterator[subprocess.Popen[str]]:
        """Begin to build and start everything; what Compose says goes to `output`."""
        with subprocess.Popen(
            (*self._command, "up", "--detach", "--build"),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as process:
            yield process

    def down(self) -> int:
        """Stop and remove the containers; the volumes stay. Compose shows what it does."""
        return subprocess.run((*self._command, "down"), check=False).returncode

    def container_ids(self, service: str) -> list[str]:
        """Return the containers of a service that run."""
        return answer_of((*self._command, "ps", "--quiet", service)).split()

    def scale(self, service: str, count: int) -> None:
        """Start containers of a service, with its image as it is now, until there are so many, and wait until they are well."""
        waiting = ("--detach", "--wait", "--no-deps", "--no-recreate", "--scale", f"{service}={count}")
        answer_of((*self._command, "up", *waiting, service))

    @staticmethod
    def remove(container: str) -> None:
        """Let a container finish what it does, and remove it."""
        answer_of(("docker", "stop", container))
        answer_of(("docker", "rm", container))

    def last_lines(self, service: str, count: int) -> list[str]:
        """Return what the containers of a service wrote last."""
        answer = ask((*self._command, "logs", "--no-color", "--tail", str(count), service))
        return (answer.output or answer.error).splitlines()

    def show_logs(self, service: str, lines: int) -> int:
        """Show what the containers of a service wrote last."""
        if service not in self.model.services:
            known = ", ".join(sorted(self.model.services))
            raise UsageError(f"there is no service {service!r}; there are: {known}")
        command = (*self._command, "logs", "--tail", str(lines), service)
        ended = subprocess.run(command, check=False).returncode
        if ended == 0 and (files := WRITTEN_THEMSELVES.get(service)):
            self._show_files(service, files, lines)
        return ended

    def administer(self, arguments: Sequence[str], user: str) -> int:
        """Run the admin command line, as this user, in a container with the settings of the tables' owner."""
        inside = ("python", "-m", "data_store.admin", *arguments)
        command = (*self._once(), "--env", f"LOGNAME={user}", "migrate", *inside)
        return subprocess.run(command, check=False).returncode

    def archive(self, options: argparse.Namespace) -> int:
        """Back up into a file of this machine, or restore out of it, in a container that has the documents."""
        return backup.run(options, (*self._once(), "backup", "python"), UPLOADS)

    def _once(self) -> tuple[str, ...]:
        """Return how something is run beside the stack, in a container of its own."""
        if not self.runs():
            raise StackError("the composed stack does not run; start it with: ./setup-and-run.sh --docker")
        return (*self._command, "run", "--rm", "--no-deps", "--no-TTY")

    def _show_files(self, service: str, files: str, lines: int) -> None:
        inside = (*self._command, "exec", "--no-TTY", service, "sh", "-c")
        answer = ask((*inside, f"tail -n {lines} $(ls -rt {files})"))
        sys.stdout.write(answer.output if answer.well else f"{files} of {service}: {answer.reason}\n")

    @staticmethod
    def health_output(container: Container) -> str:
        """Return what the last health check of a container printed."""
        template = "{{if .State.Health}}{{range .State.Health.Log}}{{println .Output}}{{end}}{{end}}"
        lines = ask(("docker", "inspect", "--format", template, container.name)).output.split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _internal_certificates() -> Path:
    """Return the folder that docker-compose.tls.yml takes them from."""
    return Path(os.environ.get("INTERNAL_TLS_DIR") or CHECKOUT / ".robin" / "tls").absolute()

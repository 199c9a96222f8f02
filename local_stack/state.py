"""The state folder: where each thing of a stack lies."""

import fcntl
import hashlib
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import StackError

# Linux takes 107 bytes for a socket's path; supervisor first makes it with its process id appended.
LONGEST_SOCKET_PATH = 95


@dataclass(frozen=True)
class State:
    """The paths below one state folder."""

    root: Path

    @property
    def logs(self) -> Path:
        """What the processes write to their output."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Sockets, process ids and what is in effect now."""
        return self.root / "run"

    @property
    def config(self) -> Path:
        """Rendered configuration; some of it holds passwords."""
        return self.root / "config"

    @property
    def uploads(self) -> Path:
        """The documents' bytes, shared by the instances of document_api."""
        return self.root / "uploads"

    @property
    def access_log(self) -> Path:
        """The load balancer's access log, which the collector reads."""
        return self.logs / "access.json"

    @property
    def endpoints_file(self) -> Path:
        """The addresses of the running stack, for programs."""
        return self.run / "endpoints.json"

    @property
    def services_file(self) -> Path:
        """The services of the running stack and how each is asked, for `status`."""
        return self.run / "services.json"

    @property
    def owner_environment_file(self) -> Path:
        """The settings of what acts as the owner of the running stack's tables; its passwords are in it."""
        return self.run / "owner-environment.json"

    @property
    def supervisor_socket(self) -> Path:
        """Where supervisor listens; outside of the folder when its path is too long for a socket."""
        inside = self.run / "supervisor.sock"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH:
            return inside
        return Path(tempfile.gettempdir()) / f"robin-{os.geteuid()}-{self.digest}" / "supervisor.sock"

    @property
    def supervised(self) -> bool:
        """Whether a supervisor runs this stack."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.supervisor_socket))
            except OSError:
                return False
        return True

    @property
    def digest(self) -> str:
        """A short name for this folder that no other folder has."""
        return hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]

    def secret(self, name: str) -> str:
        """Return a secret of this stack, made at the first call and kept for the owner's eyes only."""
        file = self.root / name
        if not file.exists():
            write_atomically(file, secrets.token_hex(24))
        return file.read_text()

    def create(self) -> None:
        """Make the folders; what holds passwords or documents is the owner's alone."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in (self.logs, self.run, self.config, self.uploads):
                folder.mkdir(mode=0o700, exist_ok=True)
                folder.chmod(0o700)  # also where it was there before: a build makes logs/ first
        except OSError as error:
            raise StackError(
                f"cannot write the state folder: {error}; set ROBIN_STATE_DIR to another one"
            ) from error
        _own_folder(self.supervisor_socket.parent)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time change this stack."""
        with (self.run / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    "another set-up of this stack is under way: wait for it, or stop it"
                ) from None
            yield


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file as a whole, so that nobody ever reads half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    partial.replace(path)


def _own_folder(folder: Path) -> None:
    # A folder below /tmp could have been laid there by somebody else.
    folder.mkdir(mode=0o700, exist_ok=True)
    details = folder.lstat()
    if not stat.S_ISDIR(details.st_mode) or details.st_uid != os.geteuid():
        raise StackError(
            f"{folder} belongs to somebody else: remove it, or set ROBIN_STATE_DIR to a shorter path"
        )

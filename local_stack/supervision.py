"""Supervisor keeps the processes alive; this renders its configuration and talks to it over its socket."""

import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from itertools import groupby
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from local_stack.errors import StackError, UsageError
from local_stack.services import Service
from local_stack.state import State, write_atomically

START_SECONDS = 15.0
# For supervisor alone: its services have ended before.
STOP_SECONDS = 60.0
ALIVE = frozenset({"STARTING", "RUNNING", "BACKOFF", "STOPPING"})
# All else is said for each service.
INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")

MAIN = """\
[supervisord]
logfile={logs}/supervisord.log
logfile_maxbytes=10MB
logfile_backups=2
pidfile={run}/supervisord.pid
childlogdir={logs}
directory={directory}
identifier=robin
{user}
[unix_http_server]
file={socket}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files=supervisor.d/*.conf
"""

PROGRAM = """\
[program:{name}]
command={command}
environment={environment}
directory={directory}
priority={priority}
autostart=false
autorestart=true
startsecs=1
startretries=3
stopsignal={stop_signal}
stopwaitsecs={stop_seconds}
killasgroup=true
{output}stdout_logfile_maxbytes=20MB
stdout_logfile_backups=3
{user}"""


@dataclass(frozen=True)
class ProcessInfo:
    """A supervised process as supervisor sees it."""

    name: str
    state: str  # STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL
    pid: int
    since: int
    problem: str

    @property
    def uptime(self) -> int:
        """Seconds since it was started, 0 when it does not run."""
        return max(0, int(time.time()) - self.since) if self.state == "RUNNING" else 0


class Supervisor:
    """The supervisor of one state folder."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._config = state.config / "supervisord.conf"
        self._programs = state.config / "supervisor.d"

    def log_file(self, name: str) -> Path:
        """Return where a service's output goes."""
        return self._state.logs / f"{name}.log"

    def pid(self) -> int | None:
        """Return supervisor's process id, None when it does not run."""
        try:
            return int(self._call("getPID"))
        except (OSError, StackError):
            return None

    def own_pids(self) -> set[int]:
        """Return every process that it started, and their children."""
        pid = self.pid()
        if pid is None:
            return set()
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}

    def ensure_running(self, environment: Mapping[str, str]) -> None:
        """Start it as a daemon where it does not run."""
        if self.pid() is not None:
            return
        self._programs.mkdir(exist_ok=True)
        for left_over in self._programs.glob("*.conf"):
            left_over.unlink()
        write_atomically(self._config, self._render_main())
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)]
        own = {**inherited(environment), "ROBIN_STACK": str(self._state.root)}
        result = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise StackError(f"supervisor does not start: {(result.stderr or result.stdout).strip()}")
        deadline = time.monotonic() + START_SECONDS
        while self.pid() is None:
            if time.monotonic() > deadline:
                raise StackError(f"supervisor does not answer; its log: {self._state.logs}/supervisord.log")
            time.sleep(0.05)

    def apply(self, service: Service) -> bool:
        """Let a service run as described; return whether it was started or restarted for that."""
        self._programs.mkdir(exist_ok=True)
        write_atomically(self._programs / f"{service.name}.conf", self._render(service))
        self._update(service.name)
        if self._call("getProcessInfo", service.name)["statename"] in {"RUNNING", "STARTING"}:
            return False
        self.stop(service.name)  # it may wait for its next start, or be about to end
        self._call("startProcess", service.name, False)
        return True

    def restart(self, name: str) -> None:
        """Stop a service and start it as it is described."""
        self.stop(name)
        self._call("startProcess", name, False)

    def begin_stand_in(self, name: str) -> str:
        """Start a second process of a service that shares its port (REUSE_PORT), and return that one's name."""
        stand_in = f"{name}-stand-in"
        log, own_log = (_escaped(self.log_file(one)) for one in (name, stand_in))
        text = (self._programs / f"{name}.conf").read_text()
        text = text.replace(f"[program:{name}]", f"[program:{stand_in}]").replace(
            f"={log}\n", f"={own_log}\n"
        )
        text = text.replace(
            "\nenvironment=", f"\nenvironment={_assignment('SERVICE_INSTANCE_ID', stand_in)},"
        )
        write_atomically(self._programs / f"{stand_in}.conf", text)
        self._update(stand_in)
        self._call("startProcess", stand_in, False)
        return stand_in

    def forget(self, name: str) -> None:
        """Stop a service and let nothing of it stay."""
        (self._programs / f"{name}.conf").unlink()
        self._reload()
        self._remove(name)

    def listens(self, name: str) -> bool:
        """Tell whether the process of a service itself listens: its port may be another's as well."""
        try:
            connections = psutil.Process(self.processes()[name].pid).net_connections("tcp")
        except (KeyError, psutil.Error):
            return False
        return any(connection.status == psutil.CONN_LISTEN for connection in connections)

    def stop(self, *names: str) -> None:
        """Stop services side by side and leave them stopped; supervisor kills what takes too long."""
        for name in names:
            self._call("stopProcessGroup", name, False)
        while any(row.state in ALIVE for row in self.processes().values() if row.name in names):
            time.sleep(0.05)

    def drop_all_but(self, names: set[str]) -> None:
        """Stop and forget what does not belong to the stack any more."""
        for file in self._programs.glob("*.conf"):
            if file.stem not in names:
                file.unlink()
        _, _, removed = self._reload()
        for name in removed:
            self._remove(name)

    def processes(self) -> dict[str, ProcessInfo]:
        """Return every known process by name; empty when supervisor does not run."""
        try:
            answer = self._call("getAllProcessInfo")
        except (OSError, StackError):
            return {}
        return {
            row["name"]: ProcessInfo(row["name"], row["statename"], row["pid"], row["start"], row["spawnerr"])
            for row in answer
        }

    def shutdown(self) -> None:
        """Stop everything in the opposite order of starting, then supervisor itself."""
        pid = self.pid()
        if pid is None:
            return
        process = psutil.Process(pid)
        by_priority = sorted(self._call("getAllConfigInfo"), key=_priority, reverse=True)
        for _, rows in groupby(by_priority, key=_priority):
            self.stop(*(row["name"] for row in rows if row["inuse"]))
        self._call("shutdown")
        try:
            process.wait(timeout=STOP_SECONDS)
        except psutil.TimeoutExpired:
            raise StackError(
                f"supervisor (process {pid}) does not end; its log: {self._state.logs}/supervisord.log"
            ) from None

    def _update(self, name: str) -> None:
        added, changed, _ = self._reload()
        if name in changed:
            self._remove(name)
        if name in added or name in changed:
            self._call("addProcessGroup", name)

    def _remove(self, name: str) -> None:
        self.stop(name)
        self._call("removeProcessGroup", name)

    def _reload(self) -> tuple[list[str], list[str], list[str]]:
        ((added, changed, removed),) = self._call("reloadConfig")
        return added, changed, removed

    def _call(self, method: str, *arguments: object) -> Any:  # XML-RPC knows no types
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._state.supervisor_socket}")
        try:
            proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            what = " ".join(map(str, [method, *arguments[:1]]))
            raise StackError(f"supervisor refuses {what}: {fault.faultString}") from fault
        except (xmlrpc.client.Error, HTTPException) as error:
            raise StackError(f"supervisor does not answer {method}: {error}") from error
        finally:
            transport.close()

    def _render_main(self) -> str:
        return MAIN.format(
            logs=_escaped(self._state.logs),
            run=_escaped(self._state.run),
            directory=_escaped(self._state.root),
            socket=_escaped(self._state.supervisor_socket),
            user="user=root\n" if self._as_root() else "",
        )

    @staticmethod
    def _as_root() -> bool:
        return psutil.Process().uids().effective == 0

    def _render(self, service: Service) -> str:
        # The digest is in the environment so that supervisor itself sees what has changed.
        environment = {**service.environment, "ROBIN_INPUTS": service.inputs}
        return PROGRAM.format(
            name=service.name,
            command=_escaped(shlex.join(service.command)),
            environment=",".join(_assignment(name, value) for name, value in sorted(environment.items())),
            directory=_escaped(service.directory),
            priority=service.priority,
            stop_signal=service.stop_signal,
            stop_seconds=service.stop_seconds,
            output=self._output(service),
            user=f"user={service.user}\n" if service.user else "",
        )

    def _output(self, service: Service) -> str:
        log = _escaped(self.log_file(service.name))
        if service.output is None:
            return f"redirect_stderr=true\nstdout_logfile={log}\n"
        return f"stderr_logfile={log}\nstdout_logfile={_escaped(service.output)}\n"


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a program needs of the shell's environment."""
    return {name: environment[name] for name in INHERITED if name in environment}


def _priority(row: Mapping[str, Any]) -> int:
    return int(row["group_prio"])


def _escaped(value: object) -> str:
    text = str(value)
    if "\n" in text or " ;" in text or " #" in text:
        raise UsageError(
            f"{text!r} cannot stand in supervisor's configuration: no line break, ' ;' or ' #' is possible"
        )
    return text.replace("%", "%%")


def _assignment(name: str, value: str) -> str:
    quote = "'" if '"' in value else '"'
    if quote in value or value.strip("'\"") != value:
        raise UsageError(
            f"{name}={value!r} cannot be passed on: quotes of both kinds, or at an end, are not possible"
        )
    return f"{name}={quote}{_escaped(value)}{quote}"

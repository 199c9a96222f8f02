"""Which ports are free, and who holds the others."""

import errno
import socket
import textwrap
from collections.abc import Collection

import psutil

from local_stack.errors import StackError
from local_stack.settings import Settings

DEFAULT_HTTP_PORT = 80
UNPRIVILEGED_HTTP_PORT = 8080
DEFAULT_HTTPS_PORT = 443
UNPRIVILEGED_HTTPS_PORT = 8443
DEFAULT_POSTGRES_TLS_PORT = 5433
# What nginx opens to the network; all else listens on 127.0.0.1.
OPEN = frozenset({"HTTP_PORT", "HTTPS_PORT"})
EVERYWHERE = "0.0.0.0"  # noqa: S104  (only nginx is reachable from outside)


def choose_ports(settings: Settings) -> Settings:
    """Return the settings with every port that is needed: without TLS none of TLS."""
    chosen: dict[str, int | None] = {"http_port": choose_http_port(settings)}
    if settings.tls:
        chosen["https_port"] = choose_https_port(settings)
        chosen["postgres_tls_port"] = settings.postgres_tls_port or DEFAULT_POSTGRES_TLS_PORT
    else:
        chosen |= {"https_port": None, "postgres_tls_port": None}
    return settings.model_copy(update=chosen)


def choose_http_port(settings: Settings) -> int:
    """Return nginx's port: as set, else 80, else 8080 where this user may not bind 80."""
    return settings.http_port or _allowed(DEFAULT_HTTP_PORT, UNPRIVILEGED_HTTP_PORT)


def choose_https_port(settings: Settings) -> int:
    """Return nginx's port of HTTPS: as set, else 443, else 8443 where this user may not bind 443."""
    return settings.https_port or _allowed(DEFAULT_HTTPS_PORT, UNPRIVILEGED_HTTPS_PORT)


def _allowed(port: int, unprivileged: int) -> int:
    return unprivileged if _try_bind(port, EVERYWHERE) == errno.EACCES else port


def check_free(settings: Settings, own: Collection[int]) -> None:
    """Refuse to start while a port belongs to a process that is none of our own."""
    problems = [
        problem
        for variable, port in settings.ports()
        if (problem := _problem(variable, port, own)) is not None
    ]
    if problems:
        raise StackError("\n".join(problems))


def _problem(variable: str, port: int, own: Collection[int]) -> str | None:
    code = _try_bind(port, EVERYWHERE if variable in OPEN else "127.0.0.1")
    if code is None:
        return None
    if code == errno.EACCES:
        return f"port {port} ({variable}) may not be bound by this user: set {variable} to a port above 1023"
    holders = _holders(port)
    if holders and holders <= set(own):
        return None
    return f"port {port} ({variable}) is taken by {_describe(holders - set(own))}: stop it, or set {variable} to a free port"


def _try_bind(port: int, address: str) -> int | None:
    """Return the error number of binding the port, None when it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno
    return None


def _holders(port: int) -> set[int]:
    """Return the processes that listen on the port, as far as this user may see them."""
    return {
        connection.pid
        for connection in psutil.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr.port == port
        and connection.pid is not None
    }


def _describe(pids: Collection[int]) -> str:
    return ", ".join(_describe_one(pid) for pid in sorted(pids)) or "a process of another user"


def _describe_one(pid: int) -> str:
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return f"process {pid}"
    return f"process {pid} ({textwrap.shorten(' '.join(words), 120, placeholder=' ...')})"

"""Runs the described services as plain children, so that nothing stands between a process and its figures."""

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.errors import BenchmarkError
from local_stack.log_files import tail
from local_stack.services import Service

START_SECONDS = 30.0
POLL_SECONDS = 0.05
TELLING_LINES = 15


@dataclass(frozen=True)
class Usage:
    """What a process and its children have used so far."""

    cpu_seconds: float
    rss_bytes: int


@contextmanager
def running(service: Service, log: Path) -> Iterator[psutil.Process]:
    """Run a service until the block ends, once it is healthy."""
    with launched(service, log) as process:
        _wait_until_healthy(process, service, log)
        yield psutil.Process(process.pid)


@contextmanager
def launched(service: Service, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a service until the block ends, from its very begin."""
    identity = pwd.getpwnam(service.user) if service.user else None
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            service.command,
            cwd=service.directory,
            env={"PATH": os.environ.get("PATH", os.defpath), **service.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=identity.pw_uid if identity else None,
            group=identity.pw_gid if identity else None,
            extra_groups=[] if identity else None,
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        stack.callback(_stop, process, service)
        yield process


def usage(process: psutil.Process) -> Usage:
    """Return what a process, its children and those that have ended have used."""
    used = [_used(each) for each in (process, *process.children(recursive=True))]
    return Usage(sum(each.cpu_seconds for each in used), sum(each.rss_bytes for each in used))


def _used(process: psutil.Process) -> Usage:
    try:
        times = process.cpu_times()
        rss = process.memory_info().rss
    except psutil.NoSuchProcess:
        return Usage(0.0, 0)  # it has just ended: its parent has its times now
    return Usage(times.user + times.system + times.children_user + times.children_system, rss)


def _wait_until_healthy(process: subprocess.Popen[bytes], service: Service, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while (problem := service.probe.problem()) is not None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise not_running(service, problem, log)
        time.sleep(POLL_SECONDS)


def not_running(service: Service, problem: str, log: Path) -> BenchmarkError:
    """Return what to say of a service that does not become healthy."""
    lines = "\n".join(f"    {line}" for line in tail([log], TELLING_LINES))
    return BenchmarkError(f"{service.name} does not run: {problem}\n  its last lines:\n{lines}")


def _stop(process: subprocess.Popen[bytes], service: Service) -> None:
    process.send_signal(signal.Signals[f"SIG{service.stop_signal}"])
    try:
        process.wait(service.stop_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

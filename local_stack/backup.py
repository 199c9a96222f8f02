"""A backup as one file: there as a whole or not at all, whatever writes it. The file `-` is stdout or stdin."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from data_store.backup import INCOMPLETE, BackupError
from data_store.backup.archive import check_complete
from data_store.backup.files import sync_folder
from local_stack.errors import StackError, UsageError

STANDARD = "-"

Environment = Mapping[str, str] | None


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands to a command line."""
    for name, meant in (
        ("backup", "write documents and database into one file, while everything runs"),
        ("restore", "bring a backup back into a running stack that is empty"),
    ):
        command = commands.add_parser(name, help=meant)
        command.add_argument("file", metavar="FILE", help="the archive; -: stdout or stdin")


def run(
    options: argparse.Namespace, python: Sequence[str], uploads: str, environment: Environment = None
) -> int:
    """Back up or restore, by a Python that reaches the database and the documents; return its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is half done is cleared away then, too
    module = (*python, "-m", "data_store.backup")
    if options.command == "backup":
        return back_up((*module, "create", "--uploads", uploads), options.file, environment)
    return restore((*module, "restore", "--uploads", uploads), options.file, environment)


def back_up(command: Sequence[str], target: str, environment: Environment = None) -> int:
    """Run what writes an archive, into this file, and return its exit code."""
    if target == STANDARD:
        return _run(command, environment)
    file = Path(target)
    if file.is_dir() or not file.parent.is_dir():
        raise UsageError(f"{file} is no file that could be written: name one in a folder that exists")
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as output:
            ended = _run(command, environment, stdout=output)
            os.fsync(output.fileno())
        if ended in {0, INCOMPLETE}:
            _check(partial, file)
            _place(partial, file, whole=ended == 0)
    finally:
        partial.unlink(missing_ok=True)
    return ended


def _place(partial: Path, file: Path, *, whole: bool) -> None:
    """Give an archive its name; one that does without some bytes has another: the file that is there may have them."""
    name = file if whole else file.with_name(f"{file.name}.incomplete")
    partial.replace(name)
    sync_folder(file.parent)
    if not whole:
        sys.stderr.write(f"it is {name}; {file} is for a whole one\n")


def restore(command: Sequence[str], source: str, environment: Environment = None) -> int:
    """Run what reads an archive, from this file, and return its exit code."""
    if source == STANDARD:
        return _run(command, environment)
    file = Path(source)
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    _check(file, file)
    with file.open("rb") as archive:
        return _run(command, environment, stdin=archive)


def _run(
    command: Sequence[str],
    environment: Environment,
    *,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> int:
    """Run it to its end; when we are to end, it ends first, by itself: killed, it could leave a container behind."""
    with subprocess.Popen(command, env=environment, stdin=stdin, stdout=stdout) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise


def _check(archive: Path, file: Path) -> None:
    """Refuse what has no end: in a container's output or a copy between machines something may get lost."""
    try:
        check_complete(archive)
    except BackupError as error:
        raise StackError(f"{file} is no whole backup: {error}") from error

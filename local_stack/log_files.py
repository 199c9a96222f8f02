"""The last lines of what the services wrote."""

from collections import deque
from collections.abc import Iterable
from pathlib import Path

from local_stack.build import PROGRAMS
from local_stack.errors import UsageError
from local_stack.state import State

# Files that a service writes beside its output.
WRITTEN_THEMSELVES = {"nginx": "access.json", "postgres": "../postgres/log/*.json"}


def services_with_logs(state: State) -> list[str]:
    """Return the names that `logs` knows, in alphabetical order."""
    fixed = {
        "data_store",
        "document_api",
        "nginx",
        "postgres",
        "supervisord",
        *(program.name for program in PROGRAMS),
    }
    written = {path.stem for path in state.logs.glob("*.log")}
    return sorted(fixed | written)


def files_of(service: str, state: State) -> list[Path]:
    """Return the files of a service, the most telling last; an instance's number may be left out."""
    known = services_with_logs(state)
    if service not in known:
        raise UsageError(f"there is no service {service!r}; there are: {', '.join(known)}")
    output = sorted([*state.logs.glob(f"{service}.log"), *state.logs.glob(f"{service}-[0-9]*.log")])
    pattern = WRITTEN_THEMSELVES.get(service)
    return [*output, *_newest_last(state.logs.glob(pattern) if pattern else ())]


def tail(files: Iterable[Path], count: int) -> list[str]:
    """Return the last lines of each file, one file after the other."""
    lines: list[str] = []
    for file in files:
        if file.exists():
            with file.open(errors="replace") as stream:
                lines.extend(line.rstrip("\n") for line in deque(stream, maxlen=count))
    return lines


def _newest_last(files: Iterable[Path]) -> list[Path]:
    return sorted(files, key=lambda file: file.stat().st_mtime)

"""The memory of a process: how much it may use, by its control groups or the machine, and how often it looks for garbage."""

import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc/self")
# New objects before the collector looks: Python's own 700 are less than what the requests under way hold, so that it
# would look with every one of them, and find nothing.
_GC_THRESHOLDS: Final = (10_000, 20, 50)


class _Hierarchy(NamedTuple):
    """A mounted tree of control groups, and the file that holds a group's limit in it."""

    mounted_at: Path
    limit_file: str
    version: int


def memory_share(workers: int, *, proc: Path = _PROC) -> float:
    """Return one worker's share of the memory in bytes, as the limits are now."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_limits(proc)]) / workers


def _limits(proc: Path) -> Iterator[int]:
    """Yield the limits of the process's groups, from its own up to the top that can be seen."""
    with suppress(OSError):  # no Linux
        groups = dict(_groups((proc / "cgroup").read_text()))
        for hierarchy in _hierarchies((proc / "mountinfo").read_text()):
            for folder in _folders(hierarchy.mounted_at, groups.get(hierarchy.version, "/")):
                with suppress(OSError, ValueError):  # out of sight, or without a limit
                    yield int((folder / hierarchy.limit_file).read_text())


def _groups(text: str) -> Iterator[tuple[int, str]]:
    """Yield (version, group) of the process for the memory; lines are `id:controllers:group` (cgroups(7))."""
    for line in text.splitlines():
        number, controllers, group = line.split(":", 2)
        if number == "0":
            yield 2, group
        elif "memory" in controllers.split(","):
            yield 1, group


def _hierarchies(text: str) -> Iterator[_Hierarchy]:
    """Yield what is mounted for the memory; fields are those of /proc/PID/mountinfo (proc(5))."""
    for line in text.splitlines():
        mount, _, file_system = line.partition(" - ")
        mounted_at = Path(mount.split()[4])
        kind, _, options = file_system.split(" ", 2)
        if kind == "cgroup2":
            yield _Hierarchy(mounted_at, "memory.max", 2)
        elif kind == "cgroup" and "memory" in options.split(","):
            yield _Hierarchy(mounted_at, "memory.limit_in_bytes", 1)


def _folders(mounted_at: Path, group: str) -> Iterator[Path]:
    """Yield the folder of a group and those above it.

    A container may be told the machine's name of its group and see that group as the top: then only the top is there.
    """
    below = Path(group.lstrip("/"))
    for path in (below, *below.parents):
        yield mounted_at / path


def calm_garbage_collector() -> None:
    """Leave alone what was loaded at the start, which lives as long as the process, and look less often at the rest."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)

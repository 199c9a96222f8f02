"""How much memory a process may use, read from what Linux says of control groups."""

import os
from pathlib import Path

import pytest

from observability.memory import memory_share

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024
V2 = "31 23 0:28 {root} {mount} rw,relatime - cgroup2 cgroup rw\n"
V1 = (
    "32 31 0:29 {root} {mount} rw - cgroup cgroup rw,memory\n30 31 0:7 / /nowhere rw - cgroup cgroup rw,cpu\n"
)


class Linux:
    """A folder that looks as /proc/self and the file system of control groups do."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.mount = folder / "cgroup"
        self.proc.mkdir()
        self.mount.mkdir()

    def say(self, cgroup: str, mountinfo: str, root: str = "/") -> None:
        """Put the process into a group."""
        (self.proc / "cgroup").write_text(cgroup)
        (self.proc / "mountinfo").write_text(
            "23 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mountinfo.format(root=root, mount=self.mount)
        )

    def limit(self, group: str, limit: object, file: str = "memory.max") -> None:
        """Give a group a limit."""
        (self.mount / group).mkdir(parents=True, exist_ok=True)
        (self.mount / group / file).write_text(f"{limit}\n")

    def share(self, workers: int = 1) -> float:
        """Return what a process in there may use."""
        return memory_share(workers, proc=self.proc)


@pytest.fixture
def linux(tmp_path: Path) -> Linux:
    """A process in no group."""
    return Linux(tmp_path)


def test_the_limit_of_the_processs_group_counts(linux: Linux) -> None:
    """As on a machine where systemd made a group for a service."""
    linux.say("0::/system.slice/robin.service\n", V2)
    linux.limit("system.slice/robin.service", 512 * MIB)
    linux.limit("system.slice/other.service", 1 * MIB)

    assert linux.share() == 512 * MIB


@pytest.mark.parametrize(
    ("outer", "inner"), [(256 * MIB, 512 * MIB), (512 * MIB, 256 * MIB), (256 * MIB, "max")]
)
def test_of_nested_groups_the_smallest_limit_counts(linux: Linux, outer: object, inner: object) -> None:
    """The kernel enforces each of them."""
    linux.say("0::/a/b/c\n", V2)
    linux.limit("a", outer)
    linux.limit("a/b", "max")
    linux.limit("a/b/c", inner)

    assert linux.share() == 256 * MIB


def test_a_container_that_sees_its_own_group_as_the_root_finds_its_limit(linux: Linux) -> None:
    """With a name space of its own for control groups, Docker's default."""
    linux.say("0::/\n", V2)
    linux.limit("", 300 * MIB)

    assert linux.share() == 300 * MIB


@pytest.mark.parametrize("root", ["/docker/0123", "/elsewhere"])
def test_a_container_that_sees_the_machines_names_finds_its_limit(linux: Linux, root: str) -> None:
    """Its group is mounted as the root, while the path is told from the machine's."""
    linux.say("0::/docker/0123\n", V2, root)
    linux.limit("", 300 * MIB)

    assert linux.share() == 300 * MIB


def test_the_first_version_of_control_groups_is_read_too(linux: Linux) -> None:
    """Each controller has a tree of its own there, and a number stands for no limit."""
    linux.say("4:memory:/robin\n1:cpu:/other\n0::/\n", V1)
    linux.limit("", 2**63 - 4096, "memory.limit_in_bytes")
    linux.limit("robin", 200 * MIB, "memory.limit_in_bytes")
    linux.limit("other", 1 * MIB, "memory.limit_in_bytes")

    assert linux.share() == 200 * MIB


def test_without_a_limit_it_is_the_machines_memory(linux: Linux) -> None:
    """Neither a group without a limit nor one beyond the machine changes that."""
    linux.say("4:memory:/\n0::/a\n", V1 + V2)
    linux.limit("", 2**63 - 4096, "memory.limit_in_bytes")
    linux.limit("a", "max")

    assert linux.share() == MACHINE


def test_where_nothing_can_be_read_it_is_the_machines_memory(tmp_path: Path) -> None:
    """No Linux, or one that hides it."""
    assert memory_share(1, proc=tmp_path) == MACHINE


def test_workers_share_the_limit(linux: Linux) -> None:
    """All processes of a service live in one group."""
    linux.say("0::/\n", V2)
    linux.limit("", 400 * MIB)

    assert linux.share(workers=4) == 100 * MIB


def test_a_limit_that_is_set_later_is_seen(linux: Linux) -> None:
    """Nothing is remembered."""
    linux.say("0::/\n", V2)
    linux.limit("", 400 * MIB)
    assert linux.share() == 400 * MIB

    linux.limit("", 100 * MIB)

    assert linux.share() == 100 * MIB

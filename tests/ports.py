"""Ports for the programs that tests start."""

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

_STEP: Final = 20


def _first_ephemeral_port() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def _shuffled() -> Iterator[int]:
    """Below the range from which the kernel takes a port for whoever asks for any: that would be somebody else's soon."""
    ports = range(10_000, _first_ephemeral_port() - _STEP, _STEP)
    return iter(random.SystemRandom().sample(ports, len(ports)))


_candidates: Final = _shuffled()


def free_port(*, above: tuple[int, ...] = ()) -> int:
    """Return a port that is free and never returned again; so are those so far above it (less than 20)."""
    for port in _candidates:
        with suppress(OSError), ExitStack() as held:
            for offset in (0, *above):
                held.enter_context(socket.create_server(("127.0.0.1", port + offset)))
            return port
    raise RuntimeError("no free port")

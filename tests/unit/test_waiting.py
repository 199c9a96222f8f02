"""What all tests wait and choose their ports with."""

import socket
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.ports import _first_ephemeral_port, _shuffled, free_port
from tests.waiting import eventually, until_up


def test_what_is_found_is_returned() -> None:
    """As soon as it is something."""
    answers = iter([[], [], ["found"]])
    assert eventually(lambda: next(answers)) == ["found"]


def test_a_deadline_that_passes_tells_what_did_not_happen() -> None:
    """And what was there instead."""
    with pytest.raises(AssertionError, match=r"not within 0\.05 s: the sun rises; at last: 0"):
        eventually(lambda: 0, "the sun rises", seconds=0.05)


def test_a_program_that_ends_is_not_waited_for() -> None:
    """The failure comes at once and shows what it said."""
    command = [sys.executable, "-c", "print('no configuration')"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        pytest.raises(AssertionError, match="ended: no configuration"),
    ):
        until_up(process, lambda: False, seconds=60)


def test_no_port_is_given_twice_nor_one_the_kernel_gives_to_anybody() -> None:
    """Not even the ports above those that were asked for."""
    ports = sorted(_shuffled())
    assert {following - port for port, following in pairwise(ports)} == {20}
    assert ports[-1] + 19 < _first_ephemeral_port()


def test_a_port_is_free_and_so_is_the_one_above() -> None:
    """Both can be listened on."""
    port = free_port(above=(10,))
    with socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", port + 10)):
        pass

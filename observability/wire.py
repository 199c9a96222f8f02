"""The socket below a connection, looked at and cut without a word to whoever is at its other end."""

import os
import select
import socket
from contextlib import suppress


class Wire:
    """A second hold on the socket of a connection that belongs to a driver, which knows nothing of this one.

    Its number stays ours until `close`, whatever the driver does with its own meanwhile, in whatever thread.
    """

    __slots__ = ("_poll", "_socket")

    def __init__(self, number: int) -> None:
        self._socket = socket.socket(fileno=os.dup(number))
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def is_lost(self) -> bool:
        """Tell whether a server that was asked nothing has said something, which is good-bye, or has gone."""
        return bool(self._poll.poll(0))

    def cut(self) -> None:
        """End the connection at once, for whoever waits for an answer on it, too."""
        with suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

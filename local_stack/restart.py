"""`restart`: the services one instance after the other, while another one, or a stand-in, serves."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from local_stack.errors import StackError, UsageError
from local_stack.log_files import tail
from local_stack.nginx import FAIL_TIMEOUT_SECONDS
from local_stack.progress import Progress
from local_stack.register import Register
from local_stack.state import State
from local_stack.supervision import Supervisor

READY_SECONDS = 60.0
LOOK_SECONDS = 0.1
TELLING_LINES = 15
# Until nginx asks an instance that was away again: only then may the next one go.
SEEN_AGAIN_SECONDS = FAIL_TIMEOUT_SECONDS + 0.5
RESTARTED = ("data_store", "document_api")


class Restart:
    """One run of `restart`."""

    def __init__(self, state: State, progress: Progress) -> None:
        self._state = state
        self._progress = progress
        self._supervisor = Supervisor(state)

    def run(self, wanted: Sequence[str]) -> None:
        """Restart these services, all of both without a name, with the settings that they have."""
        if not self._state.supervised:
            raise StackError(
                f"the stack of {self._state.root} does not run; start it with: ./setup-and-run.sh"
            )
        with self._state.locked():
            names = [name for name in Register.read(self._state).entries if _kind(name) in RESTARTED]
            chosen = _chosen(names, wanted)
            for number, name in enumerate(chosen):
                if number:
                    time.sleep(SEEN_AGAIN_SECONDS)
                self._restart(name, alone=sum(_kind(other) == _kind(name) for other in names) == 1)

    def _restart(self, name: str, *, alone: bool) -> None:
        began = time.monotonic()
        if alone:
            with self.standing_in(name):
                self._begin_anew(name)
        else:
            self._begin_anew(name)
        self._progress.step(f"{name} runs anew after {time.monotonic() - began:.1f} s")

    def _begin_anew(self, name: str) -> None:
        self._supervisor.restart(name)
        self._wait(name, lambda: self._supervisor.listens(name))
        entry = Register.read(self._state).entries[name]
        self._wait(name, lambda: entry is None or entry.probe.problem() is None)

    @contextmanager
    def standing_in(self, name: str) -> Iterator[None]:
        """Let a second process serve at the port of the only instance until the block has ended well."""
        stand_in = self._supervisor.begin_stand_in(name)
        try:
            self._wait(stand_in, lambda: self._supervisor.listens(stand_in))
        except StackError:
            self._supervisor.forget(stand_in)
            raise
        try:
            yield
        except StackError as error:
            raise StackError(
                f"{error}\n{stand_in} serves in its place until the next ./setup-and-run.sh"
            ) from error
        self._supervisor.forget(stand_in)

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            process = self._supervisor.processes().get(name)
            if process is None or process.state == "FATAL" or time.monotonic() > deadline:
                file = self._supervisor.log_file(name)
                lines = "".join(f"    {line}\n" for line in tail([file], TELLING_LINES))
                raise StackError(f"{name} does not come back\n  its last lines ({file}):\n{lines.rstrip()}")
            self._progress.tick(f"waiting for {name}")
            time.sleep(LOOK_SECONDS)


def _kind(name: str) -> str:
    """Return the name without an instance's number."""
    kind, _, number = name.rpartition("-")
    return kind if number.isdecimal() else name


def _chosen(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the instances that are meant, in the order of starting; `document_api` means all of its instances."""
    if unknown := [one for one in wanted if one not in names and one not in map(_kind, names)]:
        known = ", ".join(sorted({*names, *map(_kind, names)}))
        raise UsageError(f"{unknown[0]!r} is no service that can be restarted; there are: {known}")
    return [name for name in names if not wanted or name in wanted or _kind(name) in wanted]

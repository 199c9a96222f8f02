"""The real supervisor, and what it is asked to do with services that do not do well."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from local_stack.errors import StackError
from local_stack.health import CommandProbe, HttpProbe
from local_stack.progress import Progress
from local_stack.services import Service
from local_stack.settings import Settings
from local_stack.state import State
from local_stack.supervision import Supervisor
from local_stack.up import Up
from tests.waiting import eventually

SECONDS: Final = 30
# Says when it is ready; when told to end it takes its time, and says when it does.
SLOW_TO_END: Final = """
import pathlib, signal, sys, time
ready, ended, seconds = sys.argv[1:]
def tell(path):
    with open(path, "a") as log:
        log.write(f"{pathlib.Path(ready).name}\\n")
def end(*_):
    tell(f"{ended}-{pathlib.Path(ready).name}")
    time.sleep(float(seconds))
    tell(ended)
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(ready).touch()
while True:
    signal.pause()
"""


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A state folder."""
    state = State(tmp_path)
    state.create()
    return state


@pytest.fixture
def supervisor(state: State) -> Iterator[Supervisor]:
    """A supervisor that runs nothing yet."""
    supervisor = Supervisor(state)
    supervisor.ensure_running({})
    yield supervisor
    supervisor.shutdown()


def service(state: State, name: str, *command: str) -> Service:
    """Return a service that runs a command."""
    return Service(
        name=name, command=command, probe=HttpProbe(1, "/"), priority=1, url="", directory=state.root
    )


def is_in(supervisor: Supervisor, name: str, wanted: str) -> bool:
    """Say whether a process is in this state."""
    return supervisor.processes()[name].state == wanted


def test_a_service_that_waits_for_its_next_start_is_started_at_once(
    supervisor: Supervisor, state: State
) -> None:
    """BACKOFF, where supervisor takes it for running: a second `up` starts it anew."""
    failing = service(state, "failing", sys.executable, "-c", "raise SystemExit(1)")
    supervisor.apply(failing)
    eventually(lambda: is_in(supervisor, "failing", "BACKOFF"), seconds=SECONDS)
    assert supervisor.apply(failing)


def test_a_program_that_is_not_there_is_one_line(supervisor: Supervisor, state: State) -> None:
    """What supervisor refuses names the service."""
    with pytest.raises(StackError, match=r"^supervisor refuses startProcess missing: NO_FILE[^\n]*$"):
        supervisor.apply(service(state, "missing", "/does/not/exist"))


def test_nothing_runs_where_no_supervisor_does(state: State) -> None:
    """Before the first `up` and after `down`."""
    assert Supervisor(state).pid() is None
    assert Supervisor(state).processes() == {}


def start_slow(supervisor: Supervisor, state: State, name: str, *, seconds: float, priority: int) -> None:
    """Start a program that takes so long to end, and wait until it is ready to be told."""
    script = state.root / "slow.py"
    script.write_text(SLOW_TO_END)
    command = (sys.executable, str(script), str(state.run / name), str(state.root / "ended"), str(seconds))
    supervisor.apply(replace(service(state, name, *command), priority=priority))
    eventually((state.run / name).exists, seconds=SECONDS)


def test_services_of_one_priority_end_side_by_side(supervisor: Supervisor, state: State) -> None:
    """Each of three is told to end before one of them has ended."""
    for name in ("one", "two", "three"):
        start_slow(supervisor, state, name, seconds=2, priority=1)
    supervisor.shutdown()
    told = [(state.root / f"ended-{name}").stat().st_mtime for name in ("one", "two", "three")]
    # Touched by the first that ends, two seconds after it was told, and by all others.
    assert max(told) < min(told) + 2
    assert sorted((state.root / "ended").read_text().split()) == ["one", "three", "two"]


def test_what_others_need_ends_after_them(supervisor: Supervisor, state: State) -> None:
    """The data store serves until the last instance of document_api has ended."""
    start_slow(supervisor, state, "needed", seconds=0, priority=1)
    start_slow(supervisor, state, "needing", seconds=1, priority=2)
    supervisor.shutdown()
    assert (state.root / "ended").read_text().split() == ["needing", "needed"]


def waiting(state: State, name: str, *, well_with: str) -> Service:
    """Return a service that says when it runs, and is well when another one runs."""
    command = ("sh", "-c", f"touch {state.root / name}; exec sleep 60")
    return replace(
        service(state, name, *command), probe=CommandProbe(("test", "-e", str(state.root / well_with)))
    )


def starting(state: State) -> Up:
    """Return what starts services in this state folder."""
    return Up(Settings(robin_state_dir=state.root), {}, Progress())


def test_services_start_at_once_where_none_runs(supervisor: Supervisor, state: State) -> None:
    """The first is well only when the second runs: nobody waits for one before starting the next."""
    starting(state).start_services(
        [waiting(state, "first", well_with="second"), waiting(state, "second", well_with="first")]
    )
    assert {"first", "second"} <= supervisor.processes().keys()


def test_services_restart_one_after_the_other(supervisor: Supervisor, state: State) -> None:
    """The second still runs as it did while the first is on its way: somebody serves."""
    first, second = (waiting(state, name, well_with=name) for name in ("first", "second"))
    starting(state).start_services([first, second])
    pid = supervisor.processes()["second"].pid
    failing = replace(first, command=("sh", "-c", "exit 1"), probe=CommandProbe(("false",)))
    with pytest.raises(StackError, match="first does not run"):
        starting(state).start_services([failing, replace(second, inputs="changed")])
    assert supervisor.processes()["second"].pid == pid


def test_where_one_service_fails_those_that_were_started_with_it_are_stopped(
    supervisor: Supervisor, state: State
) -> None:
    """Nobody is left behind that would wait for it for ever."""
    failing = replace(service(state, "failing", "sh", "-c", "exit 1"), probe=CommandProbe(("false",)))
    with pytest.raises(StackError, match="failing does not run"):
        starting(state).start_services([failing, waiting(state, "second", well_with="second")])
    assert is_in(supervisor, "second", "STOPPED")

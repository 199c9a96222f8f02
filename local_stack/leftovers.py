"""Processes that outlived a supervisor that was killed."""

import psutil

from local_stack.postgres import outside_home
from local_stack.state import State

PATIENCE_SECONDS = 10.0


def stop_leftovers(state: State) -> list[int]:
    """End what a killed supervisor left running of this stack, and return the process ids."""
    left = [process for process in psutil.process_iter() if _belongs(process, state)]
    for process in left:
        process.terminate()
    _, stubborn = psutil.wait_procs(left, timeout=PATIENCE_SECONDS)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn, timeout=PATIENCE_SECONDS)
    return [process.pid for process in left]


def _belongs(process: psutil.Process, state: State) -> bool:
    try:
        return process.environ().get("ROBIN_STACK") == str(state.root) or _names_state(process, state)
    except psutil.Error:
        return False


def _names_state(process: psutil.Process, state: State) -> bool:
    """nginx and PostgreSQL overwrite their environment, but say on their command line where they live."""
    line = " ".join(process.cmdline())
    return process.name() in {"nginx", "postgres"} and any(
        f"{place}/" in line for place in (state.root, outside_home(state))
    )

"""`status` and `down`: what of the stack runs, asked for real, and how it ends."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from local_stack.exit_codes import Health
from local_stack.leftovers import stop_leftovers
from local_stack.progress import Progress
from local_stack.register import Entry, Register
from local_stack.state import State
from local_stack.supervision import ProcessInfo, Supervisor


def status(state: State, progress: Progress) -> Health:
    """Show a table of all services and say whether all are well."""
    processes = Supervisor(state).processes()
    if not processes:
        progress.line(f"the stack of {state.root} does not run; start it with: ./setup-and-run.sh")
        return Health.NOT_RUNNING
    entries = Register.read(state).entries
    with ThreadPoolExecutor(max_workers=len(entries) or 1) as pool:
        problems = dict(zip(entries, pool.map(_problem, entries.values()), strict=True))
    progress.line(f"{'SERVICE':<17} {'STATE':<9} {'PID':>8} {'UPTIME':>16}  {'URL':<32} HEALTH")
    for name, problem in problems.items():
        progress.line(_row(name, processes.get(name), entries[name], problem))
    return Health.HEALTHY if not any(problems.values()) else Health.UNHEALTHY


def down(state: State, progress: Progress) -> None:
    """Stop everything; the data stays."""
    if not state.run.exists():
        progress.line(f"nothing to stop: there is no stack in {state.root}")
        return
    with state.locked():
        supervisor = Supervisor(state)
        if supervisor.pid() is not None:
            progress.step("stopping the services, nginx first, PostgreSQL last")
            supervisor.shutdown()
        for pid in stop_leftovers(state):
            progress.step(f"stopped process {pid}, left over by a killed supervisor")
        state.endpoints_file.unlink(missing_ok=True)
        state.services_file.unlink(missing_ok=True)
        progress.step(f"nothing of it runs any more; the data stays in {state.root}")


def _problem(entry: Entry | None) -> str | None:
    return "not built or not started yet" if entry is None else entry.probe.problem()


def _row(name: str, process: ProcessInfo | None, entry: Entry | None, problem: str | None) -> str:
    state, pid, uptime = "-", "-", "-"
    if process is not None:
        state, pid = process.state, str(process.pid or "-")
        uptime = str(timedelta(seconds=process.uptime)) if process.uptime else "-"
    url = entry.url if entry else "-"
    return f"{name:<17} {state:<9} {pid:>8} {uptime:>16}  {url:<32} {problem or 'healthy'}"

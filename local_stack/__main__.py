"""The command line: `python -m local_stack up|down|status|restart [SERVICE ...]|logs SERVICE|admin ARGS|backup FILE|restore FILE|build [PROGRAM ...]|bin-dir`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from local_stack import backup, tls
from local_stack.build import PROGRAMS, BuildError, bin_dir, build, cache_dir
from local_stack.errors import StackError, UsageError
from local_stack.exit_codes import FAILED, INTERRUPTED, MISUSED
from local_stack.log_files import files_of, tail
from local_stack.progress import Progress
from local_stack.restart import Restart
from local_stack.settings import CHECKOUT, Settings
from local_stack.state import State
from local_stack.status import down, status
from local_stack.supervision import inherited
from local_stack.up import Up


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every failure is one clear message on stderr."""
    # What follows `admin` is for another command line, options as well.
    own = 1 if arguments[:1] == ["admin"] else len(arguments)
    options = _parser().parse_args(arguments[:own])
    try:
        return _run(options, arguments[own:])
    except UsageError as error:
        return _fail(str(error), MISUSED)
    except (StackError, BuildError, OSError) as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)


def _run(options: argparse.Namespace, admin_arguments: Sequence[str]) -> int:
    settings = Settings.from_environment()
    state = State(settings.state_dir)
    progress = Progress()
    match options.command:
        case "up":
            tls.check(settings)
            Up(settings, os.environ, progress).run()
        case "down":
            down(state, progress)
        case "status":
            return status(state, progress)
        case "restart":
            Restart(state, progress).run(options.service)
        case "logs":
            _show_logs(files_of(options.service, state), options)
        case "admin":
            _administer(state, admin_arguments)
        case "backup" | "restore":
            return backup.run(options, (sys.executable,), str(state.uploads), _as_owner(state))
        case _:
            _provide(options, state, progress)
    return 0


def _show_logs(files: Sequence[Path], options: argparse.Namespace) -> None:
    if options.follow:
        # tail -F knows rotation.
        command = ["tail", "-n", str(options.lines), "-F", *map(str, files)]
        os.execvp("tail", command)  # noqa: S606
    for file in files:
        Progress().line(f"==> {file} <==")
        for line in tail([file], options.lines):
            Progress().line(line)


def _administer(state: State, arguments: Sequence[str]) -> NoReturn:
    """Become the admin command line, with the settings that the stack was started with."""
    helps = {"-h", "--help"} & set(arguments)
    environment = inherited(os.environ) if helps else _as_owner(state)
    os.chdir(CHECKOUT)
    command = [sys.executable, "-m", "data_store.admin", *arguments]
    os.execve(sys.executable, command, environment)  # noqa: S606


def _as_owner(state: State) -> dict[str, str]:
    """Return the environment of what acts as the owner of the running stack's tables."""
    if not (state.supervised and state.owner_environment_file.exists()):
        raise StackError(f"the stack of {state.root} does not run; start it with: ./setup-and-run.sh")
    owner: dict[str, str] = json.loads(state.owner_environment_file.read_text())
    return {**inherited(os.environ), **owner}


def _provide(options: argparse.Namespace, state: State, progress: Progress) -> None:
    if options.command == "build":
        _build(options.program, state.logs)
    else:
        progress.line(str(bin_dir(cache_dir(os.environ), logs=state.logs)))


def _build(names: Sequence[str], logs: Path) -> None:
    known = [program.name for program in PROGRAMS]
    if unknown := set(names) - set(known):
        raise UsageError(f"no program {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    for program in PROGRAMS:
        if not names or program.name in names:
            build(program, cache_dir(os.environ), log=logs / f"build-{program.name}.log")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start what does not run, restart what changed, build what is missing")
    commands.add_parser("down", help="stop everything; the data stays")
    commands.add_parser("status", help="exit 0 when all is healthy, 1 when not, 3 when nothing runs")
    restart = commands.add_parser("restart", help="restart both services, or one, without losing a request")
    restart.add_argument(
        "service", metavar="SERVICE", nargs="*", help="document_api, document_api-1, data_store ..."
    )
    logs = commands.add_parser("logs", help="the last lines of a service")
    logs.add_argument("service", metavar="SERVICE")
    logs.add_argument("-f", "--follow", action="store_true", help="go on showing new lines")
    logs.add_argument("-n", "--lines", type=int, default=50, help="how many lines of each file (50)")
    commands.add_parser("admin", help="administer clients, users and keys of the running stack")
    backup.add_parsers(commands)
    builder = commands.add_parser("build", help="build the Go programs that are missing")
    builder.add_argument("program", metavar="PROGRAM", nargs="*", help="without one: all")
    commands.add_parser("bin-dir", help="print a folder with all Go programs, building what is missing")
    return parser


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

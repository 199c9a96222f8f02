"""The command line: `python -m docker_stack choose ACTION|up|down|status|restart [SERVICE ...]|logs SERVICE|admin ARGS|backup FILE|restore FILE`."""

import argparse
import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from docker_stack.choice import choose, running_way
from docker_stack.compose import CHECKOUT, Compose
from docker_stack.restart import restart
from docker_stack.status import status
from docker_stack.up import Up
from local_stack import backup
from local_stack.errors import StackError, UsageError
from local_stack.exit_codes import FAILED, INTERRUPTED, MISUSED
from local_stack.progress import Progress
from local_stack.state import State


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every failure is one clear message on stderr."""
    # What follows `admin` is for another command line, options as well.
    own = 1 if arguments[:1] == ["admin"] else len(arguments)
    options = _parser().parse_args(arguments[:own])
    state = State(Path(os.environ.get("ROBIN_STATE_DIR") or CHECKOUT / ".robin").expanduser().absolute())
    try:
        return _run(options, arguments[own:], state, Progress())
    except UsageError as error:
        return _fail(str(error), MISUSED)
    except (StackError, OSError) as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted; stop what runs with: ./setup-and-run.sh --down", INTERRUPTED)


def _run(
    options: argparse.Namespace, admin_arguments: Sequence[str], state: State, progress: Progress
) -> int:
    if options.command == "choose":
        progress.line(_choose(options.action, state))
        return 0
    return _act(options, admin_arguments, state, progress)


def _act(
    options: argparse.Namespace, admin_arguments: Sequence[str], state: State, progress: Progress
) -> int:
    compose = Compose.find()
    match options.command:
        case "status":
            return status(compose, progress)
        case "down":
            return _down(compose, state)
        case "restart":
            restart(compose, options.service, progress)
        case "logs":
            return compose.show_logs(options.service, options.lines)
        case "admin":
            return compose.administer(admin_arguments, getpass.getuser())
        case "backup" | "restore":
            return compose.archive(options)
        case _:
            Up(compose, state, progress).run()
    return 0


def _down(compose: Compose, state: State) -> int:
    ended = compose.down()
    if ended == 0 and not state.supervised:
        state.endpoints_file.unlink(missing_ok=True)
    return ended


def _choose(action: str, state: State) -> str:
    """Return the way; why it was chosen goes to the person, not to the script that asks."""
    if action != "up":
        return running_way(state)
    choice = choose(state)
    sys.stderr.write(f"{choice}\n")
    return choice.way


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m docker_stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    chooser = commands.add_parser("choose", help="print docker or local, and why on stderr")
    chooser.add_argument(
        "action", choices=("up", "down", "status", "restart", "logs", "admin", "backup", "restore")
    )
    commands.add_parser("up", help="build and start everything, and wait until all of it is well")
    commands.add_parser("down", help="stop everything; the data stays")
    commands.add_parser("status", help="exit 0 when all is healthy, 1 when not, 3 when nothing runs")
    restarting = commands.add_parser("restart", help="replace the containers of both services, or of one")
    restarting.add_argument("service", metavar="SERVICE", nargs="*", help="document-api, data-store")
    logs = commands.add_parser("logs", help="the last lines of a service")
    logs.add_argument("service", metavar="SERVICE")
    logs.add_argument("-n", "--lines", type=int, default=50, help="how many lines of each container (50)")
    commands.add_parser("admin", help="administer clients, users and keys of the running stack")
    backup.add_parsers(commands)
    return parser


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

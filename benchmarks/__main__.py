"""`python -m benchmarks GOAL`: measures a goal, prints tables, writes JSON and a picture."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, ModuleType

from rich.console import Console

from benchmarks import documents, freshness, latency, memory, scaling, start, throughput, upload
from benchmarks.errors import BenchmarkError
from benchmarks.machine import describe
from benchmarks.options import Options
from benchmarks.pictures import draw
from benchmarks.report import Report
from local_stack.errors import StackError
from local_stack.settings import Settings


@dataclass(frozen=True)
class Goal:
    """A module with `run(options) -> Report`, and how much of it is measured unless told otherwise."""

    module: ModuleType
    rounds: int
    seconds: int | None = None  # None: a round lasts as long as its work

    @property
    def run(self) -> Callable[[Options], Report]:
        """What measures it."""
        run: Callable[[Options], Report] = self.module.run
        return run


GOALS: Mapping[str, Goal] = {
    "throughput": Goal(throughput, rounds=5, seconds=10),
    "scaling": Goal(scaling, rounds=5, seconds=10),
    "memory": Goal(memory, rounds=1),
    "upload": Goal(upload, rounds=5),
    "documents": Goal(documents, rounds=5, seconds=10),
    "freshness": Goal(freshness, rounds=30),
    "start": Goal(start, rounds=5),
    "latency": Goal(latency, rounds=3, seconds=10),
}
TABLE_WIDTH = 160


def main(arguments: Sequence[str]) -> int:
    """Measure one goal; 1 when that cannot be done."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    home = Settings.from_environment().state_dir / "benchmarks"
    wanted = Options(rounds=options.rounds, seconds=options.seconds, home=home, environment=dict(os.environ))
    try:
        description = {**describe(), "rounds_each": wanted.rounds, "seconds_each": wanted.seconds}
        report = GOALS[options.goal].run(wanted)
    except (BenchmarkError, StackError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    _publish(
        report, description, options.out or home / f"{report.goal}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    )
    return 0


def _publish(report: Report, description: Mapping[str, object], file: Path) -> None:
    report.write(file, description)
    picture = file.with_suffix(".png")
    draw(f"{report.goal}, commit {description['commit']}", report.charts, picture)
    console = Console(width=TABLE_WIDTH)
    report.show(console)
    console.print(f"all figures: {file}\npicture: {picture}", highlight=False)


def parser() -> argparse.ArgumentParser:
    """Return the command line: a command for each goal, described by its module."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    goals = made.add_subparsers(dest="goal", required=True)
    for name, goal in GOALS.items():
        text = goal.module.__doc__ or ""
        command = goals.add_parser(
            name,
            help=text.splitlines()[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument(
            "--rounds", type=int, default=goal.rounds, help=f"rounds of each side ({goal.rounds})"
        )
        command.set_defaults(seconds=goal.seconds or 0)
        if goal.seconds:
            command.add_argument(
                "--seconds", type=int, default=goal.seconds, help=f"length of a round ({goal.seconds})"
            )
        command.add_argument(
            "--out", type=Path, help="where to write the JSON, and the picture beside it (.robin/benchmarks/)"
        )
    return made


def _leave(number: int, _frame: FrameType | None) -> None:
    """End as after an exception, so that everything that was started is stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

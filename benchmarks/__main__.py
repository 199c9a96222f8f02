"""`python -m benchmarks GOAL`: measures a goal, prints tables and writes JSON."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmarks import throughput
from benchmarks.errors import BenchmarkError
from benchmarks.machine import describe
from benchmarks.options import Options
from benchmarks.report import Report
from local_stack.errors import StackError
from local_stack.settings import Settings

# A goal is a module with `run(options) -> Report`, and a line here.
GOALS: Mapping[str, Callable[[Options], Report]] = {"throughput": throughput.run}
TABLE_WIDTH = 150


def main(arguments: Sequence[str]) -> int:
    """Measure one goal; 1 when that cannot be done."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    home = Settings.from_environment().state_dir / "benchmarks"
    try:
        description = {**describe(), "rounds_each": options.rounds, "seconds_each": options.seconds}
        report = GOALS[options.goal](
            Options(rounds=options.rounds, seconds=options.seconds, home=home, environment=dict(os.environ))
        )
    except (BenchmarkError, StackError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    file = options.out or home / f"{report.goal}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    report.write(file, description)
    console = Console(width=TABLE_WIDTH)
    report.show(console)
    console.print(f"all figures: {file}", highlight=False)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("goal", choices=GOALS)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each side (5)")
    parser.add_argument("--seconds", type=int, default=10, help="length of a round (10)")
    parser.add_argument("--out", type=Path, help="where to write the JSON (.robin/benchmarks/)")
    return parser


def _leave(number: int, _frame: FrameType | None) -> None:
    """End as after an exception, so that everything that was started is stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

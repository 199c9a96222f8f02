"""`python -m benchmarks GOAL`: measures a goal, prints tables, writes JSON and a picture."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmarks.errors import BenchmarkError
from benchmarks.goals import GOALS, parser
from benchmarks.machine import describe
from benchmarks.options import Options
from benchmarks.pictures import draw
from benchmarks.report import Report
from local_stack.errors import StackError
from local_stack.settings import Settings

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


def _leave(number: int, _frame: FrameType | None) -> None:
    """End as after an exception, so that everything that was started is stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

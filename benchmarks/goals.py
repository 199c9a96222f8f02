"""The goals, and the command line that chooses one."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from benchmarks import (
    breakdown,
    choices,
    documents,
    fairness,
    footprint,
    freshness,
    isolation,
    latency,
    memory,
    scaling,
    start,
    throughput,
    upload,
)
from benchmarks.options import Options
from benchmarks.report import Report

DESCRIPTION = (
    "Measures one goal: prints tables, writes JSON and a picture, and says when the machine was too noisy."
)


@dataclass(frozen=True)
class Goal:
    """A module with `run(options) -> Report`, and how much of it is measured unless told otherwise."""

    module: ModuleType
    rounds: int | None = None  # None: there is one
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
    "breakdown": Goal(breakdown, rounds=3, seconds=10),
    "choices": Goal(choices, rounds=5, seconds=10),
    "footprint": Goal(footprint, seconds=60),
    "fairness": Goal(fairness, rounds=5, seconds=10),
    "isolation": Goal(isolation, rounds=5, seconds=3),
}


def parser() -> argparse.ArgumentParser:
    """Return the command line: a command for each goal, described by its module."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=DESCRIPTION)
    goals = made.add_subparsers(dest="goal", required=True)
    for name, goal in GOALS.items():
        text = goal.module.__doc__ or ""
        command = goals.add_parser(
            name,
            help=text.splitlines()[0].replace("%", "%%"),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(rounds=goal.rounds or 1, seconds=goal.seconds or 0)
        if goal.rounds:
            command.add_argument(
                "--rounds", type=int, default=goal.rounds, help=f"rounds of each side ({goal.rounds})"
            )
        if goal.seconds:
            command.add_argument(
                "--seconds", type=int, default=goal.seconds, help=f"length of a round ({goal.seconds})"
            )
        command.add_argument(
            "--out", type=Path, help="where to write the JSON, and the picture beside it (.robin/benchmarks/)"
        )
    return made

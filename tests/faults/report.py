"""The table of what every fault did."""

from collections.abc import Iterable, Sequence
from typing import Final

from tests.faults.run import Outcome

HEAD: Final = (
    "fault",
    "requests",
    "answers",
    "longest, s",
    "well again after, s",
    "acknowledged",
    "lost",
    "torn",
    "twice",
    "spans missing",
    "lines missing",
    "alerts",
)


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as a table of Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *map(_cells, outcomes)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(outcome: Outcome) -> Sequence[str]:
    found, missing = outcome.documents, outcome.missing
    return (
        outcome.fault,
        str(outcome.requests),
        ", ".join(f"{count} x {status or 'none'}" for status, count in outcome.statuses.items()),
        f"{outcome.longest_seconds:.1f}",
        "never" if outcome.recovered_seconds is None else f"{outcome.recovered_seconds:.1f}",
        str(found.acknowledged),
        str(len(found.lost)),
        str(len(found.torn)),
        str(len(found.duplicates)),
        f"{missing.spans} of {missing.of_spans}",
        f"{missing.lines} of {missing.of_lines}",
        ", ".join(outcome.alerts) or "none",
    )

"""What was checked, and how it ended."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was looked at, what was wrong (nothing: it passed, unless it was skipped), what was found."""

    group: str
    name: str
    problems: tuple[str, ...]
    found: str
    seconds: float
    skipped: str = ""  # why nobody could look

    @property
    def passed(self) -> bool:
        """Whether somebody looked and nothing was wrong."""
        return not self.problems and not self.skipped

    @property
    def detail(self) -> str:
        """What was expected and found, in one line."""
        return "; ".join(self.problems) or self.skipped or self.found

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "group": self.group,
            "name": self.name,
            "passed": self.passed,
            "skipped": bool(self.skipped),
            "detail": self.detail,
            "seconds": self.seconds,
        }


@dataclass(slots=True)
class Results:
    """Collects checks and figures; `on_check` hears of each check as it ends."""

    on_check: Callable[[Check], None] = lambda _check: None
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, group: str, name: str, problems: Sequence[str], found: str, seconds: float = 0.0) -> None:
        """Record a check: it failed when there are problems, else `found` says what was seen."""
        self._record(Check(group, name, tuple(problems), found, round(seconds, 3)))

    def skip(self, group: str, name: str, reason: str) -> None:
        """Record a check that could not be made: it counts as neither passed nor failed."""
        self._record(Check(group, name, (), "", 0.0, skipped=reason))

    def _record(self, check: Check) -> None:
        self.checks.append(check)
        self.on_check(check)

    @property
    def passed(self) -> int:
        """Number of checks that passed."""
        return sum(check.passed for check in self.checks)

    @property
    def failures(self) -> list[Check]:
        """Checks that failed, in order."""
        return [check for check in self.checks if check.problems]

    @property
    def skipped(self) -> list[Check]:
        """Checks that could not be made, in order."""
        return [check for check in self.checks if check.skipped]

    @property
    def verdict(self) -> str:
        """The closing line."""
        counts = f"{self.passed} passed, {len(self.failures)} failed"
        return f"{counts}, {len(self.skipped)} skipped" if self.skipped else counts

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "passed": self.passed,
            "failed": len(self.failures),
            "skipped": len(self.skipped),
            "checks": [check.as_dict() for check in self.checks],
            "figures": self.figures,
        }


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Elapsed time."""
        return time.perf_counter() - self._start

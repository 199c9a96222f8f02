"""Alerting faster than it really is, for demonstrations and tests: shorter durations in its configuration."""

import re
import shutil
from pathlib import Path

UNITS_MS = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 7 * 86_400_000,
    "y": 365 * 86_400_000,
}
SHORTEST_MS = 100  # below that Prometheus would do little else than evaluate
# On a machine that works hard, an answer that is nowhere late may take a second.
SHORTEST_SCRAPE_MS = 2000
# Of rules, of Prometheus and of Alertmanager; how long something is kept is none of them.
FIELDS = (
    "for",
    "keep_firing_for",
    "interval",
    "scrape_interval",
    "scrape_timeout",
    "evaluation_interval",
    "group_wait",
    "group_interval",
    "repeat_interval",
)

PART = re.compile(r"(\d+)(ms|[smhdwy])")
DURATION = re.compile(r"(?:\d+(?:ms|[smhdwy]))+")
IN_FIELD = re.compile(rf"(\b(?:{'|'.join(FIELDS)})\s*:\s*[\"']?|\boffset\s+-?)({DURATION.pattern})\b")
IN_BRACKETS = re.compile(rf"\[\s*{DURATION.pattern}\s*(?::\s*(?:{DURATION.pattern})?\s*)?\]")


def shorter(duration: str, speedup: float, *, shortest: int = SHORTEST_MS) -> str:
    """Return a duration of Prometheus, such as 1m30s, divided; what is not 0 does not get too short for it."""
    whole = sum(int(number) * UNITS_MS[unit] for number, unit in PART.findall(duration))
    milliseconds = min(whole, max(shortest, round(whole / speedup)))
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def sped_up(text: str, speedup: float) -> str:
    """Return rules or a configuration with every duration divided: in fields, in ranges and offsets of expressions."""

    def divide(match: re.Match[str]) -> str:
        return shorter(match[0], speedup)

    def divide_field(match: re.Match[str]) -> str:
        shortest = SHORTEST_SCRAPE_MS if match[1].startswith("scrape_") else SHORTEST_MS
        return match[1] + shorter(match[2], speedup, shortest=shortest)

    ranges = IN_BRACKETS.sub(lambda found: DURATION.sub(divide, found[0]), text)
    return IN_FIELD.sub(divide_field, ranges)


def lay(source: Path, target: Path, speedup: float) -> None:
    """Put a file, or a folder of rules, into a configuration: as a link, or as a copy that is sped up."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    if speedup == 1:
        target.symlink_to(source)
    elif source.is_dir():
        target.mkdir()
        for file in source.glob("*.yml"):
            lay(file, target / file.name, speedup)
    else:
        target.write_text(sped_up(source.read_text(), speedup))

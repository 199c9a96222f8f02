"""Values as text, in the units that the dashboards use."""

from collections.abc import Sequence
from typing import Final

_STEPS: Final[dict[str, tuple[Sequence[str], float]]] = {
    "bytes": (("B", "KiB", "MiB", "GiB", "TiB"), 1024),
    "short": (("", "K", "M", "G"), 1000),
}
_PER_SECOND: Final = {"reqps": " req/s", "ops": " ops/s", "cps": "/s"}


def shown(value: float, unit: str) -> str:
    """Return a value for people; three digits are enough."""
    if unit == "percentunit":
        return f"{_digits(value * 100)}%"
    if unit == "s":
        return _duration(value)
    if unit.startswith("suffix:"):
        return f"{_digits(value)}{unit.removeprefix('suffix:')}"
    text = _stepped(value, *_STEPS["bytes" if unit == "bytes" else "short"])
    return text + _PER_SECOND.get(unit, "")


def _stepped(value: float, names: Sequence[str], factor: float) -> str:
    for name in names[:-1]:
        if abs(value) < factor:
            return f"{_digits(value)} {name}".strip()
        value /= factor
    return f"{_digits(value)} {names[-1]}"


def _duration(seconds: float) -> str:
    size = abs(seconds)
    if size >= 3600:  # noqa: PLR2004
        return f"{_digits(seconds / 3600)} h"
    if size >= 120:  # noqa: PLR2004
        return f"{_digits(seconds / 60)} min"
    if size >= 1 or size == 0:
        return f"{_digits(seconds)} s"
    return f"{_digits(seconds * 1e3)} ms" if size >= 1e-3 else f"{_digits(seconds * 1e6)} µs"  # noqa: PLR2004


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004

"""What the command line says, for every goal alike."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much is measured, and where the files of a run lie."""

    rounds: int
    seconds: int
    home: Path
    environment: dict[str, str]

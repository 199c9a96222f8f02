"""What the command line says, for every goal alike."""

from dataclasses import dataclass, field
from pathlib import Path

from local_stack.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much is measured, and where the files of a run lie."""

    rounds: int
    seconds: int
    home: Path
    environment: dict[str, str]
    progress: Progress = field(default_factory=Progress)  # one clock for all of a run

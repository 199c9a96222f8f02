"""What one supervised process is."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local_stack.health import Probe

SUFFIXES = {".py", ".yml", ".yaml", ".template"}


@dataclass(frozen=True, kw_only=True)
class Service:
    """A program of the stack: how it is run, asked and stopped."""

    name: str
    command: tuple[str, ...]
    probe: Probe
    priority: int  # started in this order, stopped in the opposite one
    url: str
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: str = ""  # digest of code and configuration: another one means a restart
    output: Path | None = None  # what it writes to stdout, where that is apart from its log
    user: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 15


def digest_texts(*texts: str) -> str:
    """Return a digest of rendered configuration."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()[:16]


def digest_files(paths: Iterable[Path]) -> str:
    """Return a digest of files, or of the code and configuration below folders: names and content."""
    digest = hashlib.sha256()
    for path in paths:
        below = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
        for file in below if path.is_dir() else [path]:
            digest.update(f"{file.name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]

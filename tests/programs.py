"""The stack's own programs, for tests that run one."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from local_stack.build import PROGRAMS, build, cache_dir


@cache
def binary(name: str) -> Path:
    """Return a program's binary, built where it is missing."""
    program = next(program for program in PROGRAMS if name in program.binaries)
    with TemporaryDirectory() as folder:
        binaries = build(program, cache_dir(os.environ), log=Path(folder) / "build.log")
    return next(path for path in binaries if path.name == name)

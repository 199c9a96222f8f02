"""The matrix's other clock: the time of day jumps, and nothing else does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.clock import SHIFT_SECONDS, build, environment, set_to

JUMP = """
import sys, time
times = lambda: (time.time(), time.monotonic())
before = times()
print(flush=True)
input()
print(*(after - was for after, was in zip(times(), before)))
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("seconds", [SHIFT_SECONDS, -SHIFT_SECONDS, 0])
def test_the_time_of_day_jumps_in_a_running_process(tmp_path: Path, seconds: int) -> None:
    """Timers go on as they did."""
    shift = tmp_path / "shift"
    set_to(shift, 0)
    given = environment(build(tmp_path), shift)
    with subprocess.Popen(
        [sys.executable, "-c", JUMP],
        env=os.environ | given,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        set_to(shift, seconds)
        told, _ = process.communicate("\n", timeout=60)
    wall, timer = map(float, told.split())
    assert wall - timer == pytest.approx(seconds, abs=60)
    assert timer < SHIFT_SECONDS / 2

"""`python -m tests.fuzz.counted MODULE`: runs a service as `python -m MODULE` does, and tells its tasks when asked to.

On SIGUSR1 it writes how many tasks of asyncio are under way into the file that TASKS_FILE names.
"""

import asyncio
import gc
import os
import runpy
import signal
import sys
from pathlib import Path


def tell(_signal: int, _frame: object) -> None:
    """Write the number, all at once."""
    tasks = [each for each in gc.get_objects() if isinstance(each, asyncio.Task) and not each.done()]
    file = Path(os.environ["TASKS_FILE"])
    half = file.with_suffix(".half")
    half.write_text(str(len(tasks)))
    half.rename(file)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)

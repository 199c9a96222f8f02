"""A process that reads documents, one at a time: `python -m document_api.text.worker BYTES`.

Each line of its input asks for a file, each line of its output answers; it ends with its input. A file that takes more
than BYTES of memory, beyond what the process has at its start, is not read; one that takes far more CPU time than was
asked for ends the process, also when nobody is there any more to do that.
"""

import io
import json
import logging
import math
import os
import resource
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final, TextIO

from document_api.text.extractors import extract
from document_api.text.media_types import Form

_SPARE_CPU_SECONDS: Final = 5
_NICENESS: Final = 5


def main() -> None:
    """Answer until nobody asks any more."""
    questions, answers = sys.stdin, sys.stdout
    sys.stdin, sys.stdout = io.StringIO(), io.StringIO()  # a library that writes there would answer
    _be_quiet()
    _confine(int(sys.argv[1]))
    serve(questions, answers)


def serve(questions: TextIO, answers: TextIO) -> None:
    """Answer each question with what is read."""
    for line in questions:
        question = json.loads(line)
        _limit_cpu(question["seconds"])
        text = extract(
            *(Path(question["path"]), Form[question["form"]], question["media_type"]),
            seconds=question["seconds"],
        )
        answers.write(f"{json.dumps(asdict(text))}\n")
        answers.flush()


def _be_quiet() -> None:
    """Say nothing of what is found in a document."""
    logging.disable()
    warnings.simplefilter("ignore")


def _confine(memory_bytes: int) -> None:
    """Grant no more memory than this; let others go first, and be the first to go where the machine has none left."""
    os.nice(_NICENESS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit_cpu(seconds: float) -> None:
    used = time.process_time()
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + seconds) + _SPARE_CPU_SECONDS, most))


if __name__ == "__main__":
    main()

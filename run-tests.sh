#!/usr/bin/env bash
# Runs the quality gates and all tests on a machine with Linux and Python 3.11+.
#
#   ./run-tests.sh                  the gates, then every test
#   ./run-tests.sh ARGUMENTS...     pytest with these arguments, without the gates
set -euo pipefail

main() {
  cd "$(dirname "${BASH_SOURCE[0]}")"
  # shellcheck source=local_stack/python-env.sh
  source local_stack/python-env.sh
  make_environment "${ROBIN_STATE_DIR:-.robin}/venv" requirements/dev.txt
  PATH="$PWD/${ROBIN_STATE_DIR:-.robin}/venv/bin:$PATH"
  if [ $# -eq 0 ]; then
    gates
  fi
  exec python -m pytest "$@"
}

gates() {
  gate "ruff check" ruff check .
  gate "ruff format" ruff format --check .
  gate "mypy" mypy
  gate "shellcheck" shellcheck --external-sources setup-and-run.sh run-tests.sh .ci/run requirements/compile.sh \
    local_stack/python-env.sh
}

# Prints one line for a gate that passes, everything it said for one that fails.
gate() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    printf 'ok      %s\n' "$name"
  else
    printf '%s\nFAILED  %s\n' "$output" "$name" >&2
    exit 1
  fi
}

main "$@"

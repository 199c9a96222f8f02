#!/usr/bin/env bash
# Runs the quality gates and all tests on a machine with Linux and Python 3.11+.
#
#   ./run-tests.sh                  the gates, then every test
#   ./run-tests.sh ARGUMENTS...     pytest with these arguments, without the gates
#   ./run-tests.sh --faults ...     breaks a stack under load in every way, and prints what became of it (--help says more)
#   ./run-tests.sh --fuzz [INPUTS]  sends bad input, 10,000 requests of it, and schemathesis's, and counts the answers
set -euo pipefail

CHECKOUT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
VENV="$(realpath -m -- "${ROBIN_STATE_DIR:-$CHECKOUT/.robin}")/venv"
# shellcheck source=local_stack/python-env.sh
source "$CHECKOUT/local_stack/python-env.sh"

main() {
    cd -- "$CHECKOUT"
    install_requirements "$VENV" "$CHECKOUT/requirements/dev.txt"
    if (($# == 0)); then
        gates
    elif [[ "$1" == --faults ]]; then
        exec "$VENV/bin/python" -m tests.faults "${@:2}"
    elif [[ "$1" == --fuzz ]]; then
        export FUZZ_INPUTS="${2:-10000}"
        set -- tests/fuzz
    fi
    exec "$VENV/bin/python" -m pytest "$@"
}

gates() {
    gate ruff check .
    gate ruff format --check .
    gate mypy
    gate shellcheck --external-sources setup-and-run.sh run-tests.sh .ci/run requirements/compile.sh requirements/audit.sh \
        nginx/rotate-access-log.sh postgres/10-robin.sh docker_stack/volume-init.sh monitoring/alertmanager/start.sh
}

# Prints one line for a gate that passes, everything it said for one that fails.
gate() {
    local output
    if ! output="$("$VENV/bin/$1" "${@:2}" 2>&1)"; then
        printf '%s\n' "$output" >&2
        fail "$*"
    fi
    echo "ok: $*"
}

main "$@"

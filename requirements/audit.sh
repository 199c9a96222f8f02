#!/usr/bin/env bash
# Asks for known weaknesses of what is pinned (pip-audit, the Python Packaging Advisory Database): needs its service, so
# it is no part of the tests. Exit 0: none are known; else they are named, or what could not be asked for.
set -euo pipefail

CHECKOUT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="$(realpath -m -- "${ROBIN_STATE_DIR:-$CHECKOUT/.robin}")/audit-venv"
# shellcheck source=local_stack/python-env.sh
source "$CHECKOUT/local_stack/python-env.sh"

main() {
  cd -- "$CHECKOUT"
  install_requirements "$VENV" "$CHECKOUT/requirements/audit.txt"
  local pins failed=0
  for pins in requirements/*.txt; do
    echo "$pins"
    "$VENV/bin/pip-audit" --strict --disable-pip --require-hashes --progress-spinner off --requirement "$pins" || failed=1
  done
  return "$failed"
}

main "$@"

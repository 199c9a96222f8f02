#!/usr/bin/env bash
# Pins what pyproject.toml declares, with hashes: run it after changing a dependency. `--upgrade` takes newer versions.
set -euo pipefail

CHECKOUT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="$(realpath -m -- "${ROBIN_STATE_DIR:-$CHECKOUT/.robin}")/venv"
# shellcheck source=local_stack/python-env.sh
source "$CHECKOUT/local_stack/python-env.sh"

main() {
  cd -- "$CHECKOUT"
  install_requirements "$VENV" "$CHECKOUT/requirements/dev.txt"
  # dev.txt is solved first; the others are its subsets, but for what draws the pictures and runs a model.
  compile dev dev "$@"
  for extra in local-stack checks document-api data-store pictures model; do
    compile "$extra" "$extra" --constraints requirements/dev.txt
  done
  compile audit audit
  # Contrib's instrumentors each want one version of OpenTelemetry, and not all of them appear at once.
  compile benchmarks benchmarks --constraints <(grep -oE '^[a-z0-9._-]+==\S+( ; [^\]+)?' requirements/dev.txt | grep -v ^opentelemetry)
}

compile() {
  local extra=$1 out=requirements/$2.txt
  shift 2
  # --no-annotate and --no-header: the file names no machine and no registry.
  "$VENV/bin/uv" pip compile pyproject.toml --extra "$extra" --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet --output-file "$out" "$@"
}

main "$@"

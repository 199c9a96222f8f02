# shellcheck shell=bash
# Sourced by setup-and-run.sh and run-tests.sh: finds a Python and makes the virtual environment.

die() {
  printf '%s\n' "$1" >&2
  exit 1
}

# Prints the first Python that is new enough.
find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  die "Python 3.11 or newer is needed: install it, or name it: PYTHON=/path/to/python3 $0"
}

# make_environment FOLDER REQUIREMENTS: does nothing when it is there and its pins have not changed.
make_environment() {
  local folder=$1 requirements=$2 stamp want python
  stamp="$folder/installed-$(basename "$requirements" .txt).sha256"
  want=$(sha256sum "$requirements" | cut -d' ' -f1)
  if [ -x "$folder/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
    return
  fi
  python=$(find_python)
  if [ ! -x "$folder/bin/python" ]; then
    printf 'Making a virtual environment in %s\n' "$folder"
    "$python" -m venv "$folder" ||
      die "Python's venv module is missing: install it (Debian and Ubuntu: apt-get install python3-venv)"
  fi
  printf 'Installing %s\n' "$requirements"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$requirements" ||
    die "Installing $requirements failed: pip's message stands above; run again when the package index answers"
  printf '%s\n' "$want" >"$stamp"
}

# shellcheck shell=bash
# Sourced by setup-and-run.sh and run-tests.sh: finds a Python, makes the virtual environment, installs the pins.

OLDEST_PYTHON="3.11"

fail() {
    echo "error: $1" >&2
    exit 1
}

# install_requirements VENV REQUIREMENTS: does nothing where they are installed already.
install_requirements() {
    local venv="$1" requirements="$2" stamp wanted python
    stamp="$venv/.installed-$(basename -- "$requirements" .txt)"
    if [[ "$(made_for "$venv" 2>/dev/null)" != "$(cat "$venv/.made-for" 2>/dev/null || echo nothing)" ]]; then
        python="$(find_python)"
        echo "making the virtual environment with $("$python" --version)"
        make_environment "$python" "$venv"
    fi
    wanted="$(sha256sum <"$requirements")"
    if [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]]; then
        echo "installing the dependencies (pinned, with hashes)"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
            --requirement "$requirements" || fail "the dependencies could not be installed; pip's message is above"
        echo "$wanted" >"$stamp"
    fi
}

# An environment is bound to its Python and its place (its programs name it): either of them another, and it is made anew.
made_for() {
    "$1/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.prefix)'
}

find_python() {
    local name path
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        path="$(command -v "$name" || true)"
        if [[ -n "$path" ]] && new_enough "$path"; then
            echo "$path"
            return
        fi
    done
    fail "Python $OLDEST_PYTHON or newer is needed and none was found: install it (Debian, Ubuntu: apt install python3 python3-venv)"
}

new_enough() {
    "$1" -c "import sys; sys.exit(sys.version_info < tuple(map(int, '$OLDEST_PYTHON'.split('.'))))" 2>/dev/null
}

make_environment() {
    local python="$1" venv="$2"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        fail "$python cannot make virtual environments: install python3-venv (Debian, Ubuntu: apt install python3-venv)"
    fi
    mkdir -p -- "$(dirname -- "$venv")" || fail "cannot write $(dirname -- "$venv"): set ROBIN_STATE_DIR to another folder"
    rm -rf -- "$venv"
    "$python" -m venv "$venv" || fail "the virtual environment could not be made in $venv"
    made_for "$venv" >"$venv/.made-for"
}

#!/usr/bin/env bash
# Sets robin up and runs it: makes the virtual environment, installs the pinned dependencies, starts every service.
# Running it again takes seconds, restarts what has changed, and keeps all data.
set -euo pipefail

CHECKOUT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
STATE_DIR="$(realpath -m -- "${ROBIN_STATE_DIR:-$CHECKOUT/.robin}")"
VENV="$STATE_DIR/venv"
REQUIREMENTS="$CHECKOUT/requirements/local-stack.txt"
OLDEST_PYTHON="3.11"

usage() {
    cat <<'USAGE'
Usage: ./setup-and-run.sh [--local | --docker | --status | --down | --logs SERVICE | --help]

  (nothing)        set up what is missing and run the whole system
  --local          run it as processes on this machine, without Docker
  --docker         run it with Docker Compose
  --status         show every service and whether it is healthy (exit 0: all are, 1: not all, 3: not running)
  --down           stop everything; the data stays
  --logs SERVICE   show the last lines of a service
  --help           show this

Ports and limits are environment variables; the README lists them. Examples:
  HTTP_PORT=8080 ./setup-and-run.sh
  ./setup-and-run.sh --logs nginx
USAGE
}

main() {
    local action=up mode="" service=""
    while (($# > 0)); do
        case "$1" in
            --local | --docker) mode="${1#--}" ;;
            --status | --down) action="${1#--}" ;;
            --logs)
                action=logs service="${2-}"
                [[ -n "$service" ]] || misuse "--logs needs the name of a service"
                shift
                ;;
            --help | -h)
                usage
                return 0
                ;;
            *) misuse "unknown option: $1" ;;
        esac
        shift
    done
    "run_$(choose_mode "$mode")" "$action" "$service"
}

choose_mode() {
    echo "${1:-local}"
}

run_docker() {
    if [[ ! -f "$CHECKOUT/docker-compose.yml" ]]; then
        fail "Docker Compose comes with the next release; use --local"
    fi
}

run_local() {
    local action="$1" service="$2"
    if [[ "$action" == up ]]; then
        install_dependencies
    elif [[ ! -x "$VENV/bin/python" ]]; then
        not_set_up "$action"
    fi
    export ROBIN_STATE_DIR="$STATE_DIR"
    cd -- "$CHECKOUT"
    if [[ "$action" == logs ]]; then
        exec "$VENV/bin/python" -m local_stack logs "$service"
    fi
    exec "$VENV/bin/python" -m local_stack "$action"
}

not_set_up() {
    echo "robin has not been set up in $STATE_DIR yet: run ./setup-and-run.sh" >&2
    case "$1" in
        down) exit 0 ;;
        status) exit 3 ;;
        *) exit 1 ;;
    esac
}

install_dependencies() {
    local stamp="$VENV/.installed" python wanted
    if [[ ! -x "$VENV/bin/python" ]] || ! "$VENV/bin/python" -c '' 2>/dev/null; then
        python="$(find_python)"
        echo "making the virtual environment with $("$python" --version)"
        make_environment "$python"
    fi
    wanted="$(requirements_digest)"
    if [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]]; then
        echo "installing the dependencies (pinned, with hashes)"
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
            --requirement "$REQUIREMENTS" || fail "the dependencies could not be installed; pip's message is above"
        echo "$wanted" >"$stamp"
    fi
}

# The environment is bound to its place and its Python: either of them another, and it is made anew.
requirements_digest() {
    { cat "$REQUIREMENTS"; "$VENV/bin/python" -c 'import sys; print(sys.version, sys.prefix)'; } | sha256sum | cut -d' ' -f1
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
    local python="$1"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        fail "$python cannot make virtual environments: install python3-venv (Debian, Ubuntu: apt install python3-venv)"
    fi
    mkdir -p -- "$STATE_DIR" || fail "cannot write $STATE_DIR: set ROBIN_STATE_DIR to another folder"
    rm -rf -- "$VENV"
    "$python" -m venv "$VENV" || fail "the virtual environment could not be made in $VENV"
}

misuse() {
    echo "error: $1" >&2
    usage >&2
    exit 2
}

fail() {
    echo "error: $1" >&2
    exit 1
}

main "$@"

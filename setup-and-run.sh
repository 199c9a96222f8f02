#!/usr/bin/env bash
# Sets robin up and runs it: makes the virtual environment, installs the pinned dependencies, starts every service.
# Running it again takes seconds, restarts what has changed, and keeps all data.
set -euo pipefail

CHECKOUT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
STATE_DIR="$(realpath -m -- "${ROBIN_STATE_DIR:-$CHECKOUT/.robin}")"
VENV="$STATE_DIR/venv"
REQUIREMENTS="$CHECKOUT/requirements/local-stack.txt"
# shellcheck source=local_stack/python-env.sh
source "$CHECKOUT/local_stack/python-env.sh"

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
        install_requirements "$VENV" "$REQUIREMENTS"
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

misuse() {
    echo "error: $1" >&2
    usage >&2
    exit 2
}

main "$@"

#!/usr/bin/env bash
# Sets robin up and runs it, with Docker where that can be had, else as processes of this machine.
# Running it again takes seconds, restarts what has changed, and keeps all data.
set -euo pipefail

CHECKOUT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
STATE_DIR="$(realpath -m -- "${ROBIN_STATE_DIR:-$CHECKOUT/.robin}")"
VENV="$STATE_DIR/venv"
# shellcheck source=local_stack/python-env.sh
source "$CHECKOUT/local_stack/python-env.sh"

usage() {
    cat <<'USAGE'
Usage: ./setup-and-run.sh [--local | --docker] [OPTION]

  (nothing)        run the whole system: with Docker where an engine answers and has or gets the images, else --local
  --local          run it as processes on this machine, without Docker
  --docker         run it with Docker Compose
  --tls            encrypt everything: HTTPS, telemetry, the database; TLS_DIR names the folder with your own certificate,
                   else a local authority is made
  --status         show every service and whether it is healthy (exit 0: all are, 1: not all, 3: not running)
  --down           stop everything; the data stays
  --restart ...    restart document_api and data_store, or those that are named, one instance after the other: no request is lost
  --logs SERVICE   show the last lines of a service
  --admin ...      administer clients, users and API keys of what runs; all that follows is for it (--admin --help says more)
  --backup FILE    write documents and database into one file while everything runs (-: stdout); docs/backup.md says more
  --restore FILE   bring such a file (-: stdin) back into a system that runs and is empty
  --help           show this

--status, --down, --restart, --logs, --admin, --backup and --restore act on whichever way runs; with --local or --docker on that one.
Ports and limits are environment variables; the README lists them. Examples:
  HTTP_PORT=8080 ./setup-and-run.sh
  ./setup-and-run.sh --logs nginx
  ./setup-and-run.sh --admin create-client acme
USAGE
}

main() {
    local action=up mode="" arguments=()
    while (($# > 0)); do
        case "$1" in
            --local | --docker) mode="${1#--}" ;;
            --tls) export TLS=true INTERNAL_TLS_DIR="${INTERNAL_TLS_DIR:-$STATE_DIR/tls}" ;;
            --status | --down) action="${1#--}" ;;
            --logs)
                [[ -n "${2-}" ]] || misuse "--logs needs the name of a service"
                action=logs arguments=("$2")
                shift
                ;;
            --restart)
                action=restart
                while [[ -n "${2-}" && "$2" != -* ]]; do
                    arguments+=("$2")
                    shift
                done
                ;;
            --backup | --restore)
                [[ -n "${2-}" ]] || misuse "$1 needs the name of a file"
                action="${1#--}" arguments=("$(from_here "$2")")
                shift
                ;;
            --admin)
                action=admin arguments=("${@:2}")
                break
                ;;
            --help | -h)
                usage
                return 0
                ;;
            *) misuse "unknown option: $1" ;;
        esac
        shift
    done
    export ROBIN_STATE_DIR="$STATE_DIR"
    cd -- "$CHECKOUT"
    local python
    python="$(any_python)"
    if [[ -z "$mode" ]]; then
        mode="$("$python" -m docker_stack choose "$action")"
    fi
    "run_$mode" "$action" "${arguments[@]}"
}

# The name of a file, for whoever is in another folder.
from_here() {
    if [[ "$1" == - ]]; then echo -; else realpath -m -- "$1"; fi
}

# docker_stack needs no package: any Python that is new enough will do, before anything is installed.
any_python() {
    if "$VENV/bin/python" -c '' 2>/dev/null; then
        echo "$VENV/bin/python"
    else
        find_python
    fi
}

run_docker() {
    if [[ "$1" == up ]]; then
        (install_requirements "$VENV" "$CHECKOUT/requirements/checks.txt") ||
            echo "warning: test_observability.py cannot run before these are installed; going on without it" >&2
        if [[ "${TLS:-}" == true ]]; then # what makes the certificates
            install_requirements "$VENV" "$CHECKOUT/requirements/local-stack.txt"
        fi
    fi
    local python
    python="$(any_python)"
    exec "$python" -m docker_stack "$@"
}

run_local() {
    if [[ "$1" == up ]]; then
        install_requirements "$VENV" "$CHECKOUT/requirements/local-stack.txt"
    elif [[ ! -e "$VENV/.installed-local-stack" ]]; then
        not_set_up "$1"
    fi
    exec "$VENV/bin/python" -m local_stack "$@"
}

not_set_up() {
    echo "robin does not run, and has not been set up as local processes in $STATE_DIR: run ./setup-and-run.sh" >&2
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

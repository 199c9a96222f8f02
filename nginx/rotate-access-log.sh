#!/bin/sh
# Bounds the access log in Docker: the image's entrypoint starts this, and it goes on in the background beside nginx.
# A full file is renamed, over the one before, and nginx opens a new one: at most two files, and the collector reads both.
set -eu

watch_size() {
    while sleep "${NGINX_ACCESS_LOG_CHECK_SECONDS:-5}"; do
        if [ "$(stat -c %s "$NGINX_ACCESS_LOG" 2>/dev/null || echo 0)" -ge "$NGINX_ACCESS_LOG_MAX_BYTES" ]; then
            mv "$NGINX_ACCESS_LOG" "${NGINX_ACCESS_LOG%.json}.1.json"
            kill -USR1 "$(cat "${NGINX_PID_FILE:-/tmp/nginx.pid}")"
        fi
    done
}

watch_size &

#!/bin/sh
# Runs before everything else in Docker. With ENVIRONMENT=production it refuses what is only good for a demonstration, and to
# go unencrypted: nothing that holds a secret starts then. It gives new volumes to their users: Docker leaves them to root where
# an image lacks the folder.
set -eu

refuse() {
    echo "$1 with ENVIRONMENT=production${2:+: $2}" >&2
    exit 2
}

if [ "$ENVIRONMENT" = production ]; then
    by_tls="docker-compose.tls.yml sets it, as ./setup-and-run.sh --docker --tls does"
    [ "${AUTH_MODE:-}" = required ] || refuse "AUTH_MODE: must be 'required'"
    case "${PUBLIC_TLS:-}" in
        "" | false) refuse "PUBLIC_TLS: must be true" "$by_tls" ;; # what else is not true, document-api refuses
    esac
    case "${OTEL_EXPORTER_OTLP_ENDPOINT:-}" in
        http://*) refuse "OTEL_EXPORTER_OTLP_ENDPOINT: must be https:// to another host" "$by_tls" ;;
    esac
fi

for name in POSTGRES_PASSWORD DATABASE_SERVICE_PASSWORD SERVICE_TOKEN API_KEY_PEPPER GRAFANA_ADMIN_PASSWORD; do
    value=""
    eval "value=\${$name:-}"
    case "$ENVIRONMENT:$value" in
        production:*demo-only*) refuse "$name: must not be the demonstration's" ;;
    esac
done

chown 101:101 /volumes/edge-logs
chown 10001:10001 /volumes/otel-collector /volumes/loki

#!/bin/sh
# Runs before everything else in Docker. With ENVIRONMENT=production it refuses secrets that everybody knows: nothing that
# holds one starts then. It gives new volumes to their users: Docker leaves them to root where an image lacks the folder.
set -eu

for name in POSTGRES_PASSWORD DATABASE_SERVICE_PASSWORD SERVICE_TOKEN API_KEY_PEPPER GRAFANA_ADMIN_PASSWORD; do
    value=""
    eval "value=\${$name:-}"
    case "$ENVIRONMENT:$value" in
        production:*demo-only*)
            echo "$name: must not be the demonstration's with ENVIRONMENT=production" >&2
            exit 2
            ;;
    esac
done

chown 101:101 /volumes/edge-logs
chown 10001:10001 /volumes/otel-collector /volumes/loki

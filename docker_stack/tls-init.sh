#!/bin/sh
# With docker-compose.tls.yml: gives each container a certificate, its key and the authority in a volume of its own, which
# nobody else can read. /certificates/internal is made by `python -m local_stack.certificates`, /certificates/edge is for nginx.
set -eu

# lay NAME OWNER FOLDER: removes what was there first, so that a certificate that was renewed takes its place.
lay() {
    place="/volumes/tls/$1"
    rm -f "$place/ca.pem" "$place/fullchain.pem" "$place/privkey.pem"
    cp /certificates/internal/ca.pem "$3/fullchain.pem" "$3/privkey.pem" "$place/"
    chmod 0400 "$place/ca.pem" "$place/fullchain.pem" "$place/privkey.pem"
    chown "$2" "$place" "$place/ca.pem" "$place/fullchain.pem" "$place/privkey.pem"
}

lay nginx 101:101 /certificates/edge
lay document-api 10000:10000 /certificates/internal/document-api
lay data-store 10000:10000 /certificates/internal/data-store
lay postgres 999:999 /certificates/internal/postgres
lay otel-collector 10001:10001 /certificates/internal/otel-collector

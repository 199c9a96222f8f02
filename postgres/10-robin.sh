#!/bin/sh
# The roles and the database, at the first start of a new volume. Run again, it makes what an older volume lacks and sets
# both passwords: docker compose exec postgres /docker-entrypoint-initdb.d/10-robin.sh
#   robin           owns the tables: migrations and the admin command line
#   robin_service   owns nothing: data_store; what it may do, migrations grant
# The superuser is left without a password, so that only the container's own socket lets it in:
# docker compose exec postgres psql -U postgres
set -eu

psql --username postgres --dbname postgres --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --set password="$POSTGRES_PASSWORD" --set service_password="$DATABASE_SERVICE_PASSWORD" <<'SQL'
SET log_min_duration_statement = -1;
SET log_min_error_statement = panic;
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY['robin', 'robin_service']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE robin LOGIN PASSWORD :'password';
ALTER ROLE robin_service LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD :'service_password';
SELECT 'CREATE DATABASE robin OWNER robin'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'robin') \gexec
ALTER ROLE postgres PASSWORD NULL;
\connect robin
REVOKE EXECUTE ON FUNCTION lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea) FROM PUBLIC;
SQL

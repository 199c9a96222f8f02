#!/bin/sh
# The first start of a new volume: a role and a database for data_store. The superuser is left without a password,
# so that only the container's own socket lets it in: docker compose exec postgres psql -U postgres
set -eu

psql --username postgres --no-psqlrc --set ON_ERROR_STOP=1 --set password="$POSTGRES_PASSWORD" <<'SQL'
SET log_min_duration_statement = -1;
CREATE ROLE robin LOGIN PASSWORD :'password';
CREATE DATABASE robin OWNER robin;
ALTER ROLE postgres PASSWORD NULL;
SQL

#!/bin/sh
# Runs once, on an empty data directory: one login per duty, none of them a superuser.
set -eu
: "${TILLKEEPER_OWNER_PASSWORD:?}" "${TILLKEEPER_APP_PASSWORD:?}" "${TEMPORAL_DB_PASSWORD:?}"

psql -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -d postgres \
    -v owner="$TILLKEEPER_OWNER_PASSWORD" -v app="$TILLKEEPER_APP_PASSWORD" \
    -v temporal="$TEMPORAL_DB_PASSWORD" <<'SQL'
CREATE ROLE tillkeeper_writer NOLOGIN;
CREATE ROLE tillkeeper_reader NOLOGIN;
CREATE ROLE tillkeeper_owner LOGIN PASSWORD :'owner';
CREATE ROLE tillkeeper LOGIN PASSWORD :'app' IN ROLE tillkeeper_writer;
CREATE ROLE temporal LOGIN PASSWORD :'temporal';
CREATE DATABASE tillkeeper OWNER tillkeeper_owner;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
REVOKE CONNECT ON DATABASE tillkeeper FROM PUBLIC;
GRANT CONNECT ON DATABASE tillkeeper TO tillkeeper;
REVOKE CONNECT ON DATABASE temporal, temporal_visibility FROM PUBLIC;
SQL

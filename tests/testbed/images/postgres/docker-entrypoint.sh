#!/bin/sh
# Creates the database on the first start, from POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB.
set -eu
case ${1:-} in -*) set -- postgres "$@" ;; esac
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?must be set}"
  user=${POSTGRES_USER:-postgres}
  umask 077
  password=$(mktemp)
  printf %s "$POSTGRES_PASSWORD" > "$password"
  initdb --username="$user" --pwfile="$password" --auth=scram-sha-256 --encoding=UTF8 --no-sync
  rm -f "$password"
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  if [ "${POSTGRES_DB:-$user}" != postgres ]; then
    printf 'CREATE DATABASE "%s";\n' "${POSTGRES_DB:-$user}" | postgres --single -D "$PGDATA" -j postgres
  fi
fi
exec "$@"

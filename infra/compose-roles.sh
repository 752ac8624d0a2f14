#!/bin/bash
# Runs in the PostgreSQL container of infra/compose.yaml, once, when its data is made.
# The passwords go in by standard input: arguments are everybody's to read.
set -euo pipefail
{
  printf "\\\\set owner_password '%s'\n" "$POSTGRES_OWNER_PASSWORD"
  printf "\\\\set control_password '%s'\n" "$POSTGRES_CONTROL_PASSWORD"
  cat /roles.sql
} | psql --quiet --no-psqlrc --tuples-only --username="$POSTGRES_USER" postgres

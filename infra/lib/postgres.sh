# shellcheck shell=bash

# Debian keeps the server's programs out of PATH, in a directory for each major version.
postgres_programs() {
  local newest
  newest=$(find /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -V | tail -n 1)
  newest=${newest:-$(readlink -f "$(command -v postgres)" 2>/dev/null)}
  [[ -n $newest ]] && dirname "$newest"
}

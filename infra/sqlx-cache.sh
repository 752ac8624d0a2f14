#!/usr/bin/env bash
# Keeps .sqlx/, the descriptions of our SQL by which a build checks it without a database.
#
#   infra/sqlx-cache.sh check   fails when a file is missing, stale or superfluous, or a lint is
#                               not kept: one compilation does for both
#   infra/sqlx-cache.sh write   writes them anew
#
# sqlx's macros, built with SQLX_OFFLINE=false, ask the database of DATABASE_URL and put
# what they learn into the directory of SQLX_OFFLINE_DIR. So we build against a fresh
# database that has exactly our migrations, into an empty directory, and compare: what
# `cargo sqlx prepare` does, without having to install it.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh
source infra/lib/test-stack.sh

readonly CACHE=.sqlx
readonly STAMP=target/sqlx-cache.stamp
readonly DATABASE=turnpike_sqlx_$$

main() {
  case ${1:-} in
    check) check ;;
    write) write ;;
    *) fail 'usage: infra/sqlx-cache.sh check|write' ;;
  esac
}

check() {
  mapfile -t sources < <(sources_with_queries)
  if [[ $(cat $STAMP 2>/dev/null) == "$(stamp)" ]]; then
    say 'Neither SQL nor schema has changed since it was found current.'
    return 0
  fi
  # Word for word what the lints' own step says, which then finds its work done.
  describe clippy -- -D warnings
  compare || fail 'the sqlx cache is not current: run make sqlx and commit .sqlx'
  stamp >$STAMP
}

write() {
  mapfile -t sources < <(sources_with_queries)
  describe clippy
  mkdir -p $CACHE
  rm -f $CACHE/query-*.json
  find "$fresh" -name 'query-*.json' -exec cp {} $CACHE/ \;
  say "$(find $CACHE -name 'query-*.json' | wc -l) queries described in $CACHE/"
}

sources_with_queries() {
  grep -rlE 'query(_as|_scalar|_file|_file_as|_file_scalar)?(_unchecked)?!' --include='*.rs' \
    control-plane data-plane shared tests
}

# All that the descriptions depend on, in one word.
stamp() {
  sha256sum Cargo.lock migrations/*.sql $CACHE/*.json ${sources[@]+"${sources[@]}"} 2>/dev/null | sha256sum
}

# Sets `fresh` to a directory with the description of each query.
describe() { # SUBCOMMAND [-- ARGUMENTS]
  local subcommand=$1
  shift
  mkdir -p target
  fresh=$(mktemp -d "$PWD/target/sqlx-cache.XXXXXX")
  trap 'clean_up' EXIT
  ((${#sources[@]})) || return 0
  use_test_stack
  make_database || fail 'the migrations do not apply to an empty database as turnpike_owner'
  # Cargo does not know that a macro reads these variables, and would find nothing to do.
  touch "${sources[@]}"
  SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$fresh DATABASE_URL=${DATABASE_URL%/*}/$DATABASE \
    cargo "$subcommand" --quiet --workspace --all-targets --locked "$@" ||
    fail 'does not compile against the schema of migrations/, or does not keep the lints'
}

# As the role that migrates in production, which is no superuser.
make_database() {
  local migration
  {
    echo "CREATE DATABASE $DATABASE OWNER turnpike_owner;"
    echo "\\connect $DATABASE"
    echo 'SET SESSION AUTHORIZATION turnpike_owner;'
    for migration in migrations/*.sql; do
      printf 'BEGIN;\n\\i %s\nCOMMIT;\n' "$migration"
    done
  } | infra/stack.sh psql $TEST_STACK --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --output=/dev/null postgres
}

compare() {
  local name state=0
  for name in $(list "$fresh"); do
    if [[ ! -e $CACHE/$name ]]; then
      tell missing "$fresh/$name"
    elif ! cmp --silent "$fresh/$name" "$CACHE/$name"; then
      tell stale "$fresh/$name"
    fi || state=1
  done
  for name in $(list $CACHE); do
    [[ -e $fresh/$name ]] || tell superfluous "$CACHE/$name" || state=1
  done
  return $state
}

list() { # DIRECTORY
  find "$1" -name 'query-*.json' -printf '%f\n' 2>/dev/null
}

# Fails, so that the caller remembers.
tell() { # STATE FILE
  local query
  query=$(sed -n 's/^  "query": "\(.*\)",$/\1/p' "$2" | sed 's/\\n/ /g; s/  */ /g')
  say "$1: $(basename "$2") ${query:0:70}"
  return 1
}

clean_up() {
  rm -rf "$fresh"
  echo "DROP DATABASE IF EXISTS $DATABASE WITH (FORCE);" |
    infra/stack.sh psql $TEST_STACK --quiet --no-psqlrc postgres 2>/dev/null
  leave_test_stack
}

main "$@"

#!/usr/bin/env bash
# Measures what the gateway costs, beside nginx and beside no proxy at all.
#
#   infra/bench.sh
#
# Starts the whole product on the provider simulator, with a PostgreSQL, a Redis, ports and
# data of its own in .run/bench, and nginx as a plain reverse proxy before the same
# simulator; tests/bench measures the three in turn. Figures: target/bench/bench.md and
# bench.json. Begins anew each time: nothing of an earlier run is in its way. Takes
# twenty minutes, and 11 GB of the disk. Settings, from the environment:
#
#   SECS              how long each run lasts (10)
#   REPEATS           how many runs a figure is the median of (3)
#   ONLY              measures these alone, with commas between: idle, latency, long, refusals,
#                     limits, budgets, overload, streams, mixed, starts, memory, bodies,
#                     growth, alone
#   GROWTH            full: growth is followed to 1,000,000 keys and 10,000 streams
#   TURNPIKE_BIN_DIR  measure the programs found there, build nothing: target/ship/bin, say
#   OUT               where figures go (target/bench)
#
# A figure that misses its target is told and is no failure; a run that fails is one.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh
source infra/lib/processes.sh
source infra/lib/ports.sh

readonly OUT=${OUT:-target/bench}
export TURNPIKE_RUN=.run/bench

main() {
  infra/install.sh services bench || exit 1
  mkdir -p "$OUT" $TURNPIKE_RUN/nginx
  nginx_pid=
  trap 'leave' EXIT
  trap 'exit 130' INT TERM HUP
  # Thousands of connections at once, on both sides of each proxy.
  ulimit -n "$(ulimit -Hn)"
  infra/run.sh reset
  start_turnpike
  start_nginx
  measure
}

# As in production, but for three: each proxy gets as many threads as nginx has workers, the
# simulator keeps no calls, so that it costs as little as it can, and the journal has room for
# what the books fall behind in minutes of more calls than they take in.
start_turnpike() {
  # Somebody else's PostgreSQL and Redis are not for measuring on.
  unset TURNPIKE_{,OWNER_,ADMIN_}DATABASE_URL TURNPIKE_REDIS_URL
  DETACH=1 TURNPIKE_WORKERS=2 TURNPIKE_LOG_FORMAT=json \
    TURNPIKE_SIMULATOR_WORKERS=2 TURNPIKE_SIMULATOR_NO_RECORD=1 TURNPIKE_INVOICE_PRINTER='' \
    TURNPIKE_JOURNAL_BYTES=$((8 << 30)) infra/run.sh up >/dev/null || exit 1
  # shellcheck source=/dev/null
  source $TURNPIKE_RUN/demo.env
}

start_nginx() {
  local here=$TURNPIKE_RUN/nginx
  nginx_port=$(choose_port $TURNPIKE_RUN/ports.env nginx 7404)
  sed "s/@port@/$nginx_port/; s/@simulator@/${TURNPIKE_SIMULATOR_URL#http://}/" tests/bench/nginx.conf >"$here/nginx.conf"
  # Debian has it where a user's PATH does not look.
  PATH=$PATH:/usr/sbin nginx -p "$here" -c nginx.conf -e error.log </dev/null &
  nginx_pid=$!
  eventually 10 listens "$nginx_port" || fail "nginx did not start; its log: $here/error.log"
}

# Secrets go in by the environment: arguments are everybody's to read.
measure() (
  # shellcheck source=/dev/null
  source $TURNPIKE_RUN/secrets.env
  export TURNPIKE_CREDENTIAL_KEY TURNPIKE_SNAPSHOT_PUBLIC_KEYS \
    TURNPIKE_{,ADMIN_}DATABASE_URL TURNPIKE_REDIS_URL TURNPIKE_OWNER_EMAIL
  "$(programs)/bench" \
    --simulator "${TURNPIKE_SIMULATOR_URL#http://}" --simulator-pid "$TURNPIKE_SIMULATOR_PID" \
    --nginx "127.0.0.1:$nginx_port" --nginx-pid "$nginx_pid" \
    --ours "${TURNPIKE_DATA_URL#http://}" --ours-pid "$TURNPIKE_DATA_PID" \
    --redis-pid "$TURNPIKE_REDIS_PID" --control-pid "$TURNPIKE_CONTROL_PID" \
    --seconds "${SECS:-10}" --repeats "${REPEATS:-3}" --growth "${GROWTH:-usual}" \
    ${ONLY:+--only "$ONLY"} \
    --commit "$(commit)" --script tests/bench/calls.lua --out "$OUT" || fail 'a run failed'
  say "The figures are in $OUT/bench.md and $OUT/bench.json."
)

programs() { realpath -m "${TURNPIKE_BIN_DIR:-${CARGO_TARGET_DIR:-target}/release}"; }

commit() {
  git describe --always --dirty 2>/dev/null || echo 'an unknown commit'
}

leave() {
  [[ -z $nginx_pid ]] || end_process "$nginx_pid" 5 QUIT
  infra/run.sh stop
}

main "$@"

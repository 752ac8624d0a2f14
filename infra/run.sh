#!/usr/bin/env bash
# The whole product on this machine, for trying it and for developing it.
#
#   infra/run.sh build    builds what it needs
#   infra/run.sh up       builds, starts all of it and stays attached until Ctrl-C, which
#                         leaves nothing running; with DETACH=1 returns once all is healthy
#   infra/run.sh stop     stops all of it, keeps the data
#   infra/run.sh reset    stops all of it, drops the data and the demo's secrets
#   infra/run.sh status   lists what runs
#
# All it makes is in .run/: data/, logs/, secrets.env, and demo.env with everything a
# script needs to use what runs. Settings, from the environment:
#
#   TURNPIKE_DATABASE_URL, TURNPIKE_REDIS_URL  use these, not a private PostgreSQL and Redis
#   TURNPIKE_OWNER_DATABASE_URL                who migrates, where that is another login
#   TURNPIKE_BIN_DIR                           run the programs found there, build nothing
#   TURNPIKE_RUN                               another directory than .run, for a stack beside it
#   TURNPIKE_INVOICE_PRINTER                   makes PDFs of invoices; empty for none. Else ours is
#                                              built in the background, and used when it is there
#   OPENAI_API_KEY, ANTHROPIC_API_KEY, ...     the demo organization gets these providers too
#   TURNPIKE_STRIPE_SECRET_KEY, TURNPIKE_STRIPE_WEBHOOK_SECRETS   a test account of Stripe's own,
#                                              not the stand-in that the demo pays with
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh
source infra/lib/processes.sh
source infra/lib/ports.sh

readonly RUN=${TURNPIKE_RUN:-.run}
readonly SERVICES=(simulator stripe control data-1 data-2)

main() {
  mkdir -p $RUN/logs $RUN/pids || fail "cannot write to $RUN"
  programs=$(realpath -m "${TURNPIKE_BIN_DIR:-${CARGO_TARGET_DIR:-target}/release}")
  case ${1:-} in
    build) build ;;
    up) up ;;
    stop) lock && stop_all ;;
    reset) lock && reset ;;
    status) status ;;
    *) fail 'usage: infra/run.sh build|up|stop|reset|status' ;;
  esac
}

up() {
  infra/install.sh services && build || exit 1
  lock
  if all_run; then
    say 'It runs already.'
  else
    start_all
  fi
  summary
  [[ -n ${DETACH:-} ]] || attend
}

build() {
  [[ -z ${TURNPIKE_BIN_DIR:-} ]] || return 0
  say 'Building, which takes some minutes the first time.'
  local quiet=--quiet
  [[ ! -t 2 ]] || quiet=
  # shellcheck disable=SC2086  # empty means no argument
  cargo build --release --locked $quiet --bins -p control-plane -p data-plane -p tests
}

# A typesetter compiles for many minutes, and nothing waits for it.
build_printer() {
  [[ -z ${TURNPIKE_BIN_DIR:-} && -z ${TURNPIKE_INVOICE_PRINTER+set} ]] || return 0
  setsid nice -n 10 infra/invoice-pdf.sh release </dev/null >$RUN/logs/printer.log 2>&1 8>&- &
  echo $! >$RUN/pids/printer
  [[ -x invoice-pdf/target/release/invoice-pdf ]] ||
    say "PDFs of invoices are there in some minutes: their printer is being built ($RUN/logs/printer.log)."
}

# With the compilers that it started, which are in a session with it.
stop_building_printer() {
  local pid
  pid=$(pid_of printer)
  rm -f $RUN/pids/printer
  [[ -z $pid || $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") != *infra/invoice-pdf.sh* ]] ||
    kill -s TERM -- "-$pid" 2>/dev/null
}

# ---- Starting -------------------------------------------------------------------

start_all() {
  local began=$EPOCHREALTIME
  trap 'interrupted' INT TERM HUP
  # Something may be left of a run that died, or run an older build.
  stop_services
  choose_ports
  start_stack
  step 'draw the secrets' draw_secrets
  # shellcheck source=/dev/null
  source $RUN/secrets.env
  step 'migrate the database' migrate
  step 'set up the demo organization' demo
  start_simulator
  start_stripe
  start_control_plane
  start_data_plane data-1 "$data_port" "$data_metrics_port"
  start_data_plane data-2 "$data_2_port" "$data_2_metrics_port"
  await_services
  write_demo_env
  build_printer
  say "Ready in $(seconds_since "$began") s."
}

choose_ports() {
  local ports=$RUN/ports.env
  control_port=$(choose_port $ports control 7400)
  data_port=$(choose_port $ports data-1 7401)
  data_2_port=$(choose_port $ports data-2 7402)
  simulator_port=$(choose_port $ports simulator 7403)
  stripe_port=$(choose_port $ports stripe 7404)
  control_metrics_port=$(choose_port $ports control-metrics 7410)
  data_metrics_port=$(choose_port $ports data-1-metrics 7411)
  data_2_metrics_port=$(choose_port $ports data-2-metrics 7412)
}

# Sets database_url, owner_url, admin_url and redis_url: the caller's own where given,
# else those of the private stack. They stay unexported, so that each process gets the
# ones that it is handed, and no other.
start_stack() {
  forget_our_own TURNPIKE_DATABASE_URL TURNPIKE_OWNER_DATABASE_URL TURNPIKE_ADMIN_DATABASE_URL TURNPIKE_REDIS_URL
  database_url=${TURNPIKE_DATABASE_URL:-}
  owner_url=${TURNPIKE_OWNER_DATABASE_URL:-$database_url}
  admin_url=${TURNPIKE_ADMIN_DATABASE_URL:-}
  redis_url=${TURNPIKE_REDIS_URL:-}
  unset TURNPIKE_{,OWNER_,ADMIN_}DATABASE_URL TURNPIKE_REDIS_URL TURNPIKE_{POSTGRES,REDIS}_PID
  [[ -z $database_url || -z $redis_url ]] || return 0

  infra/stack.sh start $RUN 8>&- || fail_and_stop 'the private PostgreSQL and Redis did not start'
  # shellcheck source=/dev/null
  source $RUN/stack.env
  if [[ -z $database_url ]]; then
    database_url=$TURNPIKE_DATABASE_URL
    owner_url=$TURNPIKE_OWNER_DATABASE_URL
    admin_url=$TURNPIKE_ADMIN_DATABASE_URL
  fi
  redis_url=${redis_url:-$TURNPIKE_REDIS_URL}
}

# A shell that has sourced our demo.env means our stack by these, not somebody else's.
forget_our_own() { # NAME...
  local name
  for name; do
    if grep -qxF "$name=${!name:-}" $RUN/stack.env 2>/dev/null; then unset "$name"; fi
  done
}

# Leaves those that are there: what is sealed in the database needs the same ones.
draw_secrets() (
  umask 077
  "$programs/turnpike" secrets $RUN/secrets.env || return
  # What the stand-in for Stripe signs with.
  grep -q '^FAKE_STRIPE_SECRET=' $RUN/secrets.env ||
    echo "FAKE_STRIPE_SECRET=whsec_$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >>$RUN/secrets.env
)

migrate() {
  TURNPIKE_OWNER_DATABASE_URL=$owner_url "$programs/turnpike" migrate
}

# Each of these is a subshell, so that a process gets the settings that it is handed and
# no other's. They are in the environment because arguments are everybody's to read.

demo() (
  export_control_plane_settings
  export_secrets
  export TURNPIKE_SIMULATOR_URL=http://127.0.0.1:$simulator_port
  "$programs/turnpike" demo
)

start_simulator() (
  export TURNPIKE_SIMULATOR_LISTEN=127.0.0.1:$simulator_port
  launch simulator provider-simulator
)

# What it keeps goes with the database, which names what is in it.
start_stripe() (
  export FAKE_STRIPE_LISTEN=127.0.0.1:$stripe_port FAKE_STRIPE_SECRETS=$FAKE_STRIPE_SECRET \
    FAKE_STRIPE_WEBHOOKS=http://127.0.0.1:$control_port/stripe/webhooks FAKE_STRIPE_FILE=$PWD/$RUN/stripe.json
  launch stripe fake-stripe
)

start_control_plane() (
  export_control_plane_settings
  export_printer
  if [[ -z ${TURNPIKE_STRIPE_SECRET_KEY:-} ]]; then
    export TURNPIKE_STRIPE_SECRET_KEY=sk_test_of_the_demo TURNPIKE_STRIPE_WEBHOOK_SECRETS=$FAKE_STRIPE_SECRET \
      TURNPIKE_STRIPE_URL=http://127.0.0.1:$stripe_port
  fi
  launch control control-plane
)

# Beside the other programs, or where it is built.
export_printer() {
  if [[ ${TURNPIKE_INVOICE_PRINTER+set} ]]; then
    [[ $TURNPIKE_INVOICE_PRINTER ]] || unset TURNPIKE_INVOICE_PRINTER
  elif [[ ! -x $programs/invoice-pdf ]]; then
    export TURNPIKE_INVOICE_PRINTER=$PWD/invoice-pdf/target/release/invoice-pdf
  fi
}

start_data_plane() ( # NAME PORT METRICS-PORT
  export_floor "$2" "$3"
  export TURNPIKE_REDIS_URL=$redis_url TURNPIKE_CREDENTIAL_KEY TURNPIKE_SNAPSHOT_PUBLIC_KEYS \
    TURNPIKE_PROXY_NAME=$1 TURNPIKE_STATE_DIR=$PWD/$RUN/proxies/$1 \
    TURNPIKE_DASHBOARD_URL=http://127.0.0.1:$control_port \
    TURNPIKE_ALLOW_PRIVATE_UPSTREAMS=1 # the simulator is one
  launch "$1" data-plane
)

export_control_plane_settings() {
  export_floor "$control_port" "$control_metrics_port"
  export TURNPIKE_DATABASE_URL=$database_url TURNPIKE_REDIS_URL=$redis_url \
    TURNPIKE_PUBLIC_URL=http://127.0.0.1:$control_port TURNPIKE_DATA_URL=http://127.0.0.1:$data_port \
    TURNPIKE_MASTER_KEY TURNPIKE_CREDENTIAL_KEY TURNPIKE_SIGNING_KEY TURNPIKE_VERIFYING_KEY TURNPIKE_SNAPSHOT_KEY \
    TURNPIKE_AUDIT_CHECKPOINTS=$PWD/$RUN/audit-checkpoints TURNPIKE_DEV=1 \
    TURNPIKE_ALLOW_PRIVATE_UPSTREAMS=1 # models may run on the same machine
}

# Where each plane listens, and how it behaves before a person who waits for it to stop.
export_floor() { # PORT METRICS-PORT
  export TURNPIKE_LISTEN=127.0.0.1:$1 TURNPIKE_METRICS_LISTEN=127.0.0.1:$2 \
    TURNPIKE_LOG_FORMAT=${TURNPIKE_LOG_FORMAT:-pretty} TURNPIKE_DRAIN_SECONDS=${TURNPIKE_DRAIN_SECONDS:-5}
}

# In a session of its own, so that neither Ctrl-C nor the terminal's end reaches it:
# `stop_all` ends it, in its turn.
launch() { # SERVICE PROGRAM
  local log=$RUN/logs/$1.log
  [[ ! -e $log ]] || mv "$log" "$log.1"
  setsid "$programs/$2" </dev/null >"$log" 2>&1 8>&- &
  echo $! >"$RUN/pids/$1"
}

export_secrets() {
  local name
  while IFS='=' read -r name _; do
    [[ $name != TURNPIKE_* ]] || export "${name?}"
  done <$RUN/secrets.env
}

step() { # WHAT COMMAND...
  local what=$1 log=$RUN/logs/turnpike.log
  shift
  "$@" >>"$log" 2>&1 8>&- && return 0
  tail -n 10 "$log" >&2
  fail_and_stop "could not $what"
}

# ---- Waiting --------------------------------------------------------------------

await_services() {
  await simulator "http://127.0.0.1:$simulator_port"
  await stripe "http://127.0.0.1:$stripe_port"
  await control "http://127.0.0.1:$control_port"
  await data-1 "http://127.0.0.1:$data_port"
  await data-2 "http://127.0.0.1:$data_2_port"
  # Ready is not enough: what we print shall work the moment that it is printed.
  await_answer data-1 "$data_port"
  await_answer data-2 "$data_2_port"
}

await_answer() { # SERVICE PORT
  eventually 15 lets_through "$2" || fail_with_log "$1" 'does not let the demo key through'
}

# Until a proxy has the key it is refused, and until spending is counted no hard budget lets
# anybody through. What a call would cost says so, and leaves nothing in the request log; it counts
# in the key's limits, so it is not asked all the time. Whatever else is answered is what was made
# of the demo. The key goes in by standard input, since arguments are everybody's to read.
lets_through() { # PORT
  local told
  told=$(printf 'header = "Authorization: Bearer %s"\n' "$TURNPIKE_API_KEY" |
    curl --silent --write-out '%{http_code}' --max-time 5 --config - \
      --json '{"model":"sim-small","max_tokens":1,"messages":[{"role":"user","content":"Hello"}]}' \
      "http://127.0.0.1:$1/v1/quote")
  case $told in
    *000 | *401 | *503 | *'"is_counted":false'*) sleep 0.2 && false ;;
  esac
}

await() { # SERVICE URL
  local deadline=$((SECONDS + 30))
  until ready "$2"; do
    alive "$(pid_of "$1")" || fail_with_log "$1" 'ended as it started'
    ((SECONDS < deadline)) || fail_with_log "$1" 'is not ready after 30 s'
    sleep 0.05
  done
}

ready() { # URL
  curl --silent --fail --output /dev/null --max-time 2 "$1/readyz"
}

# All run, are healthy, and are of the programs as they are now.
all_run() {
  [[ -r $RUN/demo.env ]] || return 1
  local service
  for service in "${SERVICES[@]}"; do
    [[ $(readlink "/proc/$(pid_of "$service")/exe") == "$programs/$(program_of "$service")" ]] || return 1
  done
  (
    # shellcheck source=/dev/null disable=SC2153  # its names are all like these
    source $RUN/demo.env
    ready "$TURNPIKE_CONTROL_URL" && ready "$TURNPIKE_DATA_URL" &&
      ready "$TURNPIKE_DATA_URL_2" && ready "$TURNPIKE_SIMULATOR_URL" && ready "$FAKE_STRIPE_URL"
  )
}

# Stays until somebody asks us to stop, or one of them ends.
attend() {
  trap 'interrupted' INT TERM HUP
  unlock
  local -A watched
  local service
  for service in "${SERVICES[@]}"; do watched[$service]=$(pid_of "$service"); done
  # shellcheck source=/dev/null
  source $RUN/demo.env
  [[ -z $TURNPIKE_POSTGRES_PID ]] || watched[postgres]=$TURNPIKE_POSTGRES_PID
  [[ -z $TURNPIKE_REDIS_PID ]] || watched[redis]=$TURNPIKE_REDIS_PID

  local terminal=
  [[ ! -t 0 ]] || terminal=yes
  while sleep 0.3; do
    # A terminal that is closed signals `make`, which keeps that to itself.
    [[ -z $terminal || -t 0 ]] || interrupted
    for service in "${!watched[@]}"; do
      alive "${watched[$service]}" || ended "$service" "${watched[control]}"
    done
  done
}

# `make stop` forgets the pids before it ends the processes, which is how we tell it
# from an accident.
ended() { # SERVICE THE-CONTROL-PLANE'S-PID
  if [[ $(pid_of control) != "$2" ]]; then
    say 'Stopped from elsewhere.'
    exit 0
  fi
  lock
  fail_with_log "$1" 'ended'
}

interrupted() {
  trap '' INT TERM HUP
  say
  say 'Stopping.'
  lock
  stop_all
  exit 130
}

# ---- Stopping -------------------------------------------------------------------

stop_all() {
  stop_services
  infra/stack.sh stop $RUN 8>&-
}

stop_services() {
  stop_building_printer
  local service pid
  local -a pids=()
  for service in "${SERVICES[@]}"; do
    pid=$(pid_of "$service")
    rm -f "$RUN/pids/$service"
    ours "$pid" "$service" && pids+=("$pid")
  done
  rm -f $RUN/demo.env
  ((${#pids[@]} == 0)) || kill -s TERM "${pids[@]}" 2>/dev/null
  for pid in ${pids[@]+"${pids[@]}"}; do end_process "$pid" 10; done
}

reset() {
  forget_our_own TURNPIKE_DATABASE_URL
  stop_services
  infra/stack.sh wipe $RUN 8>&-
  rm -rf $RUN/{logs,pids,proxies,secrets.env,ports.env,stripe.json,audit-checkpoints}
  [[ -z ${TURNPIKE_DATABASE_URL:-} ]] || say 'The database of TURNPIKE_DATABASE_URL is left as it is.'
}

fail_and_stop() { # WORDS
  stop_all
  fail "$1"
}

fail_with_log() { # SERVICE WORDS
  tail -n 15 "$RUN/logs/$1.log" >&2
  fail_and_stop "$1 $2; all of its log: $RUN/logs/$1.log"
}

# ---- What runs ------------------------------------------------------------------

program_of() { # SERVICE
  case $1 in
    control) echo control-plane ;;
    data-*) echo data-plane ;;
    simulator) echo provider-simulator ;;
    stripe) echo fake-stripe ;;
  esac
}

pid_of() { cat "$RUN/pids/$1" 2>/dev/null; }

# A rebuilt program's old process shows as `path (deleted)`.
ours() { # PID SERVICE
  [[ -n $1 && $(readlink "/proc/$1/exe") == */"$(program_of "$2")"?( (deleted)) ]]
}

status() {
  local service
  for service in "${SERVICES[@]}"; do
    if ours "$(pid_of "$service")" "$service"; then
      printf '%-10s runs, pid %s\n' "$service" "$(pid_of "$service")"
    else
      printf '%-10s does not run\n' "$service"
    fi
  done
  if infra/stack.sh running $RUN; then
    echo 'stack      runs'
  else
    echo 'stack      does not run'
  fi
}

write_demo_env() {
  local role name
  (
    umask 077
    {
      echo "TURNPIKE_CONTROL_URL=http://127.0.0.1:$control_port"
      echo "TURNPIKE_DATA_URL=http://127.0.0.1:$data_port"
      echo "TURNPIKE_DATA_URL_2=http://127.0.0.1:$data_2_port"
      echo "TURNPIKE_SIMULATOR_URL=http://127.0.0.1:$simulator_port"
      echo "FAKE_STRIPE_URL=http://127.0.0.1:$stripe_port"
      echo "TURNPIKE_API_KEY=$TURNPIKE_API_KEY"
      for role in OWNER BILLING DEVELOPER OPERATOR; do
        for name in "TURNPIKE_${role}_EMAIL" "TURNPIKE_${role}_PASSWORD"; do
          echo "$name=${!name}"
        done
      done
      echo "TURNPIKE_DATABASE_URL=$database_url"
      echo "TURNPIKE_OWNER_DATABASE_URL=$owner_url"
      echo "TURNPIKE_ADMIN_DATABASE_URL=$admin_url"
      echo "TURNPIKE_REDIS_URL=$redis_url"
      echo "TURNPIKE_CONTROL_PID=$(pid_of control)"
      echo "TURNPIKE_DATA_PID=$(pid_of data-1)"
      echo "TURNPIKE_DATA_PID_2=$(pid_of data-2)"
      echo "TURNPIKE_SIMULATOR_PID=$(pid_of simulator)"
      echo "TURNPIKE_POSTGRES_PID=${TURNPIKE_POSTGRES_PID:-}"
      echo "TURNPIKE_REDIS_PID=${TURNPIKE_REDIS_PID:-}"
    } >$RUN/demo.env.new
  )
  mv $RUN/demo.env.new $RUN/demo.env
}

summary() {
  # shellcheck source=/dev/null
  source $RUN/demo.env
  local how_to_stop='make stop'
  [[ -n ${DETACH:-} ]] || how_to_stop='Ctrl-C'
  cat <<TEXT

  Dashboard   $TURNPIKE_CONTROL_URL
  Owner       $TURNPIKE_OWNER_EMAIL  $TURNPIKE_OWNER_PASSWORD
  Billing     $TURNPIKE_BILLING_EMAIL  $TURNPIKE_BILLING_PASSWORD
  Developer   $TURNPIKE_DEVELOPER_EMAIL  $TURNPIKE_DEVELOPER_PASSWORD
  Operator    $TURNPIKE_OPERATOR_EMAIL  $TURNPIKE_OPERATOR_PASSWORD

  curl $TURNPIKE_DATA_URL/v1/chat/completions -H 'Authorization: Bearer $TURNPIKE_API_KEY' -H 'Content-Type: application/json' -d '{"model":"auto","messages":[{"role":"user","content":"Hello"}]}'

  Logs $RUN/logs/ · the same as variables: $RUN/demo.env · stop: $how_to_stop (make reset drops the data)
TEXT
}

seconds_since() { # EPOCHREALTIME
  local tenths=$(((${EPOCHREALTIME/./} - ${1/./}) / 100000))
  echo "$((tenths / 10)).$((tenths % 10))"
}

# Two runs at once would start everything twice. Not held while attached, so that
# `make stop` need not wait.
lock() { exec 8>$RUN/run.lock && flock 8; }
unlock() { exec 8>&-; }

shopt -s extglob
main "$@"

#!/usr/bin/env bash
# Runs other people's client libraries, unmodified, against a running Turnpike.
#
#   infra/clients.sh            all of them
#   infra/clients.sh NAME...    those: the folders of tests/clients
#
# Starts the whole product on the provider simulator, with a PostgreSQL, a Redis, ports and
# data of its own in .run/clients. Each client's packages are pinned beside its tests and
# installed in target/clients/NAME. One whose packages are not there and cannot be fetched
# is skipped, and that is said last. Settings, from the environment:
#
#   TURNPIKE_BIN_DIR  run the programs found there, build nothing
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh
source infra/lib/npm.sh
source infra/lib/processes.sh

readonly CLIENTS=tests/clients
readonly INSTALLED=target/clients
export TURNPIKE_RUN=.run/clients

main() {
  local -a names=("$@")
  (($#)) || mapfile -t names < <(cd $CLIENTS && printf '%s\n' */ | tr -d / | grep -v '^__')
  infra/install.sh services clients || exit 1
  build
  trap 'infra/run.sh stop' EXIT
  trap 'exit 130' INT TERM HUP
  start_turnpike
  outcomes=()
  failed=0
  local name
  for name in "${names[@]}"; do try "$name"; done
  conclude
}

build() {
  [[ -z ${TURNPIKE_BIN_DIR:-} ]] || return 0
  say 'Building, which takes some minutes the first time.'
  cargo build --locked --quiet --bins -p control-plane -p data-plane -p tests || exit 1
  TURNPIKE_BIN_DIR=$(realpath "${CARGO_TARGET_DIR:-target}/debug")
}

start_turnpike() {
  unset TURNPIKE_{,OWNER_,ADMIN_}DATABASE_URL TURNPIKE_REDIS_URL
  export TURNPIKE_BIN_DIR
  DETACH=1 TURNPIKE_INVOICE_PRINTER='' infra/run.sh up >/dev/null || exit 1
  set -a
  # shellcheck source=/dev/null
  source $TURNPIKE_RUN/demo.env
  set +a
  TURNPIKE_LIMITED_KEY=$(/usr/bin/python3 $CLIENTS/limited_key.py) || fail 'no key with a limit could be made'
  export TURNPIKE_LIMITED_KEY
  eventually 30 is_served || fail 'the demo is not served'
}

# Where Redis was started anew, budgets are counted again before they let anybody through,
# and that is not what is tried here. The key goes in by a pipe: arguments are everybody's to read.
is_served() {
  local call='{"model":"auto","messages":[{"role":"user","content":"hello"}]}'
  printf 'header = "authorization: Bearer %s"\n' "$TURNPIKE_API_KEY" |
    curl --config - --silent --fail --output /dev/null --max-time 5 --noproxy '*' \
      --header 'content-type: application/json' --data "$call" "$TURNPIKE_DATA_URL/v1/chat/completions"
}

try() { # NAME
  local name=$1 outcome=ok
  printf '\n== %s\n' "$name"
  case $(kind_of "$name") in
    python) install_python "$name" && test_python "$name" ;;
    javascript) install_javascript "$name" && test_javascript "$name" ;;
    *) fail "no such client: $name" ;;
  esac
  case $? in
    0) ;;
    75) outcome=SKIPPED ;;
    *) outcome=FAILED failed=1 ;;
  esac
  outcomes+=("$(printf '%-8s %s' "$outcome" "$name")")
}

kind_of() { # NAME
  if [[ -e $CLIENTS/$1/requirements.txt ]]; then
    echo python
  elif [[ -e $CLIENTS/$1/package-lock.json ]]; then
    echo javascript
  fi
}

# ---- Python -------------------------------------------------------------------------

install_python() { # NAME
  local wanted=$CLIENTS/$1/requirements.txt here=$INSTALLED/$1
  cmp --quiet "$wanted" "$here/installed" && return 0
  rm -rf "$here" && mkdir -p "$here"
  /usr/bin/python3 -m venv "$here/venv" || return 1
  "$here/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$wanted" &&
    cp "$wanted" "$here/installed" && return 0
  out_of_reach https://pypi.org/simple/pip/ "$1"
}

test_python() { # NAME
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$CLIENTS NO_PROXY='*' LANGSMITH_TRACING=false \
    "$INSTALLED/$1/venv/bin/python" -W ignore -m unittest discover --verbose --start-directory "$CLIENTS/$1"
}

# ---- JavaScript ---------------------------------------------------------------------

# Node.js looks for packages beside the tests, so the tests are copied to the packages.
install_javascript() { # NAME
  local wanted=$CLIENTS/$1/package-lock.json here=$INSTALLED/$1
  mkdir -p "$here"
  cp "$CLIENTS/$1"/* $CLIENTS/stack.mjs "$here/" || return 1
  cmp --quiet "$wanted" "$here/installed" && return 0
  npm_packages "$here" && cp "$wanted" "$here/installed" && return 0
  out_of_reach https://registry.npmjs.org/npm "$1"
}

test_javascript() { # NAME
  (cd "$INSTALLED/$1" && AI_SDK_LOG_WARNINGS=false node --test --test-reporter=spec --test-concurrency=1)
}

# ---- Telling ------------------------------------------------------------------------

# What could not be installed is skipped if its registry is away, and wrong otherwise.
out_of_reach() { # URL NAME
  if curl --silent --fail --output /dev/null --max-time 15 "$1"; then return 1; fi
  say
  say "*** SKIPPED: $2. Its packages are not installed, and $1 cannot be reached. ***"
  return 75
}

conclude() {
  printf '\n== outcome\n'
  printf '%s\n' "${outcomes[@]}"
  [[ "${outcomes[*]}" != *SKIPPED* ]] || say '*** Not all clients were tried: see SKIPPED. ***'
  exit $failed
}

main "$@"

#!/usr/bin/env bash
# Calls proxies that share hard budgets while some of them die, connections break, settlements
# are said twice and a cap is lowered and raised: and says by how much a budget was overspent.
# Settings, from the environment:
#
#   CALLS             how many calls are made in each run (20000)
#   PROXIES           with how many proxies, one run after the other (1,2,4)
#   DRILLS            what befalls stores, proxies and clocks instead, in a run each, with the first
#                     of those numbers: names with commas between, or `all`
#   FROZEN_SECONDS    for how long PostgreSQL stands still in its drill (60)
#   TARGET            another gateway's address, which is called instead; it has to be set up
#                     with the provider simulator behind it. Then also:
#   KEY, MODEL        its key, and what it calls the simulator's sim-small
#   SIMULATOR         where that is
#   CAP_USD           the budget that it is told to hold, in dollars
#                     tests/overshoot/litellm.yaml says how this is done with LiteLLM
#   TURNPIKE_BIN_DIR  the programs found there, build nothing. The ingester's drill needs such as
#                     are built to be debugged
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh

if [[ -z ${TURNPIKE_BIN_DIR:-} ]]; then
  cargo build --quiet --locked --bins -p control-plane -p data-plane -p tests || exit 1
  TURNPIKE_BIN_DIR=$(realpath "${CARGO_TARGET_DIR:-target}/debug")
fi
export TURNPIKE_BIN_DIR E2E_REQUIRED=1
[[ -n ${TARGET:-} ]] || infra/install.sh services || exit 1

every_drill() {
  "$TURNPIKE_BIN_DIR/overshoot" --help | sed -n 's/^ *- \([a-z-]*\):.*/\1/p' | paste -sd,
}

if [[ ${DRILLS:-} == all ]]; then
  DRILLS=$(every_drill)
  export DRILLS
fi
if [[ ,${DRILLS:-}, == *,clocks-apart,* ]]; then
  # Whoever links Rust has it.
  CLOCK=$(mktemp --suffix=.so) && cc -shared -fPIC -O2 -o "$CLOCK" tests/overshoot/clock.c || exit 1
  export CLOCK
fi
# Many connections at once.
ulimit -n "$(ulimit -Hn)"
"$TURNPIKE_BIN_DIR/overshoot"
outcome=$?
rm -f "${CLOCK:-}"
exit $outcome

#!/usr/bin/env bash
# Calls proxies that share hard budgets while some of them die, connections break, settlements
# are said twice and a cap is lowered and raised: and says by how much a budget was overspent.
# Settings, from the environment:
#
#   CALLS             how many calls are made in each run (20000)
#   PROXIES           with how many proxies, one run after the other (1,2,4)
#   TARGET            another gateway's address, which is called instead; it has to be set up
#                     with the provider simulator behind it. Then also:
#   KEY, MODEL        its key, and what it calls the simulator's sim-small
#   SIMULATOR         where that is
#   CAP_USD           the budget that it is told to hold, in dollars
#   TURNPIKE_BIN_DIR  the programs found there, build nothing
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh

if [[ -z ${TURNPIKE_BIN_DIR:-} ]]; then
  cargo build --quiet --locked --bins -p control-plane -p data-plane -p tests || exit 1
  TURNPIKE_BIN_DIR=$(realpath "${CARGO_TARGET_DIR:-target}/debug")
fi
export TURNPIKE_BIN_DIR E2E_REQUIRED=1
[[ -n ${TARGET:-} ]] || infra/install.sh services || exit 1
# Many connections at once.
ulimit -n "$(ulimit -Hn)"
exec "$TURNPIKE_BIN_DIR/overshoot"

#!/usr/bin/env bash
# What 100,000 keys of 10,000 organizations weigh as a snapshot, how fast 2 and 50 proxies
# have a change, with hints and without, how they start from their disks alone, and how late
# a revoked key is still let in under load. Takes some minutes, and 7 GB of memory.
# Settings, from the environment:
#
#   ORGANIZATIONS     how many there are, with ten keys each (10000)
#   PROXIES           how many processes follow (50)
#   REVOCATIONS       how many keys are revoked (200)
#   TURNPIKE_BIN_DIR  measure the programs found there, build nothing
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh
source infra/lib/test-stack.sh

trap 'leave_test_stack' EXIT
infra/install.sh services || exit 1
use_test_stack
export DATABASE_URL TURNPIKE_TEST_REDIS_URL
[[ -n ${TURNPIKE_BIN_DIR:-} ]] ||
  cargo build --quiet --release --locked --bins -p control-plane -p data-plane -p tests || exit 1
# Many processes with many connections to one Redis.
ulimit -n "$(ulimit -Hn)"
"${TURNPIKE_BIN_DIR:-${CARGO_TARGET_DIR:-target}/release}/bench-snapshots"

#!/usr/bin/env bash
# What 100,000 keys of 10,000 organizations weigh as a snapshot, how fast two proxies have
# a change, and how they start from their disks alone. Takes some minutes.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh
source infra/lib/test-stack.sh

trap 'leave_test_stack' EXIT
infra/install.sh services || exit 1
use_test_stack
export DATABASE_URL TURNPIKE_TEST_REDIS_URL
cargo build --quiet --release --locked --bins -p data-plane -p tests || exit 1
"${CARGO_TARGET_DIR:-target}/release/bench-snapshots"

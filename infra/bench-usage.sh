#!/usr/bin/env bash
# How fast settled events reach PostgreSQL, and how long the usage page takes to be answered
# with EVENTS events (10,000,000 unless said otherwise: some 6 GB and a quarter of an hour).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh
source infra/lib/test-stack.sh

trap 'leave_test_stack' EXIT
infra/install.sh services || exit 1
use_test_stack
export DATABASE_URL TURNPIKE_TEST_REDIS_URL EVENTS=${EVENTS:-10000000}
for measurement in how_fast_events_reach_the_database questions_are_answered_from_what_is_summed_up; do
  cargo test ${PROFILE:+--profile "$PROFILE"} --locked -p control-plane --lib -- \
    --ignored --nocapture "$measurement" || exit 1
done

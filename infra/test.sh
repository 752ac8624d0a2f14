#!/usr/bin/env bash
# Checks and tests, one after the other, each with a headline and its time.
#
#   infra/test.sh all      everything that CI runs
#   infra/test.sh check    what a change since the last check concerns
#   infra/test.sh browser  the browser tests alone
#
# A failing step does not keep the later ones from running: one look shows all that is
# wrong. The last lines repeat each step's outcome and what the test runners counted.
# Logs are in target/test-logs/.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh
source infra/lib/npm.sh
source infra/lib/test-stack.sh
source infra/lib/changes.sh

readonly LOGS=target/test-logs
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

main() {
  mkdir -p $LOGS
  rm -f $LOGS/*.log
  outcomes=()
  failed=0
  trap 'leave_test_stack' EXIT
  trap 'exit 130' INT TERM HUP
  case ${1:-} in
    all) all ;;
    check) check ;;
    browser) browser ;;
    *) fail 'usage: infra/test.sh all|check|browser' ;;
  esac
  conclude
}

all() {
  step 'what the machine needs' infra/install.sh services browser tools
  prepare
  step 'format' format
  step 'rules for pages and SQL' infra/gates.sh
  step 'scripts and images' lint_infra
  step 'dependencies' dependencies
  step 'sqlx cache' infra/sqlx-cache.sh check
  step 'lints' cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
  # The drills start them, as the browser tests do, and are not to be skipped.
  step 'programs' programs
  step 'printer of invoices' infra/invoice-pdf.sh dev
  step 'printer tests' printer_tests
  step 'Rust tests' with_programs rust_tests --workspace
  step 'training tests' training
  step 'tests on a Redis Cluster' on_a_cluster
  step 'hard budgets' with_programs infra/overshoot.sh
  step 'documentation tests' cargo test --quiet --workspace --doc --locked
  step 'fuzzing' fuzzing
  step 'client libraries' with_programs infra/clients.sh
  browser_tests
}

# What the changes since the last passing check concern; the first checks everything but
# what runs whole processes and browsers. A query that the sqlx cache does not know fails
# the lints, so only another schema makes it worth asking a database.
check() {
  local files line began
  mkdir -p target
  began=$(mktemp target/checked.XXXXXX)
  files=$(changed_files)
  step 'what the machine needs' infra/install.sh services
  prepare
  step 'format' format
  step 'rules for pages and SQL' infra/gates.sh
  ! grep -q '^migrations/' <<<"$files" || step 'sqlx cache' infra/sqlx-cache.sh check
  step 'lints' cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
  while read -ra line; do
    step "${line[0]} tests" rust_tests --package "${line[0]}" --lib -- "${line[@]:1}"
  done < <(concerned <<<"$files")
  ! grep -q '^data-plane/' <<<"$files" || step 'road tests' rust_tests --package data-plane --test road
  if ((failed)); then rm -f "$began"; else mv "$began" $CHECKED; fi
}

browser() {
  step 'what the machine needs' infra/install.sh services browser
  prepare
  step 'programs' programs
  browser_tests
}

prepare() {
  PATH=$PWD/target/tools/bin:$PWD/target/tools/python/bin:$PATH
  use_test_stack
  # All that a test needs to know; the rest of stack.env is the product's configuration,
  # which each test makes for itself.
  export DATABASE_URL TURNPIKE_TEST_REDIS_URL
}

# ---- The steps that take more than a line -----------------------------------------

rust_tests() { # WHICH...
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --no-tests=warn "$@"
  else
    cargo test --locked --no-fail-fast "$@"
  fi
}

# What counts calls and money, on three masters instead of one Redis. How an outage of the one
# is noticed is nothing to try there. Chosen from the whole workspace: for two packages alone,
# much would be built anew with fewer features.
on_a_cluster() {
  local home=.run/cluster address outcome=0
  address=$(infra/redis-cluster.sh start "$PWD/$home" 7420 7430) || return 1
  TURNPIKE_TEST_REDIS_URL=$address rust_tests --workspace --exclude control-plane --lib -- \
    counters::tests limits::tests budgets::tests --skip outage || outcome=1
  infra/redis-cluster.sh stop "$PWD/$home"
  return $outcome
}

# What makes and measures the routing weights is no part of ordinary builds.
training() {
  cargo clippy --quiet --package routing-engine --features train --all-targets --locked -- -D warnings &&
    rust_tests --package routing-engine --features train
}

format() {
  cargo fmt --all --check && cargo fmt --manifest-path fuzz/Cargo.toml --check &&
    cargo fmt --manifest-path invoice-pdf/Cargo.toml --check
}

printer_tests() (
  export CARGO_TARGET_DIR=$PWD/invoice-pdf/target
  cargo test --quiet --locked --manifest-path invoice-pdf/Cargo.toml
)

# With a test among them, so that other people's crates get the features that the tests ask of
# them, and are not built a second time for those.
programs() { cargo build --quiet --workspace --bins --test drills --locked; }

# For tests that start the programs; without them they fail.
with_programs() { # COMMAND...
  local -x E2E_REQUIRED=1 TURNPIKE_BIN_DIR TURNPIKE_INVOICE_PRINTER=$PWD/invoice-pdf/target/debug/invoice-pdf
  TURNPIKE_BIN_DIR=$(realpath "${CARGO_TARGET_DIR:-target}/debug")
  "$@"
}

browser_tests() {
  [[ -e tests/browser/package.json ]] || return 0
  step 'packages for the browser tests' browser_packages
  step 'browser tests' with_programs node_test
}

# What a minute of chance finds is to be mended, and is not the fault of the change at hand: it
# is told, and fails nothing.
fuzzing() {
  local outcome=0
  infra/fuzz.sh || outcome=$?
  # What chance finds is told; what does not build is nobody's chance.
  ((outcome != 2)) || return 1
  ((outcome == 0)) || say '*** Fuzzing found something, or could not run: see above. ***'
}

# Our browser is the distribution's; nothing may be fetched beside the packages.
browser_packages() {
  local -x PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1
  npm_packages tests/browser
}

node_test() {
  (cd tests/browser && node --test --test-reporter=spec)
}

dependencies() {
  local checks='licenses bans sources'
  if [[ -n $(ls -A "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" 2>/dev/null) ]]; then
    checks+=' advisories'
  else
    say 'Advisories are not checked: no database of them in ~/.cargo/advisory-dbs.'
  fi
  local manifest
  for manifest in Cargo.toml invoice-pdf/Cargo.toml; do
    # shellcheck disable=SC2086  # words
    cargo-deny --locked --manifest-path $manifest check --hide-inclusion-graph $checks || return 1
  done
}

lint_infra() {
  shellcheck --severity=warning infra/*.sh infra/lib/*.sh .ci/run &&
    hadolint infra/*.Dockerfile &&
    check-jsonschema --builtin-schema vendor.compose-spec infra/compose.yaml
}

# ---- Running and telling ------------------------------------------------------------

step() { # HEADLINE COMMAND...
  local headline=$1 began=$SECONDS outcome=ok log
  shift
  log=$LOGS/${headline// /-}.log
  printf '\n== %s\n' "$headline"
  "$@" </dev/null 2>&1 | tee "$log"
  if ((PIPESTATUS[0] != 0)); then
    outcome=FAILED
    failed=1
  fi
  outcomes+=("$(printf '%-6s %5s  %s' "$outcome" "$(minutes $((SECONDS - began)))" "$headline")")
}

conclude() {
  printf '\n== outcome\n'
  printf '%s\n' "${outcomes[@]}"
  counted
  if ((failed)); then
    printf 'FAILED after %s\n' "$(minutes $SECONDS)"
  else
    printf 'All passed in %s\n' "$(minutes $SECONDS)"
  fi
  exit $failed
}

# The summaries of nextest, of cargo test, of Python's and node's test runners, of the drills and
# of fuzzing, in their own words.
counted() {
  local log
  for log in "$LOGS"/*tests.log "$LOGS"/hard-budgets.log "$LOGS"/fuzzing.log \
    "$LOGS"/client-libraries.log; do
    [[ -e $log ]] || continue
    sed 's/\x1b\[[0-9;]*m//g' "$log" |
      grep -E '^ *DRILL |overspend = |^[a-z]+: [0-9]+ runs, |SKIPPED|^Ran [0-9]+ tests|^ *Summary \[|^test result: .* [1-9][0-9]* (passed|failed)|^ℹ (tests|pass|fail|skipped) '
  done
}

minutes() { # SECONDS
  printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
}

main "$@"

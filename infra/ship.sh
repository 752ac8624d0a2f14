#!/usr/bin/env bash
# The programs as they are to be shipped. The proxy is built, called while it counts what it does,
# and built again, laid out by what it counted: that saves a fifth of its processor time a call.
#
#   infra/ship.sh
#
# All programs are in target/ship/bin/ then; TURNPIKE_BIN_DIR=target/ship/bin has `make run` and
# `make bench` use them. An image of the proxy (infra/data-plane.Dockerfile) is laid out by the same
# target/ship/data-plane.profdata, if that is there when it is built. What was counted is found again
# by names that hold the compiler's version, and the versions and features of all that the proxy is
# made of: it is of use for what it was made from, and is to be made again for each release.
# Takes two builds of the proxy and four minutes more. Settings, from the environment:
#
#   TURNPIKE_BIN_DIR  take the other programs from there, and build the proxy alone
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh

readonly SHIP=target/ship
readonly BIN=$SHIP/bin COUNTING=$SHIP/counting
readonly COUNTS=$PWD/$SHIP/counts PROFILE=$PWD/$SHIP/data-plane.profdata
# Every kind of call, and none of what costs a proxy time but once.
readonly KINDS=latency,long,refusals,limits,budgets,streams,mixed

main() {
  local others
  infra/install.sh services bench ship || exit 1
  others=$(realpath -m "${TURNPIKE_BIN_DIR:-${CARGO_TARGET_DIR:-target}/release}")
  infra/run.sh build || exit 1
  # A proxy that counts is not to be found where those to be shipped are.
  rm -rf $BIN $COUNTING "$COUNTS" "$PROFILE"
  say 'Building a proxy that counts.'
  build_into $COUNTING -Cprofile-generate="$COUNTS" || exit 1
  say 'Calling it.'
  call_it || fail 'the proxy that counts could not be called'
  llvm-profdata-19 merge -o "$PROFILE" "$COUNTS" || fail 'what was counted cannot be read'
  rm -rf $COUNTING "$COUNTS"
  say 'Building the one that is laid out by it.'
  build_into $BIN -Cprofile-use="$PROFILE" || exit 1
  say "The programs are in $BIN."
}

# With a target named, flags are for what runs there, and not for what only helps to build it.
build_into() { # DIRECTORY FLAGS
  local here
  here=$(uname -m)-unknown-linux-gnu
  RUSTFLAGS=$2 cargo build --release --locked --quiet --target "$here" --target-dir $SHIP/build \
    --package data-plane --bin data-plane &&
    mkdir -p "$1" &&
    cp "$others"/{bench,control-plane,fake-stripe,provider-simulator,turnpike} \
      "$SHIP/build/$here/release/data-plane" "$1"
}

# As it is measured, which calls it in every way; what it says of itself while it counts is no figure.
call_it() {
  OUT=$SHIP/called SECS=4 REPEATS=1 ONLY=$KINDS TURNPIKE_BIN_DIR=$PWD/$COUNTING \
    infra/bench.sh >$SHIP/called.log 2>&1 || {
    tail -n 5 $SHIP/called.log >&2
    return 1
  }
}

main "$@"

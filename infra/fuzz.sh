#!/usr/bin/env bash
# Runs each fuzz target for a while, and fails where one finds something.
#
#   infra/fuzz.sh            all of them
#   infra/fuzz.sh TARGET...  those: the names in fuzz/fuzz_targets
#
# Needs a nightly toolchain; where there is none, says so and succeeds. Ends with 2 where the
# targets do not build, with 1 where something was found. What was found is in
# target/fuzz/found, and `target/fuzz/.../TARGET FILE` shows it again. Settings, from the
# environment:
#
#   SECS=60           how long each runs
#   FUZZ_ON_STABLE=1  the stable compiler will do, told to take what only nightly does
#   FUZZ_REQUIRED=1   without a toolchain that can, fail
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh

readonly FUZZ=target/fuzz
# Our code has no `unsafe` in it: what the address sanitizer finds, it cannot do.
readonly BUILD=(--fuzz-dir fuzz --target-dir "$FUZZ" --sanitizer none)

main() {
  local -a targets=("$@")
  (($#)) || mapfile -t targets < <(cd fuzz/fuzz_targets && printf '%s\n' *.rs | sed 's/[.]rs$//')
  choose_toolchain || exit $?
  infra/install.sh fuzz || exit 1
  PATH=$PWD/target/tools/bin:$PATH
  cargo fuzz build "${BUILD[@]}" || { say '*** The fuzz targets do not build. ***' && exit 2; }
  mkdir -p $FUZZ/found $FUZZ/logs
  printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} infra/fuzz.sh --run-one {}
}

choose_toolchain() {
  if [[ ${FUZZ_ON_STABLE:-} ]]; then
    export RUSTC_BOOTSTRAP=1
  elif rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    export RUSTUP_TOOLCHAIN=nightly
  elif ! rustc --version | grep -q nightly; then
    say '*** SKIPPED: fuzzing needs a nightly toolchain (rustup toolchain install nightly), or FUZZ_ON_STABLE=1. ***'
    [[ ${FUZZ_REQUIRED:-} ]] && exit 1
    exit 0
  fi
}

# The corpus grows from run to run; the seeds are what it begins with.
run_one() { # TARGET
  local target=$1 log=$FUZZ/logs/$1.log corpus=$FUZZ/corpus/$1 seeds=$FUZZ/seeds/$1 program
  program=$FUZZ/$(rustc -vV | sed -n 's/^host: //p')/release/$target
  rm -rf "$seeds"
  mkdir -p "$corpus" "$seeds"
  gather "$target" "$seeds"
  if "$program" -max_total_time="${SECS:-60}" -max_len=8192 -timeout=20 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$FUZZ/found/$target-" "$corpus" "$seeds" >"$log" 2>&1; then
    say "$target: $(ran "$log") runs, nothing found"
  else
    tail -n 40 "$log" >&2
    say "$target: FOUND something, after $(ran "$log") runs; see $FUZZ/found and $log"
    return 1
  fi
}

ran() { # LOG
  local runs
  runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$1")
  echo "${runs:-some}"
}

# What the tests of the providers are fed with is a good beginning here too.
gather() { # TARGET TO
  local file from=()
  case $1 in
    sse) from=(data-plane/fixtures/*/*.stream) ;;
    ask) from=(data-plane/fixtures/*/*.ask.json data-plane/fixtures/*/*.embed.json) ;;
  esac
  [[ ! -d fuzz/seeds/$1 ]] || from+=("fuzz/seeds/$1"/*)
  for file in "${from[@]}"; do cp "$file" "$2/${file//\//-}"; done
}

if [[ ${1:-} == --run-one ]]; then run_one "$2"; else main "$@"; fi

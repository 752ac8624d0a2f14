#!/usr/bin/env bash
# Builds the program that makes PDFs of invoices, and says where it is.
#
#   infra/invoice-pdf.sh dev      compiles in some minutes, prints a sheet in half a second
#   infra/invoice-pdf.sh release  takes five times as long to compile, prints in milliseconds
#
# It has a target directory of its own, so that nothing else waits for its builds, and gives way to
# whatever else runs.
set -euo pipefail
cd "$(dirname "$0")/.."
source infra/lib/say.sh

profile=${1:-dev}
directory=$PWD/invoice-pdf/target
case $profile in
  dev) build=() place=debug ;;
  release) build=(--release) place=release ;;
  *) fail 'usage: infra/invoice-pdf.sh [dev|release]' ;;
esac
CARGO_TARGET_DIR=$directory nice -n 5 cargo build --quiet --locked --manifest-path invoice-pdf/Cargo.toml ${build[@]+"${build[@]}"}
echo "$directory/$place/invoice-pdf"

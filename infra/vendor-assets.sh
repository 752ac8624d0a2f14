#!/usr/bin/env bash
# Fetches the pinned scripts that pages use from the npm registry, and checks every
# vendored file against web-templates/assets/SHA256SUMS. Only for changing a version:
# building needs nothing from npm.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly HTMX=4.0.1
readonly ASSETS=web-templates/assets

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

npm pack --silent --pack-destination "$work" "htmx.org@$HTMX" >/dev/null
tar -xzf "$work/htmx.org-$HTMX.tgz" -C "$work"
cp "$work/package/dist/htmx.min.js" $ASSETS/htmx.js
cp "$work/package/LICENSE" $ASSETS/LICENSES/htmx.txt

(cd $ASSETS && sha256sum --check SHA256SUMS)

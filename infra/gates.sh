#!/usr/bin/env bash
# What no compiler refuses, and no page or query of ours may have. Prints each offending
# line with the rule that it breaks.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh

readonly PAGES=(--include=*.html --include=*.svg web-templates)
readonly CODE=(--include=*.rs control-plane/src data-plane/src routing/src shared/src)

# Tests may write what the code may not; the second is the walk over every route; the third
# is a method of ours of that name.
readonly EXEMPT='/tests\.rs:|^control-plane/src/access/walk\.rs:|fn query\(&self\)'

main() {
  local broken=0
  forbid 'what a person typed would reach the page as markup' '\|[[:space:]]*safe\b' "${PAGES[@]}" || broken=1
  forbid 'our content security policy blocks inline styles' '[[:space:]]style=' "${PAGES[@]}" || broken=1
  forbid 'our content security policy blocks inline handlers' '[[:space:]]on[a-z]+=' "${PAGES[@]}" || broken=1
  forbid 'our content security policy blocks inline scripts' '<script[^>]*>[^<]' "${PAGES[@]}" || broken=1
  forbid 'SQL is written as SQL, never put together from text' 'AssertSqlSafe|query(_as|_scalar)?\((&?format!|&)' "${CODE[@]}" || broken=1
  forbid 'SQL is written as SQL, never put together from text' \
    'format!\([[:space:]]*r?#*"[[:space:]]*(SELECT|INSERT INTO|UPDATE|DELETE FROM) ' "${CODE[@]}" || broken=1
  exit $broken
}

forbid() { # WHY PATTERN GREP-ARGUMENTS...
  local why=$1 pattern=$2 hits
  shift 2
  hits=$(grep -rnE "$pattern" "$@" 2>/dev/null | grep -vE "$EXEMPT") || return 0
  say "$why:"
  say "$hits"
  return 1
}

main "$@"

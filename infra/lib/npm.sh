# shellcheck shell=bash
# Packages of npm, as a lock file pins them.

# A registry that is away for a moment fails nobody's tests: npm's own retries are over within
# seconds, and some of its failures it does not retry at all.
npm_packages() { # DIRECTORY
  local pause
  for pause in 5 20 60 0; do
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error) && return 0
    ((pause)) || return 1
    say "The packages of $1 could not be installed; once more in $pause s."
    sleep "$pause"
  done
}

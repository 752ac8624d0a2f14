# shellcheck shell=bash
# How our scripts speak: one short line to a person, on standard error, so that what
# a script prints for another program stays clean.

say() { printf '%s\n' "$*" >&2; }

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

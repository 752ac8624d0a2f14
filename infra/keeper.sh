#!/usr/bin/env bash
# Cleans up after a test that starts real processes, whichever way the test ends.
#
#   infra/keeper.sh DIR
#
# Waits until its standard input ends, which it does when whoever started it is gone, even
# by kill -9. Then ends every process that works in DIR or in its stack, frozen or not, takes
# down what is mounted there, and removes DIR.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
source infra/lib/say.sh
source infra/lib/processes.sh

main() {
  (($# == 1)) || fail 'usage: infra/keeper.sh DIR'
  local directory
  directory=$(readlink -e "$1") || fail "no such directory: $1"
  [[ $directory != / && $directory != "$PWD" ]] || fail "not to be removed: $directory"
  trap '' INT TERM HUP
  cat >/dev/null
  end_all_in "$directory"
  unmount_all_in "$directory"
  # Killed as it was, a stack leaves nothing but files.
  infra/stack.sh wipe "$directory"
  rm -rf "$directory"
}

end_all_in() { # DIRECTORY
  local places=("$1") place pid
  place=$(readlink -e "$1/data") && places+=("$place")
  while read -r pid; do
    kill -s KILL "$pid" 2>/dev/null
    eventually 10 gone "$pid"
  done < <(all_in "${places[@]}")
}

unmount_all_in() { # DIRECTORY
  local place
  while read -r _ place _; do
    [[ $place != "$1"/* ]] || umount --lazy "$place"
  done </proc/mounts
}

# By where they work: a pid that was written down may be somebody else's by now.
all_in() { # PLACES...
  local process place works_in
  for process in /proc/[0-9]*; do
    works_in=$(readlink "$process/cwd" 2>/dev/null) || continue
    for place; do
      [[ $works_in != "$place" && $works_in != "$place"/* ]] || echo "${process#/proc/}"
    done
  done | sort -u
}

main "$@"

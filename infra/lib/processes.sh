# shellcheck shell=bash
# Starting nothing, only looking after what runs: is it ours, is it gone, make it go.

# A pid alone proves nothing: after a crash or a reboot it may belong to somebody else.
# A process is ours if it also works in the directory we gave it.
lives_in() { # PID DIRECTORY
  [[ -n $1 && $(readlink "/proc/$1/cwd" 2>/dev/null) == "$2" ]]
}

# A zombie answers to `kill -0` but does nothing any more: only its parent, which may
# be us, has yet to hear of its end.
alive() { # PID
  local state
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null)
  [[ -n $state && $state != [ZX] ]]
}

# Runs COMMAND until it succeeds. 50 ms between attempts is far below what a person
# notices and costs no measurable CPU.
eventually() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1))
  shift
  while ! "$@"; do
    ((SECONDS <= deadline)) || return 1
    sleep 0.05
  done
}

gone() { ! alive "$1"; }

# Asks politely, waits, then insists.
end_process() { # PID SECONDS [SIGNAL]
  alive "$1" || return 0
  kill -s "${3:-TERM}" "$1" 2>/dev/null
  eventually "$2" gone "$1" && return 0
  kill -s KILL "$1" 2>/dev/null
  eventually 5 gone "$1"
}

# shellcheck shell=bash
# Which port each service of a stack listens on. A choice is remembered as a line
# NAME=PORT in a file, so that bookmarks and copied commands stay true between runs.

listens() { # PORT
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

remembered_port() { # FILE NAME
  sed -n "s/^$2=//p" "$1" 2>/dev/null
}

# Prints the remembered port of NAME, or else WISH, or else the next one that nobody
# listens on and no other line of FILE has claimed.
choose_port() { # FILE NAME WISH
  local file=$1 name=$2 port
  port=$(remembered_port "$file" "$name")
  port=${port:-$3}
  while listens "$port" || claimed_by_another "$file" "$name" "$port"; do
    ((port += 20))
  done
  remember_port "$file" "$name" "$port"
  printf '%s\n' "$port"
}

claimed_by_another() { # FILE NAME PORT
  grep -v "^$2=" "$1" 2>/dev/null | grep -q "=$3\$"
}

remember_port() { # FILE NAME PORT
  local others
  others=$(grep -v "^$2=" "$1" 2>/dev/null)
  printf '%s\n' ${others:+"$others"} "$2=$3" >"$1"
}

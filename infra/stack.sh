#!/usr/bin/env bash
# A private PostgreSQL and a private Redis, with all they own in one directory.
#
#   infra/stack.sh start DIR    starts what is not running; writes DIR/stack.env
#   infra/stack.sh stop DIR     stops both, keeps the data
#   infra/stack.sh wipe DIR     stops both, drops the data
#   infra/stack.sh running DIR  says by its exit code whether both run
#   infra/stack.sh psql DIR ... a psql session of the superuser, with psql's arguments
#
# DIR/stack.env holds KEY=value lines for a shell to source: the URLs, with passwords
# drawn when the data was made, and the pids. It is readable by its owner only.
#
# Both listen on 127.0.0.1 alone, each on a port of its own. Started by root, they run
# as an unprivileged user. A DIR named `test` holds what may be lost: there nothing is
# flushed to disk, many clients may connect, and DATABASE_URL is set for `sqlx::test`.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/lib/say.sh"
source "$here/lib/postgres.sh"
source "$here/lib/processes.sh"
source "$here/lib/ports.sh"

main() {
  (($# >= 2)) || fail 'usage: infra/stack.sh start|stop|wipe|running|psql DIR'
  mkdir -p "$2/logs" || fail "cannot write to $2"
  directory=$(cd "$2" && pwd -P)
  user=$(service_user)
  programs=$(postgres_programs) || fail 'PostgreSQL is missing: infra/install.sh services'

  case $1 in
    start) lock && start ;;
    stop) lock && stop ;;
    wipe) lock && wipe ;;
    running) running ;;
    psql) running && superuser_psql "${@:3}" ;;
    *) fail "no such action: $1" ;;
  esac
}

start() {
  prepare_home
  admin_password=$(password admin)
  owner_password=$(password owner)
  control_password=$(password control)
  redis_password=$(password redis)
  rm -f "$directory/stack.env"
  start_postgres || fail_with_log postgres
  start_redis || fail_with_log redis
  make_roles || fail 'could not make the roles and the database'
  write_environment
}

stop() {
  find_home || return 0
  # Redis saves on SIGTERM; to PostgreSQL SIGINT means: end the sessions, save, leave.
  end_process "$(redis_pid)" 20 TERM || fail 'could not stop Redis'
  end_process "$(postgres_pid)" 20 INT || fail 'could not stop PostgreSQL'
}

wipe() {
  stop
  find_home && rm -rf "$home"
  rm -rf "$directory/data" "$directory/stack.env" "$directory/ports.env" \
    "$directory/logs/postgres.log" "$directory/logs/redis.log"
}

running() {
  find_home && [[ -n $(postgres_pid) && -n $(redis_pid) ]]
}

# PostgreSQL refuses to run as root, and Redis has no need to.
service_user() {
  if ((EUID != 0)); then
    id -un
  elif id postgres >/dev/null 2>&1; then
    echo postgres
  else
    id turnpike >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin turnpike
    echo turnpike
  fi
}

# Descriptor 9 is our lock: a server that kept it open would hold it for as long as it runs.
as_service_user() {
  if ((EUID == 0)); then
    (cd / && exec runuser -u "$user" -- "$@" 9>&-)
  else
    (cd / && exec "$@" 9>&-)
  fi
}

# Writes a file that the servers may read, and no other user.
hand_over() { # PATH
  # shellcheck disable=SC2016  # $1 is for the inner shell, which runs as that user
  as_service_user sh -c 'umask 077 && cat >"$1"' sh "$1"
}

# `home` is where the servers' files are: DIR/data, or where DIR/data links to.
find_home() {
  home=$(readlink -e "$directory/data")
}

prepare_home() {
  find_home || make_home || fail 'could not make the data directory'
  [[ -f $home/passwords.env ]] || draw_passwords
  local log
  for log in postgres redis; do
    as_service_user touch "$home/$log.log"
    ln -sfn "$home/$log.log" "$directory/logs/$log.log"
  done
}

make_home() {
  rm -f "$directory/data"
  mkdir -m 700 "$directory/data" && chown "$user" "$directory/data" || return 1
  # In a checkout under /root, say, nobody but root can reach DIR/data.
  if ! as_service_user test -w "$directory/data"; then
    rmdir "$directory/data"
    home=$(mktemp -d /var/lib/turnpike.XXXXXX) && chown "$user" "$home" &&
      ln -s "$home" "$directory/data" || return 1
  fi
  find_home
}

draw_passwords() {
  local name
  for name in admin owner control redis; do
    printf '%s_password=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
  done | write_private "$home/passwords.env"
}

password() { # NAME
  sed -n "s/^$1_password=//p" "$home/passwords.env"
}

# Written whole or not at all, and never readable to others, not even for a moment.
write_private() { # PATH
  (umask 077 && cat >"$1.new") && mv "$1.new" "$1"
}

start_postgres() {
  [[ -f $home/postgres/PG_VERSION ]] || make_cluster || return 1
  check_version
  if [[ -z $(postgres_pid) ]]; then
    drop_stale_pid
    postgres_port=$(choose_port "$directory/ports.env" postgres "$(wish 7432)")
    # A server that was killed leaves children, which take a moment to notice.
    eventually 5 launch_postgres || return 1
  else
    postgres_port=$(remembered_port "$directory/ports.env" postgres)
  fi
}

# Made beside its place and moved there when complete, so that an interrupted start
# leaves nothing half made.
make_cluster() {
  local new=$home/postgres.new secret=$home/admin_password
  rm -rf "$new"
  hand_over "$secret" <<<"$admin_password" &&
    as_service_user "$programs/initdb" --pgdata="$new" --username=postgres --auth=scram-sha-256 \
      --pwfile="$secret" --encoding=UTF8 --locale=C.UTF-8 --no-sync >>"$home/postgres.log" 2>&1 &&
    postgres_settings | as_service_user tee -a "$new/postgresql.conf" >/dev/null &&
    as_service_user mv "$new" "$home/postgres"
  local made=$?
  rm -f "$secret"
  return $made
}

# No socket in the file system: its path would have to be short and reachable.
postgres_settings() {
  cat <<'CONF'
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
timezone = 'UTC'
log_timezone = 'UTC'
CONF
  throwaway && cat <<'CONF'
max_connections = 400
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = 4GB
autovacuum = off
CONF
  return 0
}

check_version() {
  local data server
  data=$(cat "$home/postgres/PG_VERSION")
  server=$("$programs/postgres" --version | sed 's/.* \([0-9]*\)[.].*/\1/')
  [[ $data == "$server" ]] ||
    fail "the data in $directory is PostgreSQL $data's, installed is $server: infra/stack.sh wipe drops it"
}

# The server checks only whether some process has the pid that it left behind.
drop_stale_pid() {
  local pid
  pid=$(head -n 1 "$home/postgres/postmaster.pid" 2>/dev/null)
  [[ -z $pid ]] || ! alive "$pid" || lives_in "$pid" "$home/postgres" ||
    rm -f "$home/postgres/postmaster.pid"
}

launch_postgres() {
  as_service_user "$programs/pg_ctl" start --silent --wait --timeout=60 --pgdata="$home/postgres" \
    --log="$home/postgres.log" --options="-p $postgres_port" >/dev/null 2>&1
}

postgres_pid() {
  our_pid "$home/postgres/postmaster.pid" "$home/postgres"
}

redis_pid() {
  our_pid "$home/redis/redis.pid" "$home/redis"
}

our_pid() { # PID-FILE DIRECTORY
  local pid
  pid=$(head -n 1 "$1" 2>/dev/null)
  alive "$pid" && lives_in "$pid" "$2" && printf '%s\n' "$pid"
}

start_redis() {
  as_service_user mkdir -p "$home/redis"
  if [[ -z $(redis_pid) ]]; then
    redis_port=$(choose_port "$directory/ports.env" redis "$(wish 7433)")
    redis_settings | hand_over "$home/redis/redis.conf" &&
      as_service_user redis-server "$home/redis/redis.conf" || return 1
  else
    redis_port=$(remembered_port "$directory/ports.env" redis)
  fi
  eventually 20 redis_answers
}

redis_settings() {
  cat <<CONF
bind 127.0.0.1
port $redis_port
requirepass $redis_password
daemonize yes
dir $home/redis
pidfile $home/redis/redis.pid
logfile $home/redis.log
maxmemory-policy noeviction
save ""
CONF
  if throwaway; then
    echo 'appendonly no'
  else
    # Redis stands still for a moment where it puts a rewritten file in place, and counters
    # fill the 64 MB that are usual in seconds.
    printf '%s\n' 'appendonly yes' 'appendfsync everysec' 'auto-aof-rewrite-min-size 1gb'
  fi
}

redis_answers() {
  [[ $(REDISCLI_AUTH=$redis_password redis-cli -p "$redis_port" ping 2>/dev/null) == PONG ]]
}

throwaway() { [[ $(basename "$directory") == test ]]; }

# The test stack wishes for ports of its own, so that neither stack takes the other's.
wish() { # PORT
  if throwaway; then echo $(($1 + 100)); else echo "$1"; fi
}

# Run at each start, so that data made by an older checkout gets what a newer one adds.
# The passwords go in by standard input: arguments are everybody's to read.
make_roles() {
  {
    printf "\\\\set owner_password '%s'\n" "$owner_password"
    printf "\\\\set control_password '%s'\n" "$control_password"
    cat "$here/roles.sql"
  } | superuser_psql --quiet --no-psqlrc --tuples-only postgres >/dev/null
}

superuser_psql() { # PSQL-ARGUMENTS...
  PGHOST=127.0.0.1 PGPORT=$(remembered_port "$directory/ports.env" postgres) \
    PGUSER=postgres PGPASSWORD=$(password admin) psql "$@" 9>&-
}

write_environment() {
  local at=127.0.0.1:$postgres_port
  {
    echo "TURNPIKE_DATABASE_URL=postgres://turnpike_control:$control_password@$at/turnpike"
    echo "TURNPIKE_OWNER_DATABASE_URL=postgres://turnpike_owner:$owner_password@$at/turnpike"
    echo "TURNPIKE_ADMIN_DATABASE_URL=postgres://postgres:$admin_password@$at/turnpike"
    echo "TURNPIKE_REDIS_URL=redis://default:$redis_password@127.0.0.1:$redis_port/0"
    echo "TURNPIKE_POSTGRES_PID=$(postgres_pid)"
    echo "TURNPIKE_REDIS_PID=$(redis_pid)"
    if throwaway; then
      echo "DATABASE_URL=postgres://postgres:$admin_password@$at/postgres"
      echo "TURNPIKE_TEST_REDIS_URL=redis://default:$redis_password@127.0.0.1:$redis_port/0"
    fi
  } | write_private "$directory/stack.env"
}

# Two callers at once would both find nothing running.
lock() { exec 9>"$directory/stack.lock" && flock 9; }

fail_with_log() { # NAME
  tail -n 10 "$home/$1.log" >&2
  fail "$1 did not start; its log: $directory/logs/$1.log"
}

main "$@"

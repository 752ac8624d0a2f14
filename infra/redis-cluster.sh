#!/usr/bin/env bash
# A Redis Cluster on this machine: three masters, each with a replica.
#
#   infra/redis-cluster.sh start HOME PORT BUS  on six ports from PORT on, which gossip on six
#                                               from BUS on; prints its address
#   infra/redis-cluster.sh again HOME PORT BUS NODE  starts the one of them, from 0, that has died
#   infra/redis-cluster.sh stop HOME            and forgets what it held
#
# A master that dies is replaced within some seconds. What the others hold is served all the time.
set -euo pipefail
cd "$(dirname "$0")/.."
source infra/lib/say.sh

readonly NODES=6

main() {
  case ${1:-} in
    start) start "${@:2}" ;;
    again) again "${@:2}" ;;
    stop) stop "${@:2}" ;;
    *) fail 'usage: infra/redis-cluster.sh start HOME PORT BUS | again HOME PORT BUS NODE | stop HOME' ;;
  esac
}

start() { # HOME PORT BUS
  local home=$1 port=$2 bus=$3 node addresses=() urls=()
  for ((node = 0; node < NODES; node++)); do
    mkdir -p "$home/node-$node"
    start_node "$home/node-$node" $((port + node)) $((bus + node))
    addresses+=("127.0.0.1:$((port + node))")
    urls+=("redis://127.0.0.1:$((port + node))")
  done
  for ((node = 0; node < NODES; node++)); do
    until [[ $(redis-cli -p $((port + node)) PING 2>/dev/null) == PONG ]]; do sleep 0.05; done
  done
  redis-cli --cluster create "${addresses[@]}" --cluster-replicas 1 --cluster-yes >"$home/create.log" 2>&1 ||
    fail "no cluster came about: $(tail -n 5 "$home/create.log")"
  # Each has to have heard of all the others, and each replica to have what its master has.
  for ((node = 0; node < NODES; node++)); do
    until is_whole $((port + node)); do sleep 0.05; done
  done
  (IFS=, && echo "${urls[*]}")
}

start_node() { # DIRECTORY PORT BUS
  redis-server --dir "$1" --port "$2" --bind 127.0.0.1 --cluster-port "$3" --cluster-enabled yes \
    --cluster-node-timeout 1000 --cluster-require-full-coverage no --cluster-replica-validity-factor 0 \
    --save '' --appendonly no --repl-diskless-sync-delay 0 --maxmemory-policy noeviction \
    --daemonize yes --pidfile "$1/pid" --logfile "$1/log" >/dev/null
}

is_whole() { # PORT
  local state role
  state=$(redis-cli -p "$1" CLUSTER INFO)
  [[ $state == *cluster_state:ok* && $state == *cluster_known_nodes:$NODES* ]] || return 1
  role=$(redis-cli -p "$1" INFO replication)
  [[ $role == *role:master*connected_slaves:1* || $role == *master_link_status:up* ]]
}

again() { # HOME PORT BUS NODE
  local port=$(($2 + $4))
  start_node "$1/node-$4" "$port" $(($3 + $4))
  until is_whole "$port"; do sleep 0.05; done
}

stop() { # HOME
  local pid
  for pid in "$1"/node-*/pid; do
    [[ -e $pid ]] || continue
    kill -KILL "$(<"$pid")" 2>/dev/null || true
  done
  rm -rf "$1"
}

main "$@"

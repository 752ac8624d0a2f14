# `make` alone lists what can be made.
.DEFAULT_GOAL := help
.PHONY: help run stop reset status check test fmt sqlx openapi e2e ship bench bench-snapshots bench-usage overshoot drill clients fuzz train-router eval-router psql vendor-assets
MAKEFLAGS += --no-print-directory

help:
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r name what; do printf '  make %-14s %s\n' "$$name" "$$what"; done

run: ## all of Turnpike on this machine, until Ctrl-C (DETACH=1: in the background)
	@exec infra/run.sh up

stop: ## stop what `make run` started; the data stays
	@exec infra/run.sh stop

reset: ## stop it and drop its data
	@exec infra/run.sh reset

status: ## what runs
	@exec infra/run.sh status

check: ## after a small change: format, lints, and the tests it concerns
	@exec infra/test.sh check

test: ## everything that CI runs
	@exec infra/test.sh all

e2e: ## the browser tests alone
	@exec infra/test.sh browser

ship: ## the programs to be shipped: the proxy laid out by what it does under load (target/ship/bin)
	@exec infra/ship.sh

bench: ## what the gateway costs beside nginx (SECS=n: seconds a run; GROWTH=full: a million keys)
	@exec infra/bench.sh

bench-snapshots: ## what 100,000 keys weigh, how fast 50 proxies have a change, how late a revocation
	@exec infra/bench-snapshots.sh

bench-usage: ## events a second into the meter, and the usage page with EVENTS=n of them
	@exec infra/bench-usage.sh

overshoot: ## hard budgets under load while proxies die (CALLS=20000, PROXIES=1,2,4; TARGET=url: another gateway)
	@exec infra/overshoot.sh

drill: ## the same while stores, proxies and the ingester die, disks are full or damaged, clocks are wrong (DRILLS=all)
	@DRILLS=$${DRILLS:-all} CALLS=$${CALLS:-6000} PROXIES=$${PROXIES:-2} exec infra/overshoot.sh

clients: ## other people's client libraries against a running stack
	@exec infra/clients.sh

fuzz: ## feed what is read from outside with what nobody thought of (SECS=60: seconds each)
	@exec infra/fuzz.sh

train-router: ## learn routing/router.weights anew (TURNPIKE_ROUTING_DATA=dir; CHECK=1: only compare)
	@cargo run --quiet --locked --package routing-engine --features train --bin train-router -- $${CHECK:+--check}

eval-router: ## what the router reaches on the data, by folds (ROWS='R1 R9': these only)
	@cargo run --quiet --locked --package routing-engine --features train --bin eval-router -- $(ROWS)

fmt: ## format the code
	@cargo fmt --all

sqlx: ## describe our SQL anew, after a change to a query or a migration
	@exec infra/sqlx-cache.sh write

openapi: ## write control-plane/openapi.json
	@cargo run --quiet --locked --package control-plane --bin turnpike -- openapi > target/openapi.json
	@mv target/openapi.json control-plane/openapi.json

psql: ## look into the database of `make run`
	@exec infra/stack.sh psql .run turnpike

vendor-assets: ## fetch the pinned fonts and scripts that the pages use
	@exec infra/vendor-assets.sh

# One entry point. Everything happens in the sandbox cluster on this machine, unless an existing cluster is named:
#   KUBE_CONTEXT=name make up
# STACK picks the environment (default: dev).
.DEFAULT_GOAL := help
STACK ?= dev
export STACK KUBE_CONTEXT

mode := $(if $(KUBE_CONTEXT),client,sandbox)
sandbox := npm run --silent sandbox --

.PHONY: help up preview check destroy status kubectl node down clean test unit bench drill format prepare

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

prepare:
	@sandbox/prepare.sh $(mode)

up: prepare ## boot the cluster, deploy the stack, check it
	@$(sandbox) up

preview: prepare ## what a deployment would change
	@$(sandbox) preview $(ARGS)

check: prepare ## check the deployed services with real clients (ARGS=--json)
	@$(sandbox) check $(ARGS)

destroy: prepare ## remove the services of the stack
	@$(sandbox) destroy

status: ## what runs, and where things are
	@$(sandbox) status

kubectl: ## kubectl against the sandbox cluster: make kubectl ARGS="get pods -A"
	@$(sandbox) kubectl $(ARGS)

node: ## stop, start, cut or heal a node: make node ARGS="stop 2"
	@$(sandbox) node $(ARGS)

down: ## stop the cluster; its data stays for the next up
	@$(sandbox) down

clean: ## stop the cluster and remove its data
	@$(sandbox) clean

test: prepare ## lint, types, unit tests, then end to end on the sandbox
	@npm test --silent

unit: prepare ## lint, types and unit tests only
	@npm run --silent test:unit

bench: prepare ## measure, print, and write docs/benchmarks.md
	@$(sandbox) run node_modules/.bin/tsx drills/bench.ts

drill: prepare ## faults on the sandbox with a ledger of acknowledged writes (ARGS=leader-kill)
	@$(sandbox) run node_modules/.bin/tsx drills/cli.ts $(ARGS)

format: ## rewrite the sources in the common format
	@npm run --silent format

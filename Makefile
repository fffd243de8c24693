# One entry point. Everything happens in the sandbox cluster on this machine, unless an existing cluster is named:
#   KUBE_CONTEXT=name make up
# STACK picks the environment (default: dev).
.DEFAULT_GOAL := help
STACK ?= dev
export STACK KUBE_CONTEXT

cli := npm run --silent sandbox --
# Commands that work on either; commands that need the sandbox built; commands that only need to reach it.
either := sandbox/run.sh $(if $(KUBE_CONTEXT),client,sandbox)
sandbox := sandbox/run.sh sandbox
tools := sandbox/run.sh tools

.PHONY: help up preview check top backups backup cells-values cells-patches cells-env cells-install destroy status kubectl node down clean test test-all unit bench drill format

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## boot the cluster, deploy the stack, check it
	@$(either) $(cli) up

preview: ## what a deployment would change
	@$(either) $(cli) preview $(ARGS)

check: ## check the deployed services with real clients (ARGS=--json)
	@$(either) $(cli) check $(ARGS)

# Beside other commands on the sandbox: a fault is what one watches.
top: ## watch the services, from their metrics (ARGS=--once, ARGS=--json)
	@$(if $(KUBE_CONTEXT),sandbox/run.sh client) $(cli) top $(ARGS)

backups: ## copies of the services, and whether a restore has proven them (ARGS=--json)
	@$(either) $(cli) backups $(ARGS)

backup: ## make a copy now (ARGS="--service etcd"), or prove the newest one (ARGS=--proof)
	@$(either) $(cli) backup $(ARGS)

cells-values: ## values of the Helm chart of Pydio Cells v5, on stdout
	@$(either) $(cli) cells values

cells-patches: ## what the values cannot say, for a post-renderer, on stdout
	@$(either) $(cli) cells patches

cells-env: ## variables of Pydio Cells v4 with passwords, on stdout
	@$(either) $(cli) cells env

cells-install: ## install file of Pydio Cells with passwords, on stdout
	@$(either) $(cli) cells install

destroy: ## remove the services of the stack
	@$(either) $(cli) destroy

status: ## what runs, and where things are
	@$(cli) status

kubectl: ## kubectl against the sandbox cluster: make kubectl ARGS="get pods -A"
	@$(cli) kubectl $(ARGS)

node: ## stop, start, cut or heal a node: make node ARGS="stop 2"
	@$(tools) $(cli) node $(ARGS)

down: ## stop the cluster; its data stays for the next up
	@$(tools) $(cli) down

clean: ## stop the cluster and remove its data
	@$(tools) $(cli) clean

test: ## lint, types, unit tests, then one proof of each kind on the sandbox
	@$(sandbox) npm test --silent

test-all: ## everything that make test leaves out for time, too
	@$(sandbox) npm run --silent test:all

unit: ## lint, types and unit tests only
	@$(tools) sh -c "npm run --silent build && npm run --silent test:unit"

bench: ## measure on the sandbox, print, and write docs/benchmarks.md
	@$(sandbox) $(cli) bench $(ARGS)

drill: ## faults on the sandbox with a ledger of acknowledged writes (ARGS=leader-kill)
	@$(sandbox) $(cli) drill $(ARGS)

format: ## rewrite the sources in the common format
	@npm run --silent format

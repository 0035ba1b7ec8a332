# One command for the main job (make demo), one for the tests (make test). Each makes what it needs.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

ORDERS ?=
MERCHANTS ?=
SEED ?= 7
N ?= 500
# Side by side: most tests wait for other processes. WORKERS=0 runs them one by one.
WORKERS ?= 2
# The shell quotes them, so that a path may hold spaces.
export ORDERS MERCHANTS SEED N

.PHONY: help demo up down check test chaos bench bench-growth clean

help: ## Say what there is.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml
	@echo "==> a virtual environment with the pinned packages (about a minute, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@echo "$(CURDIR)" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tillkeeper-checkout.pth"
	@printf '#!/bin/sh\nexec "%s/$(BIN)/python" -m console "$$@"\n' "$(CURDIR)" > $(BIN)/tillkeeper
	@chmod +x $(BIN)/tillkeeper
	@touch $(READY)

demo: $(READY) ## Real stack, real orders: ORDERS=file MERCHANTS=n choose the input.
	@echo "==> the embedded stack"
	@$(BIN)/python -m worker up --detach
	@echo "==> accounts, money, orders, verification"
	@$(BIN)/tillkeeper demo --seed "$$SEED" $${ORDERS:+--orders "$$ORDERS"} $${MERCHANTS:+--merchants "$$MERCHANTS"}

up: $(READY) ## PostgreSQL, Temporal with its UI, worker; Ctrl-C stops them.
	@echo "==> PostgreSQL, Temporal with its UI, migrations, worker; Ctrl-C stops them"
	@$(BIN)/python -m worker up

down: $(READY) ## Stop what "make demo" or "up --detach" left running.
	@$(BIN)/python -m worker down

check: $(READY) ## Format, lint, types, import contracts, tidiness.
	@echo "==> format and lint"; $(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@echo "==> types"; $(BIN)/mypy && $(BIN)/basedpyright --level error
	@echo "==> import contracts"; $(BIN)/lint-imports --no-cache
	@echo "==> tidiness"; $(BIN)/pytest tests/tidy

# Every workflow sandbox and every command imports our modules anew: they are compiled once, whatever
# the caller's environment says of bytecode.
test: $(READY) ## All tests, against real PostgreSQL and Temporal servers.
	@echo "==> all tests, against real PostgreSQL and Temporal servers (minutes)"
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n $(WORKERS) --dist loadgroup

chaos: $(READY) ## N withdrawals while everything is killed; then the bank's own book is the judge.
	@echo "==> $$N withdrawals, a kill a second, every fault of the bank; seed $$SEED (500 take some 15 minutes)"
	@$(BIN)/python -m tests.chaos --count "$$N" --seed "$$SEED"

bench: $(READY) ## Ratios of the book, the bank reader and the lifecycles against references of the same run.
	@echo "==> the book against references of the same run (about a minute)"
	@$(BIN)/python -m bench ledger
	@echo "==> reading a bank statement of 10,000 transactions against lxml alone"
	@$(BIN)/python -m bench bank
	@echo "==> whole withdrawals against a skeleton with empty activities (minutes)"
	@$(BIN)/python -m bench lifecycles

bench-growth: $(READY) ## The posting rate on a book of 5,000,000 transfers.
	@echo "==> the posting rate on an empty book and on 5,000,000 transfers (minutes)"
	@$(BIN)/python -m bench growth

clean: ## Remove the virtual environment and caches; never the data.
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

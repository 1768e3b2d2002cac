# Few verbs, and each sets up what it needs on a fresh machine: git, make and Python 3.11+ are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" $(BIN)/uv pip

.PHONY: help setup demo test test-slow lint lock up clean
help: ## show the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/'

setup: $(VENV)/.ready ## make .venv and install what requirements.lock names
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check uv
	@$(UV) install --quiet $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) -r requirements.lock
	@$(UV) install --quiet --no-deps -e .
	@touch $@

demo: setup ## separate a real song through Dagster into demo/
	@$(BIN)/python -m api.demo

test: setup ## the default suite (two cores: minutes)
	@$(BIN)/python -m pytest

test-slow: setup ## everything, the long ones too
	@$(BIN)/python -m pytest -m "slow or not slow"

lint: setup ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lock: setup ## renew requirements.lock from pyproject.toml (newest versions the bounds allow)
	@$(UV) compile --quiet --upgrade --all-extras --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
	  pyproject.toml -o requirements.lock && sed -i 's/^torch==\([0-9.]*\)+.*/torch==\1/' requirements.lock

up: setup ## Dagster's UI and daemon on this machine
	@$(BIN)/stem-pipeline up

clean: ## remove what the verbs above made here
	rm -rf $(VENV) demo build *.egg-info

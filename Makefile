# Everything a person types, and CI types the same. Needs git, make and Python 3.11 or newer with venv.
PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin/python -m
READY  := $(VENV)/.ready

.PHONY: help gate baseline test lint format changelog clean

help:
	@echo "make gate       measure this repository's own performance matrix and judge it against baselines/main"
	@echo "make baseline   measure it and keep the run under the name main"
	@echo "make test       run the tests"
	@echo "make lint       check style, types, the house's floors, dead code and the changelog"
	@echo "make format     let ruff rewrite what it can"
	@echo "make changelog  show the changelog of the next release"
	@echo "make clean      remove the virtual environment and reports"

gate: $(READY)
	$(RUN) pytest suites/perf_matrix --supervm-baseline=main \
	    --supervm-json=reports/results.json --supervm-report=reports/report.html

baseline: $(READY)
	$(RUN) pytest suites/perf_matrix --supervm-save=main

test: $(READY)
	$(RUN) pytest

lint: $(READY)
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(VENV)/bin/lint-imports
	$(RUN) vulture
	$(RUN) towncrier build --draft --version next > /dev/null

format: $(READY)
	$(RUN) ruff check --fix
	$(RUN) ruff format

changelog: $(READY)
	$(RUN) towncrier build --draft --version next

clean:
	rm -rf $(VENV) reports

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "pytest-supervm needs Python 3.11 or newer, and $(PYTHON) is" \
	         "$$($(PYTHON) --version 2>&1 || echo missing): try make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --upgrade pip
	$(RUN) pip install --quiet --editable '.[core,dev]'
	@touch $(READY)

# Two commands: `make demo` and `make test`. Both set up .venv first, which is quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint benchmarks lab-baseline clean

demo: $(VENV)/.lab
	$(BIN)/qcheck demo

test: $(VENV)/.dev lint
	$(BIN)/pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Measures every figure of benchmarks/RESULTS.md (about half an hour on two cores).
benchmarks: $(VENV)/.dev
	$(BIN)/python -m benchmarks

# Records the lab's baseline anew (about ten minutes on two cores).
lab-baseline: $(VENV)/.dev
	$(BIN)/python baselines/record_lab.py

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qcheck needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.lab: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[lab]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[lab,dev]'
	touch $@ $(VENV)/.lab

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

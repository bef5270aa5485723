# Two commands: `make demo` and `make test`. Both set up .venv first, which is quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Tests and the lab start hundreds of processes, each of which would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint pytest benchmarks lab-baseline clean

demo: $(VENV)/.lab
	$(BIN)/qcheck demo

# Side by side: types are checked by one processor alone.
test: $(VENV)/.dev
	@$(MAKE) --no-print-directory -j2 lint pytest

# Collected once before on a fresh checkout, so that one process compiles what is imported, not each of them. What a
# process leaves idle while it waits for an engine the other engines and the linters take.
pytest: $(VENV)/.dev
	@test -d tests/__pycache__ || OMP_NUM_THREADS=1 $(BIN)/pytest --collect-only -qq > /dev/null || true
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $$($(BIN)/python -c 'import os; print(os.cpu_count())') --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Measures every figure of benchmarks/RESULTS.md (several hours on two cores).
benchmarks: $(VENV)/.dev
	$(BIN)/python -m benchmarks

# Records the lab's baselines anew (about an hour and a half on two cores; interrupted, it goes on where it stopped).
lab-baseline: $(VENV)/.dev
	$(BIN)/python -m baselines.record_lab lab-tiny

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qcheck needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.lab: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[lab]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[torch,dev]'
	touch $@ $(VENV)/.lab

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

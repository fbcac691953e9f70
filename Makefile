# make demo     create .venv, install, fetch the default data set, run the main job
# make test     create the same .venv if absent, lint, run the whole test suite
# make lint     ruff, mypy, import-linter; make tests: the rest of make test
# make bench    run the scripts in benchmarks/, each prints a table
# make study    run the peer study: hours, goes on where it was; `make notebooks` shows it
# make notebooks  run the notebooks anew and keep their output
# make tutorials  the same for the tutorials, a few minutes
# make docs     build the site into docs/_build/html (warnings are errors), and look at it in Chromium where there is one
# make peers    install the peers that are not needed otherwise (MIDAS, GLUE, SnapATAC2, GEARS, biolord, scGen), test them
# make clean    remove the environments, the caches and omicsfm-demo/
#
# PYTHON=... chooses the interpreter; each Python version has its own environment, so both stacks live side by side.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install demo test tests lint bench study notebooks tutorials docs midas peers clean

# A pyenv shim may exist and not run: ask the interpreter itself.
DEFAULT_PYTHON := $(shell if python3.11 -c '' >/dev/null 2>&1; then echo python3.11; else echo python3; fi)
PYTHON ?= $(DEFAULT_PYTHON)
minor = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
DEFAULT_MINOR := $(call minor,$(DEFAULT_PYTHON))
MINOR := $(if $(filter $(PYTHON),$(DEFAULT_PYTHON)),$(DEFAULT_MINOR),$(call minor,$(PYTHON)))

VENV := $(if $(filter $(MINOR),$(DEFAULT_MINOR)),.venv,.venv-$(MINOR))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# No file for another Python version: its ranges come from pyproject.toml alone.
CONSTRAINTS := $(if $(filter 3.11,$(MINOR)),constraints.txt,$(wildcard constraints-$(MINOR).txt))
TORCH = $(or $(shell grep -s '^torch==' $(CONSTRAINTS) /dev/null | cut -d: -f2),torch)

# The tests run in this many processes, one thread each (tests/conftest.py).
WORKERS ?= 2
# Which of them (pyproject.toml tells the markers).
MARKS ?= not slow

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

install: $(STAMP)

# torch comes first and by its exact version, so that pip can take a CPU build of it that is at hand.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@test -n "$(MINOR)" || { echo "make: '$(PYTHON)' does not run. Fix: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: Python 3.11 or newer is needed, $(PYTHON) is $(MINOR). Fix: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "make: installing into $(VENV); this takes a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq $(TORCH)
	$(BIN)/python -m pip install -qq $(addprefix -c ,$(CONSTRAINTS)) -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/omicsfm demo --out omicsfm-demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint tests

tests: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "$(MARKS)"

# One thread, so that the times of two methods compare. The peer study has a target of its own: it takes hours.
bench: $(STAMP)
	@set -e; for script in $(filter-out benchmarks/_% benchmarks/integration.py,$(wildcard benchmarks/*.py)); do \
	  echo "== $$script"; OMP_NUM_THREADS=1 $(BIN)/python $$script; done

study: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/integration.py

notebooks tutorials: $(STAMP)
	$(BIN)/python -m pip install -qq $(addprefix -c ,$(CONSTRAINTS)) 'ipykernel>=6' 'ipywidgets>=8' 'nbclient>=0.10'
	OMP_NUM_THREADS=1 $(BIN)/python notebooks/_execute.py $@/*.ipynb

docs: $(STAMP)
	$(BIN)/python -m pip install -qq $(addprefix -c ,$(CONSTRAINTS)) -e '.[dev,docs]'
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -E docs docs/_build/html
	$(BIN)/python -m pytest -q -m "slow or not slow" tests/docs/test_site_in_browser.py tests/docs/test_site_sources.py
	@echo "make: docs/_build/html/index.html"

# scmidas declares torch<2.11 and works without; scglue works without pynvml, which warns at every import of torch; pertpy
# on Python 3.11 (1.0.3) does not import beside statsmodels 0.15.
MIDAS = --no-deps scmidas==0.3.0 toml==0.10.2
midas: $(STAMP)
	$(BIN)/python -m pip install -qq $(MIDAS)

peers: midas
	$(BIN)/python -m pip install -qq $(addprefix -c ,$(CONSTRAINTS)) 'scglue>=0.4.1' 'snapatac2>=2.9' 'biolord>=0.0.3' \
	  'cell-gears>=0.1.2' 'torch-geometric>=2.6'
	$(BIN)/python -m pip install -qq 'pertpy>=1.0.3' 'scvi-tools[jax]>=1.4.2' 'statsmodels<0.15'
	$(BIN)/python -m pip uninstall -qq -y pynvml
	$(BIN)/python -m pytest -m "slow or not slow" tests/models/external

clean:
	rm -rf docs/_build docs/_static/gallery docs/notebooks docs/changelog.md
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .venv .venv-3.* omicsfm-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

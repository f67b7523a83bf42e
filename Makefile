# Everything that is typed from a checkout. `make` alone prints this list of targets.
#
#   make book PYTHON=python3.12     with another interpreter
#   make book PRESET=cpu            with a larger preset
#   make test ARGS="-k wheel"       with options for pytest

PYTHON ?= python3
VENV   ?= .venv
PRESET ?= smoke
ARGS   ?=
# Processes of the tests; each has one torch thread.
JOBS   ?= 2

BIN       := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEV       := $(VENV)/.installed-dev
# Written before pip starts and removed after it: what an interrupted install leaves is never trusted.
UNFINISHED := $(VENV)/.unfinished
# A plain `torch` would take the newest build there is; the pin is kept in one place.
TORCH := $(shell sed -n '/^torch==/p' requirements.lock)
PIP_INSTALL := $(BIN)/python -m pip install -c requirements.lock "$(TORCH)"
INSTALL_LOG := $(VENV)/install.log
# What pip says goes to the log; the end of it is shown where pip fails, and nothing where it does not.
LOGGED := >$(INSTALL_LOG) 2>&1 || { tail -n 40 $(INSTALL_LOG) >&2; echo "evolm: the install failed; all that pip said is in $(INSTALL_LOG)" >&2; exit 1; }

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help book test lint lab bench clean python

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s%s\n", $$1, $$2 }'

book: $(INSTALLED)  ## run every finding at PRESET (smoke) and build the book to _build/html
	@$(BIN)/evolm book --preset $(PRESET)

# In the order of their names, file by file: the book first, which takes longest, and the notebooks after it, as both
# run chapters into one store.
test: $(INSTALLED)  ## run the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(DEV)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: $(INSTALLED)  ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks

bench: $(INSTALLED)  ## run the benchmarks, side by side with what they replace
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean:  ## remove built pages and caches (.venv and the records in .evolm stay)
	rm -rf _build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

python:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "evolm: there is no '$(PYTHON)' on the path; install Python 3.11 or newer, or name one: make book PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "evolm: '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1); 3.11 or newer is needed: make book PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "evolm: '$(PYTHON)' cannot make environments; install its venv module (Debian: python3-venv)" >&2; exit 1; }

$(INSTALLED): pyproject.toml requirements.lock | python
	@echo "evolm: installing into $(VENV) (about 3 minutes and 2.4 GB with the CPU build of torch); log: $(INSTALL_LOG)"
	@if [ -e $(UNFINISHED) ]; then echo "evolm: the last install was interrupted; starting again"; rm -rf $(VENV); fi
	@if [ -x $(BIN)/python ] && [ "$$($(BIN)/python --version)" != "$$("$(PYTHON)" --version)" ]; then \
	  echo "evolm: $(VENV) was made with another Python; making it again"; rm -rf $(VENV); fi
	@"$(PYTHON)" -m venv $(VENV)
	@touch $(UNFINISHED)
	@$(PIP_INSTALL) -e '.[book,test,paper,energy]' $(LOGGED)
	@touch $@ && rm -f $(UNFINISHED)

$(DEV): $(INSTALLED)
	@echo "evolm: installing the tools of make lint"
	@$(PIP_INSTALL) -e '.[dev]' $(LOGGED)
	@touch $@

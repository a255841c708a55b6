# Everything a reader or a contributor runs. `make` alone lists it.

PYTHON ?= python3
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
BENCH_VENV := .venv-bench
BENCH_PY := $(BENCH_VENV)/bin/python
BENCH_READY := $(BENCH_VENV)/.ready
# How many tests run at a time: PROCESSES=0 runs one after the other, in one process.
PROCESSES ?= auto
PYTEST := $(PY) -m pytest -n $(PROCESSES)
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

CHAPTERS := $(sort $(wildcard book/[0-9]*.ipynb)) $(sort $(wildcard book/solutions/*.ipynb))

# JupyterLab refuses to run as root, as one does in a container, unless it is told to.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help lab quick test checks book book-data bench soak clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

lab: $(READY) ## open the book in JupyterLab; ARGS="--no-browser --port 8899" reaches Jupyter
	$(PY) -m jupyterlab $(AS_ROOT) --ServerApp.root_dir="$(CURDIR)/book" $(ARGS)

quick: checks ## style, types and the unit tests that start no engine: three minutes on two cores
	$(PYTEST) --dist worksteal -m "not (multiprocessing or ray or spark or slow or soak)" tests $(ARGS)

test: checks ## style, types, all tests but make soak's, then every chapter and solution: twenty minutes
	$(PYTEST) --dist loadgroup tests
ifneq ($(strip $(CHAPTERS)),)
	$(PYTEST) --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout=240 $(CHAPTERS)
endif

checks: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

book: $(READY) ## run every chapter and write executed copies and HTML; ARGS="--only 03 --in-place"
	$(PY) book/tools/build.py $(ARGS)

book-data: $(READY) ## measure again what chapters draw and have no time for: an hour, 8 GB, a quiet machine
	$(PY) book/tools/measure_transport.py
	$(PY) book/tools/measure_snake.py
	$(PY) book/tools/measure_ablation.py

bench: $(BENCH_READY) ## measure ours beside its peers in one run; ARGS reaches the benchmarks
	$(BENCH_PY) -m benchmarks $(ARGS)

soak: $(READY) ## every behaviour on every engine, then kill workers at random: about forty minutes
	$(PYTEST) --dist loadgroup -m soak tests
	$(PY) -m benchmarks.soak $(ARGS)

clean: ## remove the environments, build/ and every cache
	rm -rf $(VENV) $(BENCH_VENV) build dist rlbook.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name .git -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

# The stamp is written last, so an install that was cut short is tried again.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
		|| { echo "error: '$(PYTHON)' must be Python 3.11, 3.12 or 3.13 with its venv module; name another with PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing the book's packages into $(VENV); the first time takes some minutes."
	@version='import sys; print(sys.version_info[:2])'; \
		[ "$$($(PY) -c "$$version" 2>/dev/null)" = "$$($(PYTHON) -c "$$version")" ] || $(PYTHON) -m venv --clear $(VENV)
	@$(PY) $(PIP_INSTALL) -r requirements.txt
	@$(PY) $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# The peers live apart, so that they can never change the book's versions; addsitedir, rather than a
# bare path, because it also reads .venv's own .pth files, rlbook's editable install among them.
$(BENCH_READY): $(READY) benchmarks/requirements.txt
	@echo "Installing the peers into $(BENCH_VENV)."
	@$(PY) -m venv --clear $(BENCH_VENV)
	@where='import sysconfig; print(sysconfig.get_path("purelib"))'; \
		book=$$($(PY) -c "$$where") && bench=$$($(BENCH_PY) -c "$$where") \
		&& printf 'import site; site.addsitedir("%s")\n' "$$book" > "$$bench/book.pth"
	@$(BENCH_PY) $(PIP_INSTALL) --no-deps -r benchmarks/requirements.txt
	@touch $@

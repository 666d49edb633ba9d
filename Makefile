# Every target sets up what it needs in .venv; nothing has to be done first. `make` lists the targets.

# The first interpreter that is new enough; `make PYTHON=/path/to/python3.12 …` overrides it.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	"$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& echo "$$name" && break; done)
PY := .venv/bin/python
RUN := $(PYTHON) scripts/bootstrap.py requirements.lock
DEV := $(PYTHON) scripts/bootstrap.py requirements-dev.lock
CODE := pipelines jobs scripts tests

# Workers run the environment's interpreter; another Spark on this machine stays out of it.
export PYSPARK_PYTHON := $(abspath $(PY))
unexport SPARK_HOME SPARK_CONF_DIR PYSPARK_DRIVER_PYTHON PYTHONPATH
# No library calls home from a run or a test.
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.DEFAULT_GOAL := help
.PHONY: help python setup setup-dev run-batch test test-faults test-platforms test-all test-lowest test-newest lint format package bench bench-all bench-quick study-drift study-agreement study-scaling lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' Makefile

python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 to 3.13 on the PATH: install one, or make PYTHON=/path/to/it" >&2; exit 1; }

setup: python
	@$(RUN)

setup-dev: python
	@$(DEV)

run-batch: setup ## train and register a demo model, then run the batch job on demo data
	@$(PY) -m scripts.demo

test: setup-dev ## run the tests (without faults, platforms and scale)
	$(PY) -m pytest -m "not faults and not platforms and not scale"

test-faults: setup-dev ## run the tests that kill, fill and corrupt things
	$(PY) -m pytest -m faults

test-platforms: setup-dev ## run the tests on other platforms: servers, clusters, packages
	$(PY) -m pytest -m platforms

test-lowest: setup-dev ## run a part of the tests with the lowest libraries that setup.cfg allows
	$(PY) -m scripts.range_ends lowest

test-newest: setup-dev ## run the same part with the newest ones
	$(PY) -m scripts.range_ends newest

test-all: setup-dev ## run all tests, those at scale included
	$(PY) -m pytest

lint: setup-dev ## ruff and mypy
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m mypy

format: setup-dev ## put the code into its canonical form
	$(PY) -m ruff check --fix --select I $(CODE)
	$(PY) -m ruff format $(CODE)

package: setup-dev ## what a cluster takes, in dist/: code, entry scripts, environment (REQUIREMENTS=pins of a model)
	$(PY) -m scripts.package $(if $(REQUIREMENTS),--requirements "$(REQUIREMENTS)")

bench: setup-dev ## measure speed, cold and warm, beside mlflow.pyfunc.spark_udf and others (an hour at most)
	$(PY) -m scripts.bench --minutes 50

bench-all: setup-dev ## measure every model on every format and shape of input (a night; ends by itself)
	$(PY) -m scripts.bench --all --minutes 600

bench-quick: setup-dev ## run the kinds of measurement once, on few rows, to see that they run
	$(PY) -m scripts.bench --quick --out build/bench/quick

study-drift: setup-dev ## measure false alarms and power of the drift verdicts (15 minutes)
	@OMP_NUM_THREADS=1 $(PY) -m scripts.study_drift

study-agreement: setup-dev ## compare drift statistics with other tools on real data (DATA=folder)
	@$(PY) -m scripts.study_agreement --data "$(DATA)"

study-scaling: setup-dev ## measure cores on a small cluster and the driver's share up to 100,000 files (20 minutes)
	@$(PY) -m scripts.study_scaling

lock: python ## resolve setup.cfg again and write the lock files (needs Python 3.11, the lowest supported)
	$(PYTHON) scripts/lock.py

clean: ## remove the environment and all caches; outputs of runs stay
	rm -rf .venv .venv-lock .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

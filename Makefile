# Everything from a bare clone: `make demo`, `make test`, `make down`. All that is downloaded or built is kept
# in one folder; AXON_CACHE moves it.

AXON_CACHE ?= $(HOME)/.cache/axon-operator
PYTHON ?= python3
UV_VERSION := 0.13.9

export AXON_CACHE
export UV_CACHE_DIR := $(AXON_CACHE)/uv
# the Python that is there, whichever from 3.11 on
export UV_PYTHON := $(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null)
export UV_PYTHON_DOWNLOADS := never

TOOLS := $(AXON_CACHE)/tools/uv-$(UV_VERSION)
UV := $(TOOLS)/bin/uv
# for the test bed, which unpacks wheels with it; behind the user's own programs
export PATH := $(PATH):$(TOOLS)/bin
RUN := $(UV) run --frozen
E2E := PYTHONPATH=tests $(RUN)
PYTEST := $(RUN) pytest --durations=10

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint format generate check-generated unit integration e2e bench soak endure up down status env tools image sync

help:  ## This list.
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-16s %s\n", $$1, $$2}'

demo: up  ## Shows the whole path on a real cluster, and ends with a table of what was expected and seen.
	@$(E2E) python -m e2e.demo

test: lint check-generated unit integration e2e  ## Everything that CI runs.

lint: sync  ## Style, types, and the layers of the architecture.
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports

format: sync  ## Formats the Python sources.
	$(RUN) ruff check --fix-only .
	$(RUN) ruff format .

generate: tools  ## Writes the CRDs and the reference anew from the models, and the install from the chart.
	$(RUN) python -m axon_operator.api.crds
	$(RUN) python -m axon_operator.api.docs
	$(RUN) python -m axon_operator.cli.docs
	manifests/install/render.sh

check-generated: tools  ## Fails if `make generate` would change something.
	$(RUN) python -m axon_operator.api.crds --check
	$(RUN) python -m axon_operator.api.docs --check
	$(RUN) python -m axon_operator.cli.docs --check
	manifests/install/render.sh --check

unit: sync  ## Tests of pure code.
	$(PYTEST) --numprocesses auto tests/unit

integration: up  ## Tests against single real servers.
	$(PYTEST) tests/integration

e2e: up  ## Tests on the whole cluster.
	$(PYTEST) tests/e2e

bench: tools  ## Speed and memory with 10,000 objects on real servers, without a cluster; AXON_BENCH_SCALE=0.01 in minutes.
	@$(E2E) python -m bench

soak: tools  ## Outages of every kind, hours of them, without a cluster; AXON_SOAK_MINUTES for each one.
	@$(E2E) python -m bench soak

endure: up  ## Hundreds of revocations, kills and pods on the whole cluster, with goals; an hour or more.
	@$(E2E) python -m e2e.endurance

up: sync  ## Starts the cluster with OpenBao, Keycloak and the operator's image; does nothing where it runs.
	@$(RUN) testbed up

down: sync  ## Removes the cluster and stops what `up` started. The cache stays.
	@$(RUN) testbed down

status: sync  ## What runs.
	@$(RUN) testbed status

env: sync  ## Shell variables for kubectl, helm, kind and docker: eval "$(make env)".
	@$(RUN) testbed env

tools: sync  ## Builds kubectl, helm and kind, which need no cluster.
	@$(RUN) testbed tools

image: sync  ## Builds the operator's image from the working tree and gives it to the cluster.
	@$(RUN) testbed build-operator

sync: $(UV)
	@$(UV) sync --frozen --quiet

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed as '$(PYTHON)'; set PYTHON=/path/to/python3 if it has another name." >&2; exit 1; }
	@$(PYTHON) -m venv --clear "$(TOOLS)" >/dev/null || { \
	  echo "'$(PYTHON) -m venv' fails: install the package python3-venv (Debian, Ubuntu)." >&2; exit 1; }
	@"$(TOOLS)/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)" || { \
	  rm -rf "$(TOOLS)"; echo "uv could not be installed: is a Python package index reachable?" >&2; exit 1; }

# Every command that people and CI run. `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ENGINE ?= sglang
PYTEST  = $(BIN)/python -m pytest
# Tests side by side, but for those on a real engine: they share one, and it needs the machine.
WORKERS ?= 2
SIDE_BY_SIDE = -n $(WORKERS) --dist worksteal
# A cluster is often started for all tests of a file: one worker runs the file. In order, as the files that take long come first.
BY_FILE      = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
CORE    = tests/unit/services/scheduler/core tests/unit/services/profiler tests/unit/services/planner/core tests/property
NOT_CORE = $(addprefix --ignore=,$(CORE))

.DEFAULT_GOAL := help
.PHONY: help setup engine demo test test-fast test-full cover redis prometheus phoenix helm sandbox lint types gen gen-check up down hosts clean

help:          ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## / — /'

setup: $(STAMP) ## .venv with everything but an engine
$(STAMP): pyproject.toml requirements/lock.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements/lock.txt
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --editable .
	@touch $@

engine: $(STAMP) ## the engine that ENGINE names (sglang, llamacpp; sim needs nothing)
	@case "$(ENGINE)" in \
	  sglang) PYTHON=$(PYTHON) deploy/sglang-cpu/setup.sh ;; \
	  llamacpp) PYTHON=$(PYTHON) deploy/llamacpp/setup.sh ;; \
	  sim) ;; \
	  *) echo "ENGINE is sglang, llamacpp or sim, not $(ENGINE)" >&2; exit 2 ;; \
	esac

demo: engine   ## real applications on a real engine: progress, times, an HTML report
	$(BIN)/llmsched demo --engine $(ENGINE)

test: ENGINE = sglang
test: engine redis helm sandbox cover ## what must hold: everything but the long checks
	$(PYTEST) -m "not full and not sglang" $(BY_FILE) $(NOT_CORE)
	$(PYTEST) -m "not full and sglang"

test-fast: $(STAMP) ## no engine, no processes
	$(PYTEST) -m "not full and not slow and not sglang" $(SIDE_BY_SIDE) tests/unit tests/property tests/simulation

test-full: ENGINE = sglang
test-full: engine redis prometheus helm sandbox cover ## the long checks too
	$(PYTEST) -m "not sglang" $(BY_FILE) $(NOT_CORE)
	$(PYTEST) -m sglang

cover: $(STAMP) ## the cores' tests: every branch of the cores must be taken
	$(PYTEST) -m "not full" $(SIDE_BY_SIDE) $(CORE) --cov=services/scheduler/core --cov=services/profiler/core \
	  --cov=services/planner/core --cov-branch --cov-report=term:skip-covered --cov-fail-under=100

redis: ## a Redis 7 besides the embedded Valkey, where apt can install one
	@scripts/install-redis.sh

prometheus: ## Prometheus, where apt can install one
	@scripts/install-prometheus.sh

phoenix: ## the page for traces (0.9 GB), and a browser to look at it where apt can install one
	@scripts/install-phoenix.sh
	@scripts/install-chromium.sh

helm: $(STAMP) ## helm and the schemas of Kubernetes, which tests of deploy/helm need
	@$(BIN)/python scripts/install_helm.py

sandbox: ## bubblewrap, which isolates what models write, where apt can install it
	@scripts/apt-install.sh bwrap bubblewrap "code is isolated by rlimits alone, and tests of the sandbox will be skipped"

lint: $(STAMP) ## ruff, import contracts, buf
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf format --diff --exit-code protos

types: $(STAMP) ## mypy
	$(BIN)/mypy

gen: $(STAMP)  ## generated code, diagrams and dashboards, from their sources
	$(BIN)/buf format -w protos
	$(BIN)/python scripts/gen_protos.py
	$(BIN)/python scripts/gen_states.py
	$(BIN)/python scripts/gen_dashboards.py

gen-check: $(STAMP) ## fail if generated code is not what its sources say
	$(BIN)/python scripts/gen_protos.py --check
	$(BIN)/python scripts/gen_states.py --check
	$(BIN)/python scripts/gen_dashboards.py --check

up: $(STAMP)   ## a cluster on this machine, until Ctrl-C (ENGINE=sim: no engine to install)
	$(BIN)/llmsched up --engine $(ENGINE)

down: $(STAMP) ## end it from elsewhere
	$(BIN)/llmsched down

hosts: $(STAMP) ## the same on several hosts, all on this machine, until Ctrl-C (docs/multi-node.md)
	$(BIN)/python -m lab up

clean:         ## everything that can be made again
	rm -rf $(VENV) .venv-protoc .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

# Every command that people and CI run. `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ENGINE ?= sglang
PYTEST  = $(BIN)/python -m pytest
CORE    = tests/unit/services/scheduler/core tests/unit/services/profiler tests/unit/services/planner/core \
          tests/property tests/simulation
NOT_CORE = $(addprefix --ignore=,$(CORE))

.DEFAULT_GOAL := help
.PHONY: help setup engine demo test test-fast test-full cover redis lint types gen gen-check up down clean

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

demo: engine   ## three real applications on a real engine: progress, times, an HTML report
	$(BIN)/llmsched demo --engine $(ENGINE)

test: ENGINE = sglang
test: engine redis cover ## what must hold: everything but the long checks
	$(PYTEST) -m "not full" $(NOT_CORE)

test-fast: $(STAMP) ## no engine, no processes
	$(PYTEST) -m "not full and not slow and not sglang" tests/unit tests/property tests/simulation

test-full: ENGINE = sglang
test-full: engine redis cover ## the long checks too
	$(PYTEST) $(NOT_CORE)

cover: $(STAMP) ## the cores' tests: every branch of the cores must be taken
	$(PYTEST) -m "not full" $(CORE) --cov=services/scheduler/core --cov=services/profiler/core \
	  --cov=services/planner/core --cov-branch --cov-report=term:skip-covered --cov-fail-under=100

redis: ## a Redis 7 besides the embedded Valkey, where apt can install one
	@scripts/install-redis.sh

lint: $(STAMP) ## ruff, import contracts, buf
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf format --diff --exit-code protos

types: $(STAMP) ## mypy
	$(BIN)/mypy

gen: $(STAMP)  ## generated code, from protos/ and the transition tables
	$(BIN)/buf format -w protos
	$(BIN)/python scripts/gen_protos.py
	$(BIN)/python scripts/gen_states.py

gen-check: $(STAMP) ## fail if generated code is not what its sources say
	$(BIN)/python scripts/gen_protos.py --check
	$(BIN)/python scripts/gen_states.py --check

up: $(STAMP)   ## a cluster on this machine, until Ctrl-C (ENGINE=sim: no engine to install)
	$(BIN)/llmsched up --engine $(ENGINE)

down: $(STAMP) ## end it from elsewhere
	$(BIN)/llmsched down

clean:         ## everything that can be made again
	rm -rf $(VENV) .venv-protoc .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

# Everything a newcomer or CI needs: `make demo`, `make test`, `make check`, `make bench`, `make clean`.
# Paths are relative on purpose, so that a folder with spaces in its name works.

PYTHON ?= python3
PYTEST_ARGS ?=
ATTACK_MINUTES ?= 2
PAIR_TURNS ?= 4
FUZZ_MINUTES ?= 5
FUZZ_ARGS ?=
# Most tests wait for something, so they go well with more workers than processors.
JOBS ?= 4
BIN := .venv/bin
RUN_READY := .venv/.ready-run
DEV_READY := .venv/.ready-dev

# Tests start hundreds of processes; without compiled modules on the disk each would compile all of them for itself.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check bench chaos pair attack fuzz dependency-audit test-vllm schemas clean

help:
	@echo "make demo    break three local services and watch UICI heal them (about a minute, leaves nothing running)"
	@echo "make test    the whole test suite; what needs a component that is not here is skipped, with the reason"
	@echo "make check   style, types, import rules, and the shipped configuration"
	@echo "make bench   the benchmarks; figures as JSON under build/bench/"
	@echo "make attack  the attacks, with some minutes of requests drawn from the API's description (ATTACK_MINUTES)"
	@echo "make fuzz    minutes of fuzzing of all that reads foreign texts (FUZZ_MINUTES, FUZZ_ARGS)"
	@echo "make dependency-audit   known vulnerabilities of what is installed; fails where that could not be judged"
	@echo "make chaos   faults of all kinds on three replicas, checked; CHAOS_RUNS, CHAOS_MINUTES, CHAOS_SEED; build/chaos/"
	@echo "make pair    two Alertmanagers deliver to three replicas that are restarted, again and again (PAIR_TURNS)"
	@echo "make test-vllm   the council and its plans against a real vLLM (UICI_TEST_VLLM names its environment's bin folder)"
	@echo "make schemas write the JSON Schemas of the configuration files anew, under infrastructure/schemas/"
	@echo "make clean   remove what these targets made, .venv included"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "UICI needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Install one, or name it: make PYTHON=python3.12 demo" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# The stamps make a second call quick, and a changed pyproject.toml install again.
$(RUN_READY): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEV_READY): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(RUN_READY) $@

demo: $(RUN_READY)
	$(BIN)/uici demo

test: $(DEV_READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

check: $(DEV_READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	env -u UICI_CONFIG_DIR $(BIN)/uici check
	env -u UICI_CONFIG_DIR $(BIN)/council check
	bash -n .ci/run

bench: $(DEV_READY)
	@mkdir -p build/bench
	$(BIN)/python -m tests.benchmarks --out build/bench

attack: $(DEV_READY)
	$(BIN)/python -m pytest tests/attack tests/fuzz $(PYTEST_ARGS)
	$(BIN)/python -m tests.attack --minutes $(ATTACK_MINUTES)

fuzz: $(DEV_READY)
	$(BIN)/python -m tests.fuzz --minutes $(FUZZ_MINUTES) $(FUZZ_ARGS)

dependency-audit: $(DEV_READY)
	$(BIN)/python -m tests.attack.dependencies

# Stopped and called again without a seed, it goes on with the round in which it was stopped.
chaos: $(DEV_READY)
	$(BIN)/python -m tests.chaos --out build/chaos

pair: $(DEV_READY)
	UICI_TEST_PAIR_TURNS=$(PAIR_TURNS) $(BIN)/python -m pytest tests/e2e/test_alertmanager_pair.py $(PYTEST_ARGS)

# Against a real vLLM with a tiny model that was never trained; UICI_TEST_VLLM names the bin folder of its environment.
test-vllm: $(DEV_READY)
	UICI_REQUIRE=vllm $(BIN)/python -m pytest -m vllm $(PYTEST_ARGS)

schemas: $(DEV_READY)
	$(BIN)/uici schema --out infrastructure/schemas
	$(BIN)/council schema > infrastructure/schemas/agents.schema.json

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find uici executors tests -name __pycache__ -type d -prune -exec rm -rf {} +

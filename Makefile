# Each target does its own set-up: on a fresh machine, Python 3.11 with pip, make and git are enough.
# `uv` is used where it is on PATH, and not needed.

PYTHON ?= $(firstword $(shell command -v python3.11 python3))
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv)
NPM := $(if $(shell command -v node),$(shell command -v npm))

# With it set, every start of LiteLLM would compile some 600 modules anew: 11 s instead of 5.
unexport PYTHONDONTWRITEBYTECODE
# The environment's own interpreter and packages, whatever the caller has on his path.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

PREFIX ?= /opt/litesup

.PHONY: help run test check format bench soak lock clean setup sdk install test-litellm test-rest test-outage
.DELETE_ON_ERROR:

help:
	@echo "make run     three LiteLLM replicas behind one port, with answers made up locally (no key, no network)"
	@echo "make test    all tests; PYTEST_ARGS='tests/policy -x' for some of them"
	@echo "make sdk     OpenAI's Node client for the tests, where Node and npm are installed; make test does it, too"
	@echo "make check   ruff, mypy and the import contracts"
	@echo "make install PREFIX=/opt/litesup   an environment of its own, with the command in PREFIX/bin"
	@echo "make format  what ruff can put right by itself"
	@echo "make bench   half an hour of measuring beside LiteLLM's own modes, nginx and HAProxy; BENCH_ARGS='--only hop boot'"
	@echo "make soak    ten minutes of a bad day: is a request lost, does the daemon grow; SOAK_ARGS='--minutes 2 --seed 7'"
	@echo "make lock    resolves requirements.lock anew (needs uv)"
	@echo "make clean   removes the environment and every cache"

setup: $(VENV)/.installed

# The environment holds what the lock says and nothing else, so a changed lock makes a new one. Without pip inside:
# the one that came with Python installs into it, and so the packages `venv` and `ensurepip` may be incomplete, as on Debian.
$(VENV)/.locked: requirements.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "litesup needs Python 3.11 or newer; found: $$("$(PYTHON)" --version 2>&1 || echo none)." >&2; \
		echo "Name one with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Creating $(VENV) with $$("$(PYTHON)" --version) and the packages of requirements.lock; once, about a minute …"
	@"$(PYTHON)" -m venv --clear --without-pip $(VENV)
	@{ test -n "$(UV)" && "$(UV)" pip install --python $(BIN)/python --require-hashes -r requirements.lock; } || \
		{ test -n "$(UV)" && echo "uv could not; once more with pip …"; \
		"$(PYTHON)" -m pip --python $(BIN)/python install --no-compile --require-hashes -r requirements.lock; }
	@echo "Compiling bytecode …"
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true # some packages ship files for other Pythons
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	@"$(PYTHON)" -m pip --python $(BIN)/python install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -qq supervisor
	@touch $@

# Not editable and compiled, so that it runs without this folder and where the file system is read-only.
install:
	@$(MAKE) --no-print-directory VENV="$(PREFIX)" "$(PREFIX)/.locked"
	@"$(PYTHON)" -m pip --python "$(PREFIX)/bin/python" install --quiet --no-deps --no-build-isolation --force-reinstall .
	@"$(PREFIX)/bin/python" -m compileall -qq "$$("$(PREFIX)/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/supervisor"
	@echo "installed: $(PREFIX)/bin/litesup"

run: setup
	@$(BIN)/litesup start --demo --replicas 3

# Two groups at a time, so that two cores have work; the third begins when one of the first is through. Each line says whose
# it is, and what a group says last is also read when the user has interrupted it.
TEST_GROUPS := test-litellm test-rest test-outage
test-litellm: GROUP := tests/e2e --ignore=tests/e2e/test_outage.py
test-rest: GROUP := tests --ignore=tests/e2e
test-outage: GROUP := tests/e2e/test_outage.py

test: setup sdk
	@$(if $(PYTEST_ARGS),$(BIN)/python -m pytest $(PYTEST_ARGS),\
		$(MAKE) --no-print-directory --keep-going --jobs=2 $(TEST_GROUPS))

$(TEST_GROUPS): SHELL := /bin/bash
$(TEST_GROUPS): setup
	@set -o pipefail; $(BIN)/python -m pytest -o cache_dir=.pytest_cache/$@ $(GROUP) 2>&1 | \
		(trap '' INT; exec sed -u 's/^/$(@:test-%=%) | /')

# The tests that need it are skipped where it is missing, and say so; with CI set they fail if it could have been there.
sdk: $(if $(NPM),tests/sdk/node_modules/.package-lock.json)
	@$(if $(NPM),:,echo "Node and npm are not installed: the tests that need them are skipped" >&2)

tests/sdk/node_modules/.package-lock.json: tests/sdk/package.json tests/sdk/package-lock.json
	@echo "Installing OpenAI's Node client for the tests …"
	@cd tests/sdk && "$(NPM)" ci --no-progress --loglevel=error --fetch-retries=1 && touch node_modules/.package-lock.json || \
		echo "npm could not install it: the tests that need it are skipped" >&2

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

soak: setup
	@$(BIN)/python -m benchmarks.soak $(SOAK_ARGS)

# Names no index host and no file address: where packages come from is the installing machine's own setting.
lock:
	uv pip compile pyproject.toml --group dev --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) tests/sdk/node_modules .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
